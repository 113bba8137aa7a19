"""What an event leaves besides evidence: signs of life, quality codes, sessions to judge again, refusals, alerts."""

from __future__ import annotations

from pipeline.domain.events import ChargeEvent
from pipeline.domain.metering import clock
from pipeline.domain.outputs import Quarantined
from pipeline.domain.station import Connector, Session, Station, Step


def heard(station: Station, event: ChargeEvent) -> None:
    """A sign of life; it also tells how far the station's clock may be off."""
    seen = event.received_time_us or event.event_time_us
    if seen > station.seen_us:
        station.seen_us = seen
    if event.event_time_us != seen:  # else it states no time of its own
        clock.note_lag(station, event.event_time_us, event.received_time_us)


def note(session: Session, code: str) -> None:
    """A quality code that only the arrival can tell."""
    if code not in session.codes:
        session.codes.append(code)


def touched(station: Station, session: Session, reason: str) -> None:
    """A session that was already emitted got new evidence: the next tick looks whether a billed fact changed."""
    if session.ended() and not session.dirty:
        session.dirty, session.dirty_reason = True, reason
        station.wake_us = 0


def refuse(station: Station, reason: str, detail: str) -> Step:
    """Nothing changes but the counter; the event becomes a dead letter with this reason."""
    station.quarantined += 1
    step = Step()
    step.quarantined.append(Quarantined(reason, detail))
    return step


def alert(
    step: Step, rule: str, connector: Connector, session: Session | None, since: int, cleared: int | None = None
) -> None:
    """Raises a rule of publishing/rules.py, or clears it: event times (us UTC) of its cause and of the end of that."""
    step.alerts.append((rule, connector, session, since, cleared))
