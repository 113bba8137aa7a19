"""The logic of the stage that reads `meter-events`: decode, assemble, publish, encode (records.py).

No I/O, no clock.

One Assembly per worker. Its state per station is domain.station.Station; closed sessions wait in the archive.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from pipeline import metrics, topics
from pipeline.agents.records import FORMS, dead_letter, live_record, records_of
from pipeline.agents.reference import TOPICS, Given, Reference
from pipeline.domain.bounds import AHEAD_US
from pipeline.domain.catalog import ReferenceWatermark
from pipeline.domain.events import LIVE, ClockTicked, MeterRead, StatusReported
from pipeline.domain.frames import OcppFrame
from pipeline.domain.metering.conservation import Tally, tally
from pipeline.domain.outputs import Quarantined
from pipeline.domain.publishing import Publishing
from pipeline.domain.publishing.alerts import Course
from pipeline.domain.rating import Rating
from pipeline.domain.session.advance import advance
from pipeline.domain.session.readings import read_meter
from pipeline.domain.session.ticks import tick
from pipeline.domain.sites.occupancy import WHOLE_STATION, changes, fall_silent, silent_at
from pipeline.domain.station import CODEC_VERSION, SECOND, Session, Station, Step, Told
from pipeline.domain.station_codec import decode_station, encode_station
from pipeline.errors import InvalidMessage
from pipeline.metrics import Meters
from pipeline.runtime.logic import NEVER, Archive, Output, ReferenceBehind, Tick, Trouble, Watermark
from pipeline.wire.connector_status import encode_change
from pipeline.wire.control import Control
from pipeline.wire.meter_events import Decoder
from pipeline.wire.ocpp import KEEP_US, Calls, deadline_us, expire

TICK_AHEAD = 5 * SECOND
"""A live tick further ahead of the broker's clock than this is refused: it would close sessions too early."""

AHEAD = "more than a day ahead of the broker's clock: set the clock of its producer"
CONNECTOR_STATUS = topics.CONNECTOR_STATUS.name


