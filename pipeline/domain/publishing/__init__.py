"""What a session becomes: the last decisions before anything leaves. It is rated, and then

- there is a revision if a published fact changed (here),
- a bill stands, is taken back or waits for something (bills.py),
- rules raise and clear alerts (rules.py has all of them, alerts.py makes them),
- identifiers stay behind (stripping.py).

Pure: reference data and keys are handed in with the rating, bytes are made by wire (published.Forms). Stream, offline
commands and tests take the same way.
"""

from __future__ import annotations

from collections.abc import Iterator

from msgspec.structs import replace

from pipeline.domain.metering.conservation import withdraw
from pipeline.domain.metering.measured import Measured
from pipeline.domain.outputs import SessionUpdate, StrippedSession
from pipeline.domain.pricing.bill import Bill
from pipeline.domain.publishing.alerts import Course, of_station, of_station_in_trouble
from pipeline.domain.publishing.bills import settle, take_back, waits_for
from pipeline.domain.publishing.published import Forms, Published, Revision, ViewEnded
from pipeline.domain.publishing.rules import CLEARED_AT_END, STATION_QUARANTINED
from pipeline.domain.publishing.stripping import nothing_of, strip
from pipeline.domain.rating import Rated, Rating
from pipeline.domain.rating.running import follow
from pipeline.domain.station import MINUTE, POWER, SOC, STRIDE, Session, Station, Step
from pipeline.domain.station_codec import decode_archived, encode_archived

RELEASED = "BILL_RELEASED"
ABORTS, ABORTS_WITHIN = 3, 60 * MINUTE


