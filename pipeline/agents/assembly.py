"""What the durable stage carries from `meter-events`: decode, assemble, rate; outputs as bytes. No I/O, no clock.

One Assembly per worker. Its state per station is domain.station.Station; closed sessions wait in the archive.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from pipeline import metrics, topics
from pipeline.agents.reference import Given, Reference
from pipeline.domain.catalog import View
from pipeline.domain.conservation import Tally, tally
from pipeline.domain.events import LIVE, ClockTicked, MeterRead, OcppFrame
from pipeline.domain.measure import Measured
from pipeline.domain.occupancy import WHOLE_STATION, changes, fall_silent, silent_at
from pipeline.domain.outputs import StrippedSession
from pipeline.domain.pricing.bill import Bill
from pipeline.domain.rating import Rating
from pipeline.domain.rating.running import follow
from pipeline.domain.session.advance import advance
from pipeline.domain.session.readings import read_meter
from pipeline.domain.station import (
    DECISION,
    MINUTE,
    SECOND,
    SIGNALS,
    SITES,
    TARIFFS,
    Session,
    Station,
    Step,
    Told,
    decode_archived,
    decode_station,
    encode_archived,
    encode_station,
)
from pipeline.domain.ticks import tick
from pipeline.errors import InvalidMessage
from pipeline.metrics import Meters
from pipeline.runtime.logic import NEVER, Archive, Output, ReferenceBehind, Tick
from pipeline.runtime.logic import View as Seen
from pipeline.wire import dead_letters
from pipeline.wire.connector_status import encode_change
from pipeline.wire.meter_events import Decoder
from pipeline.wire.ocpp import KEEP_US, Calls, deadline_us, expire
from pipeline.wire.receipts import bill_record, credit_record
from pipeline.wire.sessions import LiveTemplate, encode_alert, encode_facts, encode_update, with_revision

TICK_AHEAD = 5 * SECOND
"""A live tick further ahead of the broker's clock than this is refused: it would close sessions too early."""

SESSIONS, UPDATES = topics.SESSIONS.name, topics.SESSION_UPDATES.name
RECEIPTS, ANOMALIES, DEAD_LETTERS = topics.RECEIPTS.name, topics.ANOMALIES.name, topics.DEAD_LETTERS.name
RELEASED = "BILL_RELEASED"
WAITS_FOR = {
    "SITE_MISSING": SITES,
    "TIME_ZONE_MISSING": SITES,
    "TARIFF_MISSING": SITES | TARIFFS,
    "TARIFF_AMBIGUOUS": SITES | TARIFFS,
    "LOCK_REQUIRED": SITES | TARIFFS,
    "SIGNAL_MISSING": SIGNALS,
}
"""What would release a bill that is held for this reason; for every other reason it takes a decision."""
CONNECTOR_STATUS = topics.CONNECTOR_STATUS.name


