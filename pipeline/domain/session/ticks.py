"""What passing time does to a station: the only place that closes silent sessions and fires rules on open ones.

A tick visits a station when its `wake_us` is reached. It may come too early (then it does nothing), never too late for
its own time, so results depend on the ticks in the log alone, not on when somebody looked.
"""

from __future__ import annotations

from pipeline.domain.limits import Limits
from pipeline.domain.metering import clock
from pipeline.domain.metering.activity import of_session
from pipeline.domain.metering.evidence import owns
from pipeline.domain.metering.neighbours import OVERLAP, previous_end, superseded_at
from pipeline.domain.session.ends import adopt_orphans
from pipeline.domain.session.identity import LimitsOf, adopt_unanswered, settled_at
from pipeline.domain.session.neighbours import disturb_former, disturb_next, unite_unanswered, untangle
from pipeline.domain.session.notes import alert
from pipeline.domain.session.timeline import put_into
from pipeline.domain.sites.occupancy import site_watches
from pipeline.domain.station import (
    ABSENT,
    ENERGY,
    HOUR,
    KIND,
    LATENESS_HORIZON,
    MINUTE,
    NAMED,
    NEVER,
    RECEIVED,
    REORDER_WINDOW,
    SETTLE,
    SILENCE,
    STRIDE,
    TIME,
    UNANSWERED,
    Session,
    Station,
    Step,
)

FORGET_EVERY = 6 * HOUR
FAULT_LASTS = MINUTE


def tick(station: Station, now: int, limits_of: LimitsOf) -> Step:
    """Time has reached `now` (us UTC) on the station's clock."""
    step = Step()
    wake = adopt_unanswered(station, now, limits_of, step)
    if station.orphans:
        adopt_orphans(station, now, limits_of, step)
        for stop in station.orphans:
            wake = min(wake, max(settled_at(stop), now + MINUTE))
    for key, session in station.each_session():
        if station.sessions.get(key) is not session:
            continue  # it became a part of another one just now
        if session.ended():
            wake = min(wake, _settle(station, key, session, now, step))
        else:
            limits = limits_of(station.station_id, session.connector_id)
            wake = min(wake, _watch(station, key, session, now, limits, step))
    wake = min(wake, _faults(station, now, step), _silence(station, now, limits_of, step), _forget(station, now, step))
    if True in [session.dirty for session in station.sessions.values()]:
        wake = now
    station.wake_us = max(wake, now + 1)  # the same tick never visits twice
    return step


def _settle(station: Station, key: str, session: Session, now: int, step: Step) -> int:
    """An ended session: revised if late evidence came, archived when the reorder window is over."""
    ended = session.ended_at_us or session.last_at_us
    if session.closed_by != "STOP":
        ended = max(ended, session.last_at_us)  # it went on after a rule had closed it
    heard = min(session.stop_received_us, ended + LATENESS_HORIZON)  # of a stop that was late, others still follow
    over = max(ended, heard) + REORDER_WINDOW
    if session.started_at_us is None and not session.revision:
        if now < over:
            return min(over, now + SETTLE)  # problem 12: its start may still come
        step.rated.append((session, "MISSING_START"))
    elif session.dirty:
        step.rated.append((session, session.dirty_reason))
    session.dirty, session.dirty_reason = False, ""
    if now < over:
        return over
    if clock.judge(station, session):  # what came since its stop told more of the clock
        step.rated.append((session, "CLOCK_LEARNED"))
        disturb_former(station, session)
        disturb_next(station, session)
    _keep_states(station, session)
    if session.call is not None:
        session.call = None  # it ended without an id; nobody waits for the answer any more
        station.used += 1
    for name in (key, *session.aliases):
        if station.sessions.get(name) is session:  # the name may be another one's by now
            del station.sessions[name]
    step.archived.append((key, session))
    station.forget_at_us = min(station.forget_at_us, ended + LATENESS_HORIZON)
    return NEVER


def _keep_states(station: Station, session: Session) -> None:
    """Statuses and readings without id go with their session into the archive; the connector keeps what others need."""
    connector = station.connector(session.connector_id)
    started = session.started_at_us if session.started_at_us is not None else session.last_at_us
    ended = session.ended_at_us or session.last_at_us
    if not session.states and connector.reports:
        reports = clock.reported(station, session, connector)
        session.states = of_session(reports, started, ended, previous_end(station, session))
    oldest = min(
        (
            s.started_at_us or 0
            for _, s in station.each_session()
            if s is not session and s.connector_id == connector.connector_id
        ),
        default=ended,
    )
    kept_from = min(oldest, ended)
    told = [(sent, received) for sent, _, received in connector.reports]
    believed = clock.believed_each(station, told)
    times = [max(at, received) for at, (_, received) in zip(believed, told, strict=True)]
    last = max((at for at in times if at <= kept_from), default=kept_from)
    connector.reports = [report for at, report in zip(times, connector.reports, strict=True) if at >= last]
    loose = connector.loose
    for index in range(len(loose) - STRIDE, -1, -STRIDE):
        if owns(session, loose[index + TIME], session.ended_at_us, loose[index + RECEIVED]):
            row = loose[index : index + STRIDE].tolist()
            if row[KIND] < NAMED and "TX_ID_RECONCILED" not in session.codes:
                session.codes.append("TX_ID_RECONCILED")
            row[KIND] %= NAMED
            put_into(session, row)
            del loose[index : index + STRIDE]