class Publishing:
    """Decides, and keeps in the session what was published of it. One per worker."""

    def __init__(self, rating: Rating, forms: Forms) -> None:
        self.rating = rating
        self.terms = rating.terms
        self._forms = forms

    def draft(self, station: Station, session: Session) -> tuple[StrippedSession, Rated]:
        """The session as it would be published now, without a revision, and what that rests on."""
        rated = self.rating.rate(station, session)
        return strip(station, session, self.rating.session_id(station, session), rated), rated

    def publish(self, station: Station, step: Step) -> list[Published]:
        """All that an event or passing time caused."""
        published: list[Published] = []
        for session, voided_id in step.voided:
            published += self._void(station, session, voided_id, session, "START_ARRIVED")
            session.generation, session.revision, session.content_hash = 1, 0, ""
        for first, second in step.merged:
            withdraw(station.connector(second.connector_id), second)
            published += self._void(station, second, second.session_id, first, "SAME_CHARGE")
        for session, reason in step.rated:
            self._revise(station, session, reason, published)
        for rule, connector, about, since, cleared in step.alerts:
            course = Course(since, cleared)
            published.append(of_station(self.rating, station, rule, connector.connector_id, about, course))
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
        published += step.quarantined
        return published

    def _revise(self, station: Station, session: Session, reason: str, published: list[Published]) -> None:
        """A revision if a fact changed. The first one also ends the live view, and tells what only the whole shows."""
        record, rated = self.draft(station, session)
        if session.ended() and (station.waits or record.bill_state == "HELD"):
            station.wait(record.session_id, waits_for(record))
        revision = self._next(session, record, reason)
        if revision is None:
            return
        published.append(revision)
        if session.revision == 1 or session.raised.pop(STATION_QUARANTINED, None) is not None:
            published.append(ViewEnded(record.session_id))
        if session.billed is not None or (isinstance(rated.bill, Bill) and rated.bill.state == "FINAL"):
            published += settle(self._forms, session, record, reason, rated)
        self._judge(station, session, record.flags, rated.measured, published)

    def preview(self, station: Station, session: Session) -> StrippedSession | None:
        """The revision that there would be if the session were judged now; None: none."""
        record, _ = self.draft(station, session)
        _, content_hash = self._forms.facts(record)
        if content_hash == session.content_hash:
            return None
        return replace(record, revision=session.revision + 1, content_hash=content_hash)

    def release(self, station: Station) -> list[Published]:
        """More of what held bills wait for is known. A released bill is a revision of its own; of closed sessions the
        archive keeps all readings until then."""
        published: list[Published] = []
        for session_id, (_, name) in list(station.held.items()):
            session = next((each for _, each in station.each_session() if each.session_id == session_id), None)
            if session is not None:
                self._revise(station, session, RELEASED, published)
                continue
            kept = station.archive.get(name.encode())
            if kept is None:
                station.wait(session_id, 0)
                continue
            session = decode_archived(kept)
            before = session.revision
            self._revise(station, session, RELEASED, published)
            if session.revision != before:
                station.archive.put(name.encode(), encode_archived(session, whole=session_id in station.held))
        return published

    def trouble(self, station: Station, rule: str, reason: str, course: Course) -> Iterator[Published]:
        """An error of ours, or the station is set aside: then its open sessions that were shown are HELD, as nothing
        more is known of them for now."""
        yield of_station_in_trouble(self.rating, station, rule, reason, course)
        if rule != STATION_QUARANTINED or course.cleared_us is not None:
            return
        for _, session in station.each_session():
            if session.ended() or not (session.revision or session.update_due_us):
                continue
            session_id = self.rating.session_id(station, session)
            record = strip(station, session, session_id, self.rating.hold(station, session, rule))
            revision = self._next(session, record, rule)
            if revision is not None:
                session.raised[rule] = session.last_at_us
                yield revision
                yield ViewEnded(session_id)

    def live(self, station: Station, session: Session) -> SessionUpdate:
        """The live view: energy so far and what it costs if the session ended now."""
        readings = session.readings
        start, register = session.start_register_wh, session.last_register_wh
        running = follow(self.terms, station, session)
        excl = incl = currency = None
        if running is not None:
            excl, incl = running.fold.running()
            currency = running.currency
        power = readings[POWER - STRIDE] if len(readings) else -1
        soc = readings[SOC - STRIDE] if len(readings) else -1
        return SessionUpdate(
            session_id=session.session_id or self.rating.session_id(station, session),
            station_id=station.station_id,
            connector_id=max(session.connector_id, 0),
            started_at_us=session.started_at_us,
            as_of_us=session.last_at_us,
            energy_wh=register - start if start is not None and register >= start else None,
            power_w=power if power >= 0 else None,
            soc_percent=soc if soc >= 0 else None,
            state=session.state or "charging",
            running_cost_excl_vat=excl,
            running_cost_incl_vat=incl,
            currency=currency,
        )

    def _next(self, session: Session, record: StrippedSession, reason: str) -> Revision | None:
        """None: it says what the last one says."""
        facts, content_hash = self._forms.facts(record)
        if content_hash == session.content_hash:
            return None
        session.revision += 1
        session.content_hash = content_hash
        return Revision(record, facts, content_hash, session.revision, reason)

    def _judge(
        self, station: Station, session: Session, flags: tuple[str, ...], measured: Measured, published: list[Published]
    ) -> None:
        """Raises what the finished session shows and clears what stood while it was open."""
        connector = station.connector(session.connector_id)
        number, at = connector.connector_id, measured.until_us
        for rule in flags:
            if rule not in session.raised:
                session.raised[rule] = at
                published.append(of_station(self.rating, station, rule, number, session, Course(at)))
        for rule in CLEARED_AT_END:
            if (since := session.raised.get(rule, -1)) >= 0:
                published.append(of_station(self.rating, station, rule, number, session, Course(since, at)))
                session.raised[rule] = -1  # told and done
        if measured.status == "aborted" and session.revision == 1:
            connector.aborts = [*(t for t in connector.aborts[-4:] if at - t <= ABORTS_WITHIN), at]
            if len(connector.aborts) == ABORTS:
                published.append(of_station(self.rating, station, "REPEATED_ABORTS", number, None, Course(at)))

    def _void(
        self, station: Station, session: Session, voided_id: str, instead: Session, reason: str
    ) -> Iterator[Published]:
        """Closes the id under which `session` was published: it is `instead` now, and its bill, if it had one (somebody
        had decided about it), is taken back."""
        place = station.station_id, max(instead.connector_id, 0), station.clock
        session_id = self.rating.session_id(station, instead)
        record = nothing_of(voided_id, session.generation, place, instead.ended_at_us, session_id)
        revision = session.revision + 1
        yield Revision(record, *self._forms.facts(record), revision, reason)
        yield ViewEnded(voided_id)
        if session.billed is not None:
            yield take_back(self._forms, session.billed, record, revision, reason, session.billing_token)
            session.billed = None
        station.wait(voided_id, 0)
