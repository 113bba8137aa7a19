"""What a station's sessions become on the topics, as bytes: live updates, revisions, receipts, alerts, dead letters."""

from __future__ import annotations

import msgspec

from pipeline import topics
from pipeline.domain.metering.conservation import withdraw
from pipeline.domain.metering.measure import Measured
from pipeline.domain.outputs import StrippedSession
from pipeline.domain.pricing.bill import Bill
from pipeline.domain.rating import Rating
from pipeline.domain.rating.folding import LONG, keep_small
from pipeline.domain.rating.running import follow
from pipeline.domain.station import (
    DECISION,
    MINUTE,
    POWER,
    SIGNALS,
    SITES,
    SOC,
    STRIDE,
    TARIFFS,
    Session,
    Station,
    Step,
    Told,
)
from pipeline.domain.station_codec import encode_archived
from pipeline.runtime.logic import Output
from pipeline.wire import dead_letters
from pipeline.wire.receipts import bill_record, credit_record
from pipeline.wire.sessions import LiveTemplate, encode_alert, encode_facts, encode_update, with_revision

SESSIONS, UPDATES = topics.SESSIONS.name, topics.SESSION_UPDATES.name
RECEIPTS, ANOMALIES, DEAD_LETTERS = topics.RECEIPTS.name, topics.ANOMALIES.name, topics.DEAD_LETTERS.name
STATION_QUARANTINED = "STATION_QUARANTINED"
WAITS_FOR = {
    "SITE_MISSING": SITES,
    "TIME_ZONE_MISSING": SITES,
    "TARIFF_MISSING": SITES | TARIFFS,
    "TARIFF_AMBIGUOUS": SITES | TARIFFS,
    "LOCK_REQUIRED": SITES | TARIFFS,
    "SIGNAL_MISSING": SIGNALS,
}
"""What would release a bill that is held for this reason; for every other reason it takes a decision."""