class Assembly:
    """Implements runtime.logic.Logic[Station]."""

    codec_version = 3
    """2 added what held bills wait for, 3 what a bill says; what older ones wrote is read with the defaults."""
    readable_versions = frozenset({1, 2, 3})

    def __init__(self, rating: Rating, decoder: Decoder, reference: Reference | None = None) -> None:
        self._rating = rating
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
                return self._frame(state, event, value)
            if isinstance(event, ClockTicked):
                raise InvalidMessage("TICK_WITH_KEY", "a clock tick is for a whole partition: send it without a key")
        if event.station_id != state.station_id:
            raise InvalidMessage("WRONG_KEY", "the record's key is not the station_id of its content")
        if event.clock != state.clock:
            self._follow(state, event.clock)
        if type(event) is MeterRead:
            told = read_meter(state, event)
            return None if told is None else self._told(state, told, value)
        outputs = self._told(state, advance(state, event), value)
        self._occupancy(state, outputs)
        return outputs or None

    def _frame(self, state: Station, frame: OcppFrame, value: bytes) -> Sequence[Output] | None:
        if frame.station_id != state.station_id:
            raise InvalidMessage("WRONG_KEY", "the record's key is not the station_id of its content")
        if frame.clock != state.clock:
            self._follow(state, frame.clock)
        calls = _calls(state)
        if calls is None:
            calls = state.calls = Calls()
        meaning = self._decoder.interpret(calls, frame)
        state.wake_us = min(state.wake_us, max(state.seen_us, 0) + KEEP_US)
        outputs: list[Output] = []
        for event in meaning.events:
            outputs.extend(self._told(state, advance(state, event), value))
        for part in meaning.quarantined:
            state.received += 1
            state.quarantined += 1
            outputs.append(_dead_letter(state, value, part.reason, part.detail))
        self._occupancy(state, outputs)
        return outputs or None

    @staticmethod
    def _follow(state: Station, clock: str) -> None:
        state.clock = clock
        state.wake_us = 0

    def tick_of(self, value: bytes, append_time_ms: int) -> Tick:
        event = self._decode(value)
        if not isinstance(event, ClockTicked):
            raise InvalidMessage("KEY_MISSING", "only clock ticks have no key; set the key to the station_id")
        if event.clock == LIVE and event.time_us > append_time_ms * 1000 + TICK_AHEAD:
            raise InvalidMessage(
                "TICK_AHEAD", "a live tick more than 5 s ahead of the broker's clock; set the clock of its host"
            )
        return Tick(event.clock, event.time_us, event.reference or ())

    def see(self, view: Seen) -> None:
        wanted = View(*view)
        if not self._reference.reached.covers(wanted):
            self._reference.absorb()
            if not self._reference.reached.covers(wanted):
                raise ReferenceBehind(f"{self._reference.reached} of {wanted}")
        self._terms.see(wanted)

    def release(self, state: Station) -> Sequence[Output] | None:
        """A released bill is a revision of its own; of closed sessions the archive keeps all readings until then."""
        outputs: list[Output] = []
        for session_id, (_, name) in list(state.held.items()):
            session = next((each for _, each in state.each_session() if each.session_id == session_id), None)
            if session is not None:
                self._rate(state, session, RELEASED, outputs)
                continue
            kept = state.archive.get(name.encode())
            if kept is None:
                state.wait(session_id, 0)
                continue
            session = decode_archived(kept)
            before = session.revision
            self._rate(state, session, RELEASED, outputs)
            if session.revision != before:
                state.archive.put(name.encode(), encode_archived(session, whole=session_id in state.held))
        return outputs or None

    def tick(self, state: Station, tick_: Tick) -> Sequence[Output] | None:
        step = tick(state, tick_.time_us, self._terms.limits)
        calls = _calls(state)
        if calls is not None:
            expire(calls, tick_.time_us)
            state.wake_us = min(state.wake_us, deadline_us(calls) or NEVER)
        outputs = self._outputs(state, step, b"")
        fall_silent(state, tick_.time_us, self._silent_us(state))
        self._occupancy(state, outputs)
        return outputs or None

    # --- what the site is told ---------------------------------------------------------------------------------------

    def _occupancy(self, station: Station, outputs: list[Output]) -> None:
        """Changed states of connectors, for the stage that knows the whole site; silence is noticed by a later tick."""
        for change in changes(station, self._terms.site_id(station.station_id)):
            outputs.append(Output(CONNECTOR_STATUS, change.site_id.encode(), encode_change(change)))
        if station.told_site is not None:
            station.wake_us = min(station.wake_us, silent_at(station, self._silent_us(station)))

    def _silent_us(self, station: Station) -> int:
        return self._terms.limits(station.station_id, WHOLE_STATION).silent_us

    # --- outputs -----------------------------------------------------------------------------------------------------

    def _told(self, station: Station, told: Told, value: bytes) -> list[Output]:
        if isinstance(told, Session):
            return [self._live(station, told)]
        return [] if told is None else self._outputs(station, told, value)

    def _live(self, station: Station, session: Session) -> Output:
        """The live view. From the second update on only what changes is put together (a third of the time)."""
        running = session.fold
        if running is not None and running.template is not None:
            template: LiveTemplate = running.template
            follow(self._terms, station, session)
            excl, incl = running.fold.running()
            energy = session.last_register_wh - session.start_register_wh  # type: ignore[operator]  # a fold has a start
            if excl is not None and incl is not None and energy >= 0:
                readings = session.readings
                state = session.state or "charging"
                value = template.encode(session.last_at_us, energy, readings[-2], readings[-1], state, (excl, incl))
                return Output(UPDATES, template.key, value)
        update = self._rating.show(station, session)
        if session.fold is not None:
            session.fold.template = LiveTemplate(update)
        return Output(UPDATES, update.session_id.encode(), encode_update(update))

    def _outputs(self, station: Station, step: Step, value: bytes) -> list[Output]:
        outputs: list[Output] = []
        rating = self._rating
        for session, voided_id in step.voided:
            self._void(station, session, voided_id, outputs)
        for session, reason in step.rated:
            self._rate(station, session, reason, outputs)
        for rule, connector, about, at, raised in step.alerts:
            alert = rating.alert(station, rule, connector, about, at, raised)
            outputs.append(Output(ANOMALIES, station.station_id.encode(), encode_alert(alert)))
        for name, session in step.archived:
            held = station.held.get(session.session_id)
            if held is not None:
                station.wait(session.session_id, held[0], name)
            station.archive.put(name.encode(), encode_archived(session, whole=held is not None))
        for name in step.forgotten:
            station.archive.drop(name.encode())
            for session_id in [each for each, held in station.held.items() if held[1] == name]:
                station.wait(session_id, 0)
        outputs.extend(_dead_letter(station, value, part.reason, part.detail) for part in step.quarantined)
        return outputs

    def _rate(self, station: Station, session: Session, reason: str, outputs: list[Output]) -> None:
        """A revision if a fact changed. The first one also ends the live view, and tells what only the whole shows."""
        record, measured, bill = self._rating.rate(station, session)
        if session.ended() and (station.waits or record.bill_state == "HELD"):
            held = record.bill_state == "HELD"
            station.wait(record.session_id, WAITS_FOR.get(record.held_reason or "", DECISION) if held else 0)
        facts, content_hash = encode_facts(record)
        if content_hash == session.content_hash:
            return
        session.revision += 1
        session.content_hash = content_hash
        key = record.session_id.encode()
        outputs.append(Output(SESSIONS, key, with_revision(facts, content_hash, session.revision, reason)))
        if session.revision == 1:
            outputs.append(Output(UPDATES, key, None))
        if session.billed is not None or (bill is not None and bill.state == "FINAL"):
            _settle(session, record, reason, measured, bill, outputs)
        self._tell(station, session, record.flags, measured, outputs)

    def _tell(
        self, station: Station, session: Session, flags: tuple[str, ...], measured: Measured, outputs: list[Output]
    ) -> None:
        """Raises what the finished session shows and clears what stood while it was open."""
        connector = station.connector(session.connector_id)
        at = measured.until_us
        alerts = []
        for rule in flags:
            if rule not in session.raised:
                session.raised[rule] = at
                alerts.append(self._rating.alert(station, rule, connector, session, at, True))
        for rule in ("LONG_SESSION", "OVERSTAY"):
            if session.raised.get(rule, -1) >= 0:
                alerts.append(self._rating.alert(station, rule, connector, session, at, False))
                session.raised[rule] = -1  # told and done
        if measured.status == "aborted" and session.revision == 1:
            connector.aborts = [*(t for t in connector.aborts[-4:] if at - t <= 60 * MINUTE), at]
            if len(connector.aborts) == 3:
                alerts.append(self._rating.alert(station, "REPEATED_ABORTS", connector, None, at, True))
        outputs.extend(Output(ANOMALIES, station.station_id.encode(), encode_alert(alert)) for alert in alerts)

    def _void(self, station: Station, session: Session, voided_id: str, outputs: list[Output]) -> None:
        facts, content_hash = encode_facts(self._rating.voided(station, session, voided_id))
        record = with_revision(facts, content_hash, session.revision + 1, "START_ARRIVED")
        outputs.append(Output(SESSIONS, voided_id.encode(), record))
        outputs.append(Output(UPDATES, voided_id.encode(), None))
        session.revision, session.content_hash = 0, ""
        station.wait(voided_id, 0)


