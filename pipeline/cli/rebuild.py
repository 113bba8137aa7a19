"""`chargeline rebuild`: makes generation n+1 of sessions and bills from the log, and compares it with what stands."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import click

from pipeline import topics
from pipeline.agents.assembly import Assembly
from pipeline.agents.rebuild import PublishedRecords, corrections, outputs
from pipeline.agents.reference import TOPICS as REFERENCE_TOPICS
from pipeline.agents.reference import add
from pipeline.app import assemble_config
from pipeline.cli.options import json_option, kafka_option, print_json, settings
from pipeline.cli.output import echo, echo_line
from pipeline.cli.progress import progress
from pipeline.cli.reference import keyring, rating, sites_option, tariffs_option
from pipeline.domain.publishing.rebuilding import Change, Correction, take_over
from pipeline.domain.rating import Rating
from pipeline.domain.station import Station
from pipeline.edge.reading import partitions, read_topic, reader, watermarks
from pipeline.errors import InvalidMessage, WrongUsage
from pipeline.runtime.kafka.reference import Record
from pipeline.runtime.logic import Output
from pipeline.runtime.offline import MemoryArchive, Offline
from pipeline.runtime.partition.changelog import StateRecord, archive_key, decode_state, encode_state, split_key
from pipeline.runtime.partition.partition import SIGNED
from pipeline.runtime.partition.ports import Committed
from pipeline.runtime.stage.rewrite import Rewrite
from pipeline.settings import Settings
from pipeline.wire.meter_events import Decoder
from pipeline.wire.quarantine import MARK

SLOT = "rebuild"
WORDS: Mapping[Change, str] = {"changed": "changed bill", "credited": "credit", "new": "new bill", "facts": "session"}
SET_ASIDE = "their station is set aside, see `chargeline stations`"
NOT_WHOLE, EXPIRED = "the log does not reach back to its beginning", "its records or its receipt have expired"


@dataclass(slots=True)
class Rebuilt:
    """Of one partition."""

    number: int
    records: dict[bytes, bytes]
    """The changelog of the stage."""
    through: int
    """The offset below which the stage has applied the log."""
    compared: int = 0
    known: tuple[int, int, int] = 0, 0, 0
    """Sessions that stand, that the log gives, and that are both."""
    found: dict[str, Correction] = field(default_factory=dict)
    left: Counter[str] = field(default_factory=Counter)
    """Sessions that are left as they are, by the reason."""
    stations: dict[bytes, Station] = field(default_factory=dict)


@click.command()
@click.option("--apply", "is_applied", is_flag=True, help="Publish the corrections; the workers must be stopped.")
@sites_option
@tariffs_option
@kafka_option
@json_option
def command(is_applied: bool, sites: Any, tariffs: Any, kafka: str | None, as_json: bool) -> None:
    """Assemble and rate the retained log again, and compare with the sessions and bills that stand.

    Lists changed bills, credits and new bills, also those that an earlier release got wrong. Without --apply it writes
    nothing. With --apply each of these sessions gets the next generation: a bill that differs is taken back with a
    credit and replaced, an equal bill stands, and the state of the stage follows, all in one transaction. Run it with
    the keyring, sites and tariffs of the workers. A session whose beginning is not in the log any more stays as it is.
    See ops/runbooks/rebuild.md.
    """
    found = settings(kafka=kafka, sites_file=sites, tariffs_file=tariffs, slot=SLOT)
    rewrite = Rewrite(assemble_config(found))
    try:
        if not is_applied and rewrite.is_running():
            echo("workers are running: what they change meanwhile may be listed, too", err=True)
        committed, rebuilt = rebuild(found, rewrite)
        stand, given, both = (sum(each.known[place] for each in rebuilt) for place in range(3))
        if stand and given and not both:
            raise WrongUsage("no session of the log has an id that stands: is this the keyring of the workers?")
        if is_applied and any(each.found for each in rebuilt):
            changes = {each.number: _states(found, each) for each in rebuilt if each.found}
            outputs = {each.number: list(_outputs(each)) for each in rebuilt}
            rewrite.publish(committed, outputs, changes)
    finally:
        rewrite.close()
    _show(rebuilt, is_applied, as_json)


def rebuild(found: Settings, rewrite: Rewrite) -> tuple[Mapping[int, Committed], list[Rebuilt]]:
    """What the stage had applied, and what is to be corrected, by partition. Writes nothing."""
    asking = reader(_config(found), topics.METER_EVENTS.name)
    numbers = partitions(asking, topics.METER_EVENTS.name, _config(found))
    asking.close()
    committed = rewrite.committed(numbers)
    reference = list(_reference(found))
    return committed, [
        _rebuild(found, number, committed[number], reference, rewrite.records(number)) for number in numbers
    ]


def _outputs(rebuilt: Rebuilt) -> Iterator[Output]:
    for correction in rebuilt.found.values():
        yield from outputs(correction)


def _reference(found: Settings) -> Iterator[Record]:
    for topic in REFERENCE_TOPICS:
        for message in read_topic(_config(found), topic):
            yield Record(topic, message.offset() or 0, message.value())


def _config(found: Settings) -> Any:
    return assemble_config(found).client


def _rating(found: Settings, reference: list[Record]) -> Rating:
    made = rating(found, keyring(found))
    for record in reference:
        try:
            add(made.catalog, record)
        except InvalidMessage as error:
            echo(f"{record.topic} offset {record.offset} is not used: {error}", err=True)
    return made


def _rebuild(
    found: Settings, number: int, committed: Committed, reference: list[Record], records: dict[bytes, bytes]
) -> Rebuilt:
    """`records`: the changelog. Raises Unavailable, WrongUsage."""
    config, result = _config(found), Rebuilt(number, records, committed.offset or 0)
    stands, expired = PublishedRecords(), False
    for topic in (topics.SESSIONS.name, topics.RECEIPTS.name):
        asking = reader(config, topic)
        expired |= watermarks(asking, topic, number, config)[0] > 0
        asking.close()
        for message in read_topic(config, topic, partition=number):
            stands.take(topic, message.value(), f"topic {topic} partition {number} offset {message.offset()}")
    rebuilt = PublishedRecords()
    logic = Assembly(_rating(found, reference), Decoder(keyring(found)))
    signed_from = records.get(archive_key(b"", SIGNED))
    if signed_from is not None and int(signed_from) < committed.first:
        logic.trust(unsigned=False)  # the log begins after its first signed tick
    stage = Offline(logic)
    for output in _assemble(config, stage, number, committed, result):
        rebuilt.take(output.topic, output.value, "rebuilt")
    result.stations = stage.states
    both = stands.sessions.keys() & rebuilt.sessions.keys()
    result.known = len(stands.sessions), len(rebuilt.sessions), len(both)
    result.compared = len(stands.sessions.keys() | rebuilt.sessions.keys())
    known = _begun_in(rebuilt) if committed.first > 0 else None
    aside = {owner for owner, name in map(split_key, records) if name == MARK} | stage.set_aside.keys()
    for correction in corrections(stands, rebuilt):
        if correction.after.station_id.encode() in aside:
            result.left[SET_ASIDE] += 1
        elif known is not None and correction.session_id not in known:
            result.left[NOT_WHOLE] += 1
        elif expired and (correction.before is None or _has_lost_its_bill(correction)):
            result.left[EXPIRED] += 1
        else:
            result.found[correction.session_id] = correction
    return result


def _begun_in(rebuilt: PublishedRecords) -> set[str]:
    """Sessions whose start the log still has, but for the first one of each connector: it leans on what was before."""
    began: dict[tuple[str, int], list[tuple[int, str]]] = {}
    for each in rebuilt.sessions.values():
        at_us = each.ended_at_us if each.started_at_us is None else each.started_at_us
        began.setdefault((each.station_id, each.connector_id), []).append((at_us or 0, each.session_id))
    firsts = {min(sessions)[1] for sessions in began.values()}
    return {key for key, each in rebuilt.sessions.items() if each.started_at_us is not None} - firsts


def _has_lost_its_bill(correction: Correction) -> bool:
    """The session says that it was billed, and no receipt does."""
    before = correction.before
    return before is not None and before.bill_state == "FINAL" and before.currency is not None and not correction.former


def _assemble(
    config: Any, stage: Offline[Station], number: int, committed: Committed, result: Rebuilt
) -> Iterator[Output]:
    """Outputs of all records that the stage has applied."""
    with progress(f"assembling partition {number}", unit="records") as bar:
        for message in read_topic(config, topics.METER_EVENTS.name, bar.advance, number):
            if (message.offset() or 0) >= (committed.offset or 0):
                break
            try:
                yield from stage.feed(message.key(), message.value() or b"", message.timestamp()[1])
            except InvalidMessage:
                continue  # a dead letter, counted by the stage when it read it


def _states(found: Settings, rebuilt: Rebuilt) -> dict[bytes, bytes | None]:
    """The records of the changelog that change."""
    by_station: dict[bytes, dict[str, Correction]] = {}
    for session_id, correction in rebuilt.found.items():
        by_station.setdefault(correction.after.station_id.encode(), {})[session_id] = correction
    keys = keyring(found)
    logic = Assembly(rating(found, keys), Decoder(keys))
    records, changed = rebuilt.records, dict[bytes, bytes | None]()
    for key, corrected in by_station.items():
        main = records.get(key)
        archive = MemoryArchive()
        for each, kept in records.items():
            owner, name = split_key(each)
            if owner == key and name is not None:
                archive.put(name, kept)
        state = None if main is None else decode_state(main)
        station = logic.create(key, archive) if state is None else logic.load(key, state.body, state.version, archive)
        through = rebuilt.through if state is None else state.through
        for part, value in take_over(station, rebuilt.stations.get(key), corrected).items():
            if part:
                changed[archive_key(key, part)] = value
            else:
                changed[key] = encode_state(StateRecord(logic.codec_version, through, value))
    return changed


def _show(rebuilt: list[Rebuilt], is_applied: bool, as_json: bool) -> None:
    found = [each for partition in rebuilt for each in partition.found.values()]
    left = sum((partition.left for partition in rebuilt), Counter[str]())
    counts = Counter(each.change for each in found)
    compared = sum(partition.compared for partition in rebuilt)
    if as_json:
        for each in found:
            print_json(_row(each))
        bills = {change: counts[change] for change in WORDS}
        print_json({"compared": compared, "applied": is_applied} | bills | {"left": dict(left)})
        return
    for each in found:
        if each.change != "facts":
            echo_line("  ".join(f"{value}" for value in _row(each).values()))
    words = ", ".join(f"{counts[change]:,} {word}s" for change, word in WORDS.items())
    echo(f"{compared:,} sessions compared: {words} {'published' if is_applied else 'would be published'}")
    for reason, count in left.items():
        echo(f"{count:,} sessions differ and are left as they are: {reason}", err=True)


def _row(correction: Correction) -> dict[str, object]:
    before, after, former, bill = correction.before, correction.after, correction.former, correction.bill
    return {
        "change": WORDS[correction.change],
        "session_id": correction.session_id,
        "station_id": after.station_id,
        "connector_id": after.connector_id,
        "generation": after.generation,
        "energy_wh_before": None if before is None else before.energy_wh,
        "energy_wh": after.energy_wh,
        "payable_incl_vat_before": None if former is None else former.payable_incl_vat,
        "payable_incl_vat": None if bill is None else bill.payable_incl_vat,
        "currency": (bill or former or after).currency,
    }