class Records:
    """Makes them, and keeps in the session what was published of it. One per worker."""

    def __init__(self, rating: Rating) -> None:
        self._rating = rating
        self._terms = rating.terms

    def of(self, station: Station, told: Told, value: bytes) -> list[Output]:
        """`value`: the record that told it, for the dead letters of what was refused."""
        if isinstance(told, Session):
            return [self.live(station, told)]
        return [] if told is None else self._of_step(station, told, value)

    def live(self, station: Station, session: Session) -> Output:
        """The live view. From the second update on only what changes is put together (a third of the time)."""
        readings = session.readings
        if len(readings) > LONG:
            keep_small(self._rating, station, session)
            readings = session.readings
        running = session.fold
        if running is not None and running.template is not None:
            template: LiveTemplate = running.template
            follow(self._terms, station, session)
            excl, incl = running.fold.running()
            energy = session.last_register_wh - session.start_register_wh  # type: ignore[operator]  # a fold has a start
            if excl is not None and incl is not None and energy >= 0:
                state = session.state or "charging"
                power, soc = readings[POWER - STRIDE], readings[SOC - STRIDE]
                value = template.encode(session.last_at_us, energy, power, soc, state, (excl, incl))
                return tuple.__new__(Output, (UPDATES, template.key, value, ()))  # 0.1 us less, for nearly every event
        update = self._rating.show(station, session)
        if session.fold is not None:
            session.fold.template = LiveTemplate(update)
        return Output(UPDATES, update.session_id.encode(), encode_update(update))

    def _of_step(self, station: Station, step: Step, value: bytes) -> list[Output]:
        outputs: list[Output] = []
        rating = self._rating
        for session, voided_id in step.voided:
            self._void(station, session, voided_id, outputs)
        for first, second in step.merged:
            self._merge(station, first, second, outputs)
        for session, reason in step.rated:
            self.rate(station, session, reason, outputs)
        for rule, connector, about, at, raised in step.alerts:
            alert = rating.alert(station, rule, connector, about, at, raised)
            outputs.append(Output(ANOMALIES, station.station_id.encode(), encode_alert(alert)))
        for name, session in step.archived:
            held = station.held.get(session.session_id)
            if held is not None:
                station.wait(session.session_id, held[0], name)
            whole = held is not None or session.decided is not None  # a decision can be revised
            station.archive.put(name.encode(), encode_archived(session, whole=whole))
        for name in step.forgotten:
            station.archive.drop(name.encode())
            for session_id in [each for each, held in station.held.items() if held[1] == name]:
                station.wait(session_id, 0)
        for part in step.quarantined:
            refused = value if part.event is None else msgspec.json.encode(part.event)
            outputs.append(dead_letter(station, refused, part.reason, part.detail))
        return outputs

    def rate(self, station: Station, session: Session, reason: str, outputs: list[Output]) -> None:
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
        if session.revision == 1 or session.raised.pop(STATION_QUARANTINED, None) is not None:
            outputs.append(Output(UPDATES, key, None))
        if session.billed is not None or (bill is not None and bill.state == "FINAL"):
            _settle(session, record, reason, measured, bill, outputs)
        self._tell(station, session, record.flags, measured, outputs)

    def hold(self, station: Station, reason: str) -> list[Output]:
        """The open sessions that were shown are HELD for `reason`: nothing more is known of them for now."""
        outputs: list[Output] = []
        for _, session in station.each_session():
            if session.ended() or not (session.revision or session.update_due_us):
                continue
            facts, content_hash = encode_facts(self._rating.hold(station, session, reason))
            if content_hash == session.content_hash:
                continue
            session.revision += 1
            session.content_hash = content_hash
            session.raised[reason] = session.last_at_us
            key = session.session_id.encode()
            outputs.append(Output(SESSIONS, key, with_revision(facts, content_hash, session.revision, reason)))
            outputs.append(Output(UPDATES, key, None))
        return outputs

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
        for alert in alerts:
            outputs.append(Output(ANOMALIES, station.station_id.encode(), encode_alert(alert)))

    def _void(self, station: Station, session: Session, voided_id: str, outputs: list[Output]) -> None:
        shown = self._rating.voided(station, session, voided_id, session.generation)
        facts, content_hash = encode_facts(shown)
        record = with_revision(facts, content_hash, session.revision + 1, "START_ARRIVED")
        outputs.append(Output(SESSIONS, voided_id.encode(), record))
        outputs.append(Output(UPDATES, voided_id.encode(), None))
        if session.billed is not None:  # somebody had decided about it before its start came
            credit = credit_record(session.billed, shown, session.revision + 1, "START_ARRIVED", session.billing_token)
            outputs.append(Output(RECEIPTS, *credit))
            session.billed = None
        session.generation, session.revision, session.content_hash = 1, 0, ""
        station.wait(voided_id, 0)

    def _merge(self, station: Station, first: Session, second: Session, outputs: list[Output]) -> None:
        """Two sessions were one charge: the second's record is void, and its bill, if it had one, is taken back."""
        withdraw(station.connector(second.connector_id), second)
        voided_id = second.session_id
        record = self._rating.voided(station, first, voided_id, second.generation)
        facts, content_hash = encode_facts(record)
        revision = second.revision + 1
        outputs.append(
            Output(SESSIONS, voided_id.encode(), with_revision(facts, content_hash, revision, "SAME_CHARGE"))
        )
        outputs.append(Output(UPDATES, voided_id.encode(), None))
        if second.billed is not None:
            credit = credit_record(second.billed, record, revision, "SAME_CHARGE", second.billing_token)
            outputs.append(Output(RECEIPTS, *credit))
            second.billed = None
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


def dead_letter(station: Station, value: bytes, reason: str, detail: str) -> Output:
    return Output(DEAD_LETTERS, station.station_id.encode(), value, dead_letters.why(reason, detail))