def _settle(
    session: Session,
    record: StrippedSession,
    reason: str,
    measured: Measured,
    bill: Bill | None,
    outputs: list[Output],
) -> None:
    """A bill is never edited: one that changed is taken back whole, and there is a new one if it is final.

    One that says the same stands, with the revision and the facts that it was made from.
    """
    customer, revision, former = session.billing_token, session.revision, session.billed
    made = None
    if bill is not None and bill.state == "FINAL":
        made = bill_record(record, revision, measured, bill, customer)
        if former is not None and former.claims == made[2].claims:
            return
    session.billed = None
    if former is not None:
        outputs.append(Output(RECEIPTS, *credit_record(former, record, revision, reason, customer)))
    if made is not None:
        key, value, session.billed = made
        outputs.append(Output(RECEIPTS, key, value))


def _calls(station: Station) -> Calls | None:
    """The station's open calls; as plain values they came from the changelog."""
    if station.calls is not None and not isinstance(station.calls, Calls):
        station.calls = msgspec.convert(station.calls, Calls)
    calls: Calls | None = station.calls
    return calls


def _dead_letter(station: Station, value: bytes, reason: str, detail: str) -> Output:
    return Output(DEAD_LETTERS, station.station_id.encode(), value, dead_letters.why(reason, detail))