def _watch(station: Station, key: str, session: Session, now: int, limits: Limits, step: Step) -> int:
    """An open session: closed by rule when its stop is missing, else measured against the limits."""
    if session.call is not None:
        answered_by = (session.started_at_us or 0) + UNANSWERED
        if now < answered_by:
            return answered_by
        session.call = None  # problem 19: never acknowledged; it goes on without an id
        station.used += 1
    superseded = superseded_at(station, session)
    if superseded is not None:
        goes_on = session.last_at_us - superseded > OVERLAP  # under two ids, perhaps
        superseded = (max(superseded, session.last_at_us) if goes_on else superseded) + SETTLE
    if superseded is not None and now >= superseded and unite_unanswered(station, session, step):
        return now
    if superseded is not None and now >= superseded:
        energy = max(session.last_register_wh, ABSENT) - (session.start_register_wh or 0)
        empty = not len(session.readings) or (session.start_register_wh is not None and energy <= 0)
        return _close(station, session, "ABORTED_BY_NEW_START" if empty else "CLOSED_BY_NEW_START", step)
    freed_at = _freed_at(station, session)
    if freed_at is not None and now >= freed_at + SETTLE:
        return _close(station, session, "MISSING_STOP", step)
    quiet_until = _heard_at(session) + SILENCE
    if now >= quiet_until:
        return _close(station, session, "MISSING_STOP", step)
    wake = min(
        quiet_until,
        NEVER if superseded is None else superseded,
        NEVER if freed_at is None else freed_at + SETTLE,
    )
    return min(wake, _durations(station, session, now, limits, step))


def _heard_at(session: Session) -> int:
    """The session's last sign, by receipt where that is later: messages may be late, and clocks may be years behind."""
    latest = session.readings[RECEIVED - STRIDE] if len(session.readings) else 0
    return max(session.last_at_us, session.start_received_us, latest)


def _freed_at(station: Station, session: Session) -> int | None:
    """When the connector was reported Available after the session's last evidence; None: it was not."""
    reports = station.connector(session.connector_id).reports
    freed = [(sent, received) for sent, state, received in reports if state == "available"]
    since = max(session.last_at_us, session.started_at_us or 0)
    return next((at for at in clock.believed_each(station, freed) if at >= since), None)


def _close(station: Station, session: Session, code: str, step: Step) -> int:
    session.close(code)
    session.ended_at_us = session.last_at_us
    station.newest_us = max(station.newest_us, session.last_at_us)
    session.fold = None
    disturb_next(station, session)
    step.rated.append((session, code))
    untangle(station, session.connector_id, step)
    return session.last_at_us + REORDER_WINDOW


def _durations(station: Station, session: Session, now: int, limits: Limits, step: Step) -> int:
    """Rules that only time can break; each is raised once and cleared when the session ends."""
    wake = NEVER
    started = session.started_at_us if session.started_at_us is not None else session.last_at_us
    charged_until = charging_ended(session)
    for rule, due in (
        ("LONG_SESSION", started + limits.expected_us),
        ("OVERSTAY", charged_until + limits.longest_idle_us),
    ):
        if rule in session.raised:
            continue
        if now >= due:
            session.raised[rule] = due
            alert(step, rule, station.connector(session.connector_id), session, due)
        else:
            wake = min(wake, due)
    return wake


def charging_ended(session: Session) -> int:
    """Time of the last reading at which the register had grown; the start while nothing flowed."""
    readings = session.readings
    for index in range(len(readings) - STRIDE, 0, -STRIDE):
        if readings[index + ENERGY] > readings[index + ENERGY - STRIDE]:
            return readings[index]
    return readings[0] if len(readings) else session.last_at_us


def _faults(station: Station, now: int, step: Step) -> int:
    """A connector that is faulty for more than a minute (problems 38 and 39)."""
    wake = NEVER
    for connector in station.connectors.values():
        if connector.fault_since_us is None:
            connector.fault_raised_us = None
        elif connector.fault_raised_us is None:
            due = connector.fault_since_us + FAULT_LASTS
            if now >= due:
                connector.fault_raised_us = connector.fault_since_us
                alert(step, "STATION_FAULT", connector, None, connector.fault_since_us)
            else:
                wake = min(wake, due)
    return wake


def _silence(station: Station, now: int, limits_of: LimitsOf, step: Step) -> int:
    """No sign of life although a session is open. Cleared by the next sign of life, told at the tick after it.

    Of a live station of a known site the site's stage tells it, so that an outage of the site is one alert.
    """
    if station.silent_since_us is not None and station.seen_us > station.silent_since_us:
        alert(step, "STATION_SILENT", station.connector(0), None, station.silent_since_us, station.seen_us)
        station.silent_since_us = None
    if site_watches(station) or not any(not session.ended() for session in station.sessions.values()):
        return NEVER
    limit = limits_of(station.station_id, 0).silent_us
    due = station.seen_us + limit
    if now < due:
        return due
    if station.silent_since_us is None:
        station.silent_since_us = station.seen_us
        alert(step, "STATION_SILENT", station.connector(0), None, station.seen_us)
    return now + limit


def _forget(station: Station, now: int, step: Step) -> int:
    """Closed sessions beyond the lateness horizon; looked at a few times a day, in one pass over the archive."""
    if now < station.forget_at_us or station.archive is None:
        return station.forget_at_us
    following = NEVER
    for name, value in station.archive.items():
        ended = int.from_bytes(value[:8], "big")
        if ended + LATENESS_HORIZON <= now:
            step.forgotten.append(name.decode())
            station.forgotten_until_us = max(station.forgotten_until_us, ended)
        else:
            following = min(following, ended + LATENESS_HORIZON)
    station.forget_at_us = NEVER if following == NEVER else max(following, now + FORGET_EVERY)
    return station.forget_at_us
