"""One virtual station with quirks through the real assembly: what was emitted, beside what happened and was said."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from random import Random
from typing import Literal

import msgspec

from pipeline.agents.offline import OfflineSessions
from pipeline.domain.metering.conservation import difference
from pipeline.domain.outputs import StrippedSession
from pipeline.domain.pseudonyms import KEY_BYTES, PURPOSES, Keyring
from pipeline.domain.rating import Rating
from pipeline.domain.station_codec import decode_station, encode_station
from pipeline.edge.chargers import documents
from pipeline.edge.chargers.fleet import Frame, deliveries, frames
from pipeline.edge.chargers.quirks import Said, say
from pipeline.edge.chargers.tape import Protocol
from pipeline.edge.chargers.truth import MINUTE, SECOND, ChargingTruth, draw_station
from pipeline.wire.sites import decode_sites
from pipeline.wire.tariffs import decode_tariffs

CLOCK = "quirks"
DAYS = (
    datetime(2026, 3, 2, 5, tzinfo=UTC),
    datetime(2026, 6, 17, 13, tzinfo=UTC),
    datetime(2026, 3, 28, 22, tzinfo=UTC),
    datetime(2026, 10, 24, 21, tzinfo=UTC),
)
"""When stations begin: two ordinary days, and the evenings before both changes of time in Berlin."""
Law = Literal["shuffled", "doubled", "cut"]
LAWS: tuple[Law, ...] = ("shuffled", "doubled", "cut")
REPEATS = frozenset({"LATE_REPLAY", "LATE_STATUS", "DOUBLE_STOP", "ID_CONFLICT"})
"""Quality codes that tell how often or how late something came."""


@dataclass(slots=True)
class Run:
    """A station at its end. `records`: the latest revision of each session that was not voided."""

    said: Said
    records: list[tuple[str, StrippedSession]] = field(default_factory=list)
    """With the transaction id as sent, empty if none is known."""
    unbalanced: list[str] = field(default_factory=list)
    refused: dict[str, int] = field(default_factory=dict)


@cache
def keyring() -> Keyring:
    return Keyring({purpose: {"*": bytes(KEY_BYTES)} for purpose in PURPOSES})


def station_said(names: Sequence[str], protocol: Protocol, seed: int) -> Said:
    """The `seed`-th station with these quirks; days, cars and ratings differ from seed to seed."""
    begin_us = round(DAYS[seed % len(DAYS)].timestamp()) * SECOND
    station = draw_station(seed, seed % 7, begin_us, text_ids=protocol == "ocpp2.0.1")
    return say(station, protocol, names, seed)


def pseudonym(truth: ChargingTruth, protocol: Protocol) -> str:
    kind = "" if protocol == "ocpp1.6" else "ISO14443"
    return keyring().pseudonym("analytics", kind, truth.token)


def assemble(said: Said, law: Law | None = None) -> Run:
    """The frames of a station through the functions of the stream; with `law` changed in a way that must not matter."""
    sites = decode_sites(json.dumps([documents.site([said.tape])]).encode(), "sites")
    rating = Rating(keyring(), sites, decode_tariffs(json.dumps([documents.tariff()]).encode(), "tariffs"))
    sessions = OfflineSessions(rating, keyring())
    random = Random(said.tape.seed)  # noqa: S311 - a test
    for _, key, value in deliveries(_changed(frames(said.tape, CLOCK), law, random), CLOCK):
        sessions.feed(key, value)
        if law == "cut" and random.random() < 0.02:
            _cut(sessions)
    run = Run(said, refused=dict(sessions.refused))
    rows = [msgspec.convert(_record(row), tuple[str, StrippedSession]) for row in sessions.rows()]
    run.records = [(name, record) for name, record in rows if record.status != "void"]
    run.unbalanced = list(_unbalanced(sessions))
    return run


def _record(row: dict[str, object]) -> tuple[str, dict[str, object]]:
    record = {name: value for name, value in row.items() if name in StrippedSession.__struct_fields__}
    record |= {f"{name}_us": _micros(row[name]) for name in ("started_at", "ended_at")}
    return str(row["transaction_id"] or ""), record


def _micros(text: object) -> int | None:
    return None if text is None else round(datetime.fromisoformat(str(text)).timestamp() * SECOND)


def _changed(log: list[Frame], law: Law | None, random: Random) -> list[Frame]:
    if law == "doubled":
        return [frame for frame in log for _ in range(2)]
    if law == "shuffled":
        late = [frame._replace(due_us=max(frame.due_us, frame.received_us + _up_to_ten(random))) for frame in log]
        return sorted(late, key=lambda frame: frame.due_us)
    return log


def _up_to_ten(random: Random) -> int:
    return random.randrange(10 * MINUTE - SECOND)


def _cut(sessions: OfflineSessions) -> None:
    """A checkpoint, a crash, a restore: only what is durable goes on."""
    for key, station in sessions.stage.states.items():
        restored = decode_station(encode_station(station))
        restored.archive = station.archive
        sessions.stage.states[key] = restored


def _unbalanced(sessions: OfflineSessions) -> Iterator[str]:
    for station in sessions.stage.states.values():
        accounted = station.used + station.duplicates + station.quarantined + station.outside + station.pending()
        if accounted != station.received:
            yield f"{station.received} events received, {accounted} accounted for"
        for connector in station.connectors.values():
            if difference(connector):
                yield f"connector {connector.connector_id}: the ledger differs by {difference(connector)} Wh"


def facts(run: Run) -> list[tuple[object, ...]]:
    """What is published and billed, without what tells how often it was said."""
    return sorted(
        (
            (
                record.connector_id, record.started_at_us or 0, record.ended_at_us or 0, record.energy_wh,
                record.charging_s, record.idle_s, record.evidence, record.bill_state, record.total_excl_vat,
                record.driver, tuple(code for code in record.quality if code not in REPEATS),
            )
            for _, record in run.records
        ),
        key=repr,
    )  # fmt: skip


def broken_laws(said: Said, run: Run, laws: Sequence[Law] = LAWS) -> Iterator[str]:
    """Where the same frames in another form gave other sessions."""
    for law in laws:
        if law == "shuffled" and "message_ids_restart" in said.quirks:
            continue  # whose answer it is follows from the order only
        if law == "doubled" and "message_ids_restart" in said.quirks and not said.tape.answers_logged:
            continue
        other = facts(assemble(said, law))
        if other != facts(run):
            difference_ = [f"{a} became {b}" for a, b in zip(facts(run), other, strict=False) if a != b]
            yield f"{law}: {difference_[0] if difference_ else f'{len(facts(run))} sessions became {len(other)}'}"