class Assembly:
    """Implements runtime.logic.Logic[Station], WithReference and WithLedger."""

    codec_version = CODEC_VERSION
    readable_versions = frozenset(range(1, CODEC_VERSION + 1))

    def __init__(
        self, rating: Rating, decoder: Decoder, reference: Reference | None = None, publishing: Publishing | None = None
    ) -> None:
        self._publishing = publishing or Publishing(rating, FORMS)
        self._terms = rating.terms
        self._reference = reference or Given()
        self._decoder = decoder
        self._decode = decoder.decode

    def create(self, key: bytes, archive: Archive) -> Station:
        return Station(key.decode(), archive=archive)

    def dump(self, state: Station) -> bytes:
        return encode_station(state)

    def load(self, key: bytes, value: bytes, version: int, archive: Archive) -> Station:
        station = decode_station(value)
        station.archive = archive
        return station

    def report(self, key: bytes, state: Station | None, trouble: Trouble) -> Sequence[Output]:
        station = Station(key.decode()) if state is None else state
        published = self._publishing.trouble(station, trouble.rule, trouble.reason, course_of(trouble))
        return records_of(station.station_id, published)

    def tally(self, state: Station) -> Tally:
        return tally(state)

    def show(self, totals: Sequence[int], stage: str, meters: Meters) -> None:
        """Conservation, online: see ops/metrics.md."""
        found = Tally(*totals) if totals else Tally(*(0 for _ in Tally._fields))
        for outcome in ("received", "used", "duplicate", "quarantined", "outside", "pending"):
            meters.set(metrics.EVENTS_ACCOUNTED, stage, outcome, value=getattr(found, outcome))
        for part in ("movement", "attributed", "quarantined", "unattributed", "estimated"):
            meters.set(metrics.ENERGY_ACCOUNTED, stage, part, value=getattr(found, f"{part}_wh"))
        meters.set(metrics.UNBALANCED, stage, "events", value=found.stations_off)
        meters.set(metrics.UNBALANCED, stage, "energy", value=found.connectors_off)

    def apply(self, state: Station, value: bytes, sent_at_ms: int) -> Sequence[Output] | None:
        event = self._decode(value)
        if type(event) is not MeterRead:
            if isinstance(event, OcppFrame):
                return self._frame(state, event, value, sent_at_ms)
            if isinstance(event, ClockTicked):
                raise InvalidMessage("TICK_WITH_KEY", "a clock tick is for a whole partition: send it without a key")
        if event.station_id != state.station_id:
            raise InvalidMessage("WRONG_KEY", "the record's key is not the station_id of its content")
        known_us = event.received_time_us or event.event_time_us
        if known_us > sent_at_ms * 1000 + AHEAD_US and event.clock == LIVE:  # other clocks say what they like
            raise InvalidMessage("CLOCK_WRONG", AHEAD)
        if event.clock != state.clock:
            self._follow(state, event.clock)
        if type(event) is MeterRead:
            told = read_meter(state, event)
            if type(told) is Session:  # nearly always, or nothing at all
                return [live_record(self._publishing, state, told)]
            return None if told is None else self._records(state, told, value)
        outputs = self._records(state, advance(state, event), value)
        self._occupancy(state, outputs, (event.connector_id,) if type(event) is StatusReported else ())
        return outputs or None

    def _frame(self, state: Station, frame: OcppFrame, value: bytes, sent_at_ms: int) -> Sequence[Output] | None:
        if frame.station_id != state.station_id:
            raise InvalidMessage("WRONG_KEY", "the record's key is not the station_id of its content")
        calls = _calls(state)
        if calls is None:
            calls = state.calls = Calls()
        meaning = self._decoder.interpret(calls, frame)  # what it refuses changes nothing
        if frame.clock != state.clock:
            self._follow(state, frame.clock)
        state.wake_us = min(state.wake_us, max(state.seen_us, 0) + KEEP_US)
        outputs: list[Output] = []
        for event in meaning.events:
            known_us = event.received_time_us or event.event_time_us
            if known_us > sent_at_ms * 1000 + AHEAD_US and event.clock == LIVE:  # as in apply
                meaning.quarantined.append(Quarantined("CLOCK_WRONG", AHEAD))
                continue
            outputs.extend(self._records(state, advance(state, event), value))
        for part in meaning.quarantined:
            state.received += 1
            state.quarantined += 1
            outputs.append(dead_letter(state.station_id, value, part.reason, part.detail))
        self._occupancy(state, outputs, [each.connector_id for each in meaning.events if type(each) is StatusReported])
        return outputs or None

    def _records(self, state: Station, told: Told, value: bytes) -> list[Output]:
        if isinstance(told, Step):
            published = self._publishing.publish(state, told)
            return records_of(state.station_id, published, value) if published else []
        return [] if told is None else [live_record(self._publishing, state, told)]

    @staticmethod
    def _follow(state: Station, clock: str) -> None:
        state.clock = clock
        state.wake_us = 0

    def tick_of(self, value: bytes, append_time_ms: int) -> Tick:
        return tick_of(self._decode(value), "station_id", append_time_ms, self._decoder.control)

    def trust(self, unsigned: bool) -> bool:
        return self._decoder.control.trust(unsigned)

    def check_release(self, key: bytes, way: bytes, at_ms: int, signature: bytes) -> None:
        self._decoder.control.check_release(key, way, at_ms, signature)

    def see(self, watermark: Watermark) -> None:
        wanted = ReferenceWatermark(*watermark)
        if not self._reference.reached.covers(wanted):
            self._reference.absorb()
            if not self._reference.reached.covers(wanted):
                have = zip(TOPICS, self._reference.reached, wanted, strict=True)
                lacking = [f"{topic} has {here} of {named} offsets" for topic, here, named in have if here < named]
                raise ReferenceBehind(", ".join(lacking))
        self._terms.see(wanted)

    def release(self, state: Station) -> Sequence[Output] | None:
        return records_of(state.station_id, self._publishing.release(state)) or None

    def tick(self, state: Station, tick_: Tick) -> Sequence[Output] | None:
        step = tick(state, tick_.time_us, self._terms.limits)
        calls = _calls(state)
        if calls is not None:
            expire(calls, tick_.time_us)
            state.wake_us = min(state.wake_us, deadline_us(calls) or NEVER)
        outputs = self._records(state, step, b"")
        fall_silent(state, tick_.time_us, self._silent_us(state))
        self._occupancy(state, outputs, ())
        return outputs or None

    # --- reports to the site -----------------------------------------------------------------------------------------

    def _occupancy(self, station: Station, outputs: list[Output], reported: Sequence[int]) -> None:
        """Changed connector states for the stage that knows the whole site; a later tick notices silence."""
        for change in changes(station, self._terms.site_id(station.station_id), reported):
            outputs.append(Output(CONNECTOR_STATUS, change.site_id.encode(), encode_change(change)))
        if station.told_site is not None:
            silent_us = self._silent_us(station)
            if station.seen_us + silent_us < station.wake_us:  # else it is awake before, and nothing is looked up
                station.wake_us = min(station.wake_us, silent_at(station, silent_us))

    def _silent_us(self, station: Station) -> int:
        return self._terms.limits(station.station_id, WHOLE_STATION).silent_us


def tick_of(event: object, key: str, append_time_ms: int, control: Control) -> Tick:
    """As runtime.logic.Logic.tick_of, of a decoded record without a key; `key` names what keys are otherwise."""
    if not isinstance(event, ClockTicked):
        raise InvalidMessage("KEY_MISSING", f"only clock ticks have no key; set the key to the {key}")
    if event.clock == LIVE and event.time_us > append_time_ms * 1000 + TICK_AHEAD:
        raise InvalidMessage(
            "TICK_AHEAD", "a live tick more than 5 s ahead of the broker's clock; set the clock of its host"
        )
    return Tick(event.clock, event.time_us, event.reference or (), control.check(event))


def course_of(trouble: Trouble) -> Course:
    return Course(trouble.at_ms * 1000, None if trouble.released_ms is None else trouble.released_ms * 1000)


def _calls(station: Station) -> Calls | None:
    """The station's open calls; as plain values they came from the changelog."""
    if station.calls is not None and not isinstance(station.calls, Calls):
        station.calls = msgspec.convert(station.calls, Calls)
    calls: Calls | None = station.calls
    return calls
