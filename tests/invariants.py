"""What must hold of every output, whatever was sent: checked wherever a test makes outputs (tests/conftest.py).

A check gives a complaint for each thing that is wrong. What a run told is heard record by record: each against its
published schema and in itself, the standing revision of each session against those of its connector, the ledgers.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cache
from itertools import pairwise

import msgspec
from jsonschema import Draft202012Validator

from pipeline.domain.metering.conservation import difference
from pipeline.domain.outputs import StrippedSession
from pipeline.domain.station import QUARTER, Station
from pipeline.runtime.logic import Output
from pipeline.topics import TOPICS
from pipeline.wire.sessions import decode_session
from tests.schemas.declarations import schema_of

ON = frozenset({"schema", "duration", "slots", "slot_times", "overlap", "register", "ledger"})
"""The checks that a test fails by."""
KNOWN: dict[str, str] = {"test_energy_booked_twice_is_found": "ledger"}
"""Test -> the check that its outputs do not pass, on purpose or not yet. It fails here as soon as they do: take it out
then."""

Complaint = tuple[str, str]
"""Check, and what it objects to."""
FULLY, SAMPLED = 100, 50
"""So many records of a topic and run are held against their schema, then one in so many and each session of a new kind:
a session takes some milliseconds."""


@dataclass(slots=True)
class Heard:
    """What one run told. Records of `sessions` in the order in which they were made."""

    complaints: list[Complaint] = field(default_factory=list)
    latest: dict[str, StrippedSession] = field(default_factory=dict)
    counts: Counter[str] = field(default_factory=Counter)
    kinds: set[object] = field(default_factory=set)

    def output(self, output: Output) -> None:
        topic, value = output.topic, output.value
        if topic not in _described() or value is None:
            return
        self.counts[topic] += 1
        due = self.counts[topic] <= FULLY or self.counts[topic] % SAMPLED == 0
        if topic == "sessions":
            record = decode_session(value)
            due |= self._is_new(record)
            self.session(record)
        if due:
            self.complaints += schema(topic, value)

    def _is_new(self, record: StrippedSession) -> bool:
        kind = record.status, record.bill_state, record.held_reason, record.evidence, record.quality, record.flags
        known = kind in self.kinds
        self.kinds.add(kind)
        return not known

    def session(self, record: StrippedSession) -> None:
        if not record.content_hash:  # straight from the rating, not from a topic
            self.complaints += schema("sessions", msgspec.json.encode(record), unpublished=True)
        self.complaints += duration(record)
        self.complaints += slots(record)
        self.latest[record.session_id] = record

    def verdict(self, stations: Iterable[Station] = ()) -> list[Complaint]:
        """All that is wrong with it by the checks that are on; what was complained about once is not told again."""
        found, self.complaints = self.complaints, []
        standing = [each for each in self.latest.values() if each.status not in ("void", "open")]
        for alone in by_connector(standing):
            found += overlap(alone)
            found += register(alone)
        for station in stations:
            found += ledger(station)
        return [(check, text) for check, text in dict.fromkeys(found) if check in ON]


def by_connector(records: Iterable[StrippedSession]) -> Iterable[list[StrippedSession]]:
    """In order of start; sessions without a known start are nowhere."""
    found: defaultdict[tuple[str, int], list[StrippedSession]] = defaultdict(list)
    for record in records:
        if record.started_at_us is not None:
            found[record.station_id, record.connector_id].append(record)
    for alone in found.values():
        alone.sort(key=lambda each: (each.started_at_us or 0, each.ended_at_us or 0, each.session_id))
    return found.values()


# --- the checks ------------------------------------------------------------------------------------------------------


def schema(topic: str, value: bytes, *, unpublished: bool = False) -> Iterator[Complaint]:
    """`unpublished`: revision and hash are not filled in yet."""
    for error in _validator(topic).iter_errors(json.loads(value)):
        if error.json_path in TIMES:
            yield "duration", f"{topic} {error.json_path}: {error.message}"
        elif not (unpublished and error.json_path in PUBLICATION):
            yield "schema", f"{topic} {error.json_path}: {error.message}"


TIMES = ("$.duration_s", "$.charging_s", "$.idle_s")
PUBLICATION = ("$.revision", "$.revision_reason", "$.content_hash")


@cache
def _validator(topic: str) -> Draft202012Validator:
    return Draft202012Validator(schema_of(topic))


@cache
def _described() -> frozenset[str]:
    """Topics whose records are JSON; a dead letter is what was sent."""
    return frozenset(TOPICS.keys() - {"dead-letters", "station-state", "site-state"})


def duration(record: StrippedSession) -> Iterator[Complaint]:
    """No time is negative, and charging and idle are all there is."""
    who, lasted = record.session_id, (record.duration_s, record.charging_s, record.idle_s)
    if min(lasted) < 0:
        yield "duration", f"{who}: duration, charging or idle is negative: {lasted} s"
    if record.charging_s + record.idle_s != record.duration_s:
        yield "duration", f"{who}: {record.charging_s} s charging + {record.idle_s} s idle, not {record.duration_s} s"
    started, ended = record.started_at_us, record.ended_at_us
    if started is not None and ended is not None and ended < started:
        yield "duration", f"{who}: ends {started - ended} us before it starts"


def slots(record: StrippedSession) -> Iterator[Complaint]:
    """Quarters of an hour without a hole, which re-add to the session to the Wh and the second."""
    found, who = record.slots, record.session_id
    if not found:
        return
    if any(after.start_us - before.start_us != QUARTER for before, after in pairwise(found)):
        yield "slots", f"{who}: not one quarter of an hour after the other"
    if any(min(each.energy_wh, each.charging_s, each.occupied_s - each.charging_s) < 0 for each in found):
        yield "slots", f"{who}: something in a slot is negative, or more is charging than occupied"
    energy = sum(each.energy_wh for each in found)
    if record.energy_wh is not None and energy != record.energy_wh:
        yield "slots", f"{who}: {record.energy_wh} Wh, its slots have {energy} Wh"
    times = sum(each.occupied_s for each in found), sum(each.charging_s for each in found)
    if times != (record.duration_s, record.charging_s):
        whole = (record.duration_s, record.charging_s)
        yield "slot_times", f"{who}: {whole} s of duration and charging, its slots have {times} s"


def overlap(alone: list[StrippedSession]) -> Iterator[Complaint]:
    """One connector charges one car: `alone` are its sessions by start."""
    latest: StrippedSession | None = None
    for record in alone:
        if record.started_at_us is None or record.ended_at_us is None:
            continue
        if latest is not None and latest.ended_at_us is not None and record.started_at_us < latest.ended_at_us:
            until = min(latest.ended_at_us, record.ended_at_us)
            if until > record.started_at_us:
                yield "overlap", f"{latest.session_id} and {record.session_id}: both {until - record.started_at_us} us"
        if latest is None or record.ended_at_us > (latest.ended_at_us or 0):
            latest = record


def register(alone: list[StrippedSession]) -> Iterator[Complaint]:
    """No Wh of the meter is in two sessions: `alone` are those of one connector by start.

    A meter that was reset or replaced counts anew: it falls in a session, or the next one starts after the former one
    ended and below where that one began, or at 0 (some count each session alone).
    """
    counted: list[tuple[int, int, StrippedSession]] = []
    for record in alone:
        start, stop = record.start_register_wh, record.stop_register_wh
        if start is None or stop is None or record.energy_wh is None:
            continue
        if stop < start:
            counted = []
            continue
        if counted:
            began, _, former = counted[-1]
            if (start < began or start == 0) and (record.started_at_us or 0) >= (former.ended_at_us or 0):
                counted = []
        for low, high, other in counted:
            shared = min(high, stop) - max(low, start)
            if shared > 0:
                yield "register", f"{other.session_id} and {record.session_id}: both {shared} Wh of one register"
        counted.append((start, stop, record))


def ledger(station: Station) -> Iterator[Complaint]:
    """What the register moved is accounted for, and so is every event."""
    for connector in station.connectors.values():
        off = difference(connector)
        if off:
            yield "ledger", f"{station.station_id}/{connector.connector_id}: differs by {off} Wh"
    accounted = station.used + station.duplicates + station.quarantined + station.outside + station.pending()
    if accounted != station.received:
        yield "ledger", f"{station.station_id}: {station.received} events received, {accounted} accounted for"


# --- wherever a test makes outputs -----------------------------------------------------------------------------------


class Listener:
    """Hears the runs of a test by their owner (a stage, a bench) until somebody asks for the verdict."""

    def __init__(self) -> None:
        self._runs: dict[int, tuple[object, Heard]] = {}

    def of(self, owner: object) -> Heard:
        return self._runs.setdefault(id(owner), (owner, Heard()))[1]

    def verdict(self, test: str) -> list[str]:
        """Of all runs since the last one, for the test of this name. A run that goes on (of a module) is heard anew."""
        runs, self._runs = self._runs, {}
        found = [each for owner, heard in runs.values() for each in heard.verdict(_stations(owner))]
        known = KNOWN.get(test)
        if known is not None and known not in {check for check, _ in found}:
            found.append((known, f"{test} passes it now: take it out of KNOWN in tests/invariants.py"))
            known = None
        return [f"{check}: {text}" for check, text in found if check != known]


LISTENER = Listener()


def _stations(owner: object) -> list[Station]:
    states = getattr(owner, "states", None)
    known = list(states.values()) if isinstance(states, dict) else [getattr(owner, "station", None)]
    return [each for each in known if isinstance(each, Station)]
