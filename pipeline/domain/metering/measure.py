"""What the evidence of a session amounts to: energy, times, activity, completeness and quality codes.

The rule of this file: a pure judgement over the whole set of evidence, so that the order of arrival cannot matter. It
never invents: energy that cannot be proven is estimated and says so, or is None. A clean session takes the short way
(a few passes in C over its arrays); everything else is judged in evidence.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from operator import sub

from pipeline.domain.limits import Limits
from pipeline.domain.metering.evidence import FLAT_US, Judgement, judge
from pipeline.domain.metering.inferred import infer_activity
from pipeline.domain.metering.powers import stated_powers
from pipeline.domain.outputs import Evidence, Status
from pipeline.domain.pricing.facts import Activity, Stretch
from pipeline.domain.station import ABSENT, HOUR, MINUTE, SECOND, STRIDE, Connector, Session

INCOMPLETE = frozenset(
    {"MISSING_START", "MISSING_STOP", "CLOSED_BY_NEW_START", "SEQ_GAP", "NEGATIVE_DURATION"}
    | {"IMPOSSIBLE_ENERGY", "NEGATIVE_ENERGY"}
)
ESTIMATED = frozenset({"REGISTER_RESET", "METER_STUCK", "STOP_REPLACED"})
HELD_BY = ("IMPOSSIBLE_ENERGY", "NEGATIVE_ENERGY", "NEGATIVE_DURATION", "MISSING_START")
"""Codes that hold the bill, the gravest first."""
NOT_QUALITY = frozenset({"SIGNED_EVIDENCE"})
"""What decoders note that says nothing about the quality of a session."""
SHORTEST_GAP = 2 * MINUTE
LAG = 5 * MINUTE
"""Power is judged over at least this long: registers refresh on a beat of their own."""


@dataclass(slots=True, kw_only=True)
class Measured:
    """The judgement on one session. Parallel lists: `times` us and `registers` Wh, start and end included."""

    started_at_us: int | None
    ended_at_us: int | None
    """None while the session is open."""
    until_us: int
    times: list[int]
    registers: list[int]
    energy_wh: int | None
    estimated_wh: int
    quarantined_wh: int
    dropped_wh: int
    """By how much the register fell in the session (reset); part of the ledger of the connector."""
    start_register_wh: int | None
    stop_register_wh: int | None
    activity: list[Stretch]
    charging_us: int
    idle_us: int
    max_power_w: int | None
    status: Status
    evidence: Evidence
    quality: tuple[str, ...]
    clean: bool
    """Nothing had to be judged: the readings are as they were sent."""
    gaps: list[tuple[int, int]]
    """Stretches without readings, longer than twice the usual interval."""
    powers: list[int]
    """W that the charger stated at each of `times`; -1: none."""
    powers_between: list[tuple[int, int]]
    """(us, W) stated between them, with no register of its own."""

    @property
    def held(self) -> str | None:
        """Why this session must not be billed as it is."""
        return next((code for code in HELD_BY if code in self.quality), None)


def measure(session: Session, connector: Connector, limits: Limits, previous_wh: int | None) -> Measured:
    """Judges the evidence. `previous_wh`: where the connector's register stood before this session."""
    codes = list(session.codes)
    ended_at = _ended_at(session, codes)
    judged = _clean(session, ended_at, limits, connector)
    clean = judged is not None
    if judged is None:
        judged = judge(session, ended_at, limits, _bound_w(session, connector, limits), previous_wh)
        codes.extend(code for code in judged.codes if code not in codes)
    times, registers = judged.times, judged.registers
    until = ended_at if ended_at is not None else max(session.last_at_us, session.started_at_us or 0)
    started = session.started_at_us if session.started_at_us is not None else (times[0] if times else until)
    gaps = _gaps(session, started, until)
    if gaps:
        codes.append("GAP")
    if _sequence_gap(session):
        codes.append("SEQ_GAP")
    if session.closed_by not in ("", "STOP"):
        codes.append(session.closed_by)
    status = _status(session, judged.energy_wh, until - started, limits)
    if status == "aborted" and session.closed_by == "STOP":
        codes.append("ABORTED")
    powers, between = stated_powers(session.readings, times, until)
    activity = _activity(session, connector, times, registers, powers, started, until)
    charging = sum(
        (after.from_us if after else until) - stretch.from_us
        for stretch, after in zip(activity, [*activity[1:], None], strict=True)
        if stretch.activity != "idle"
    )
    highest = max(session.readings[2::STRIDE], default=-1)
    quality = tuple(sorted(set(codes) - NOT_QUALITY))
    return Measured(
        started_at_us=session.started_at_us,
        ended_at_us=ended_at,
        until_us=until,
        times=times,
        registers=registers,
        energy_wh=judged.energy_wh,
        estimated_wh=judged.estimated_wh,
        quarantined_wh=judged.quarantined_wh,
        dropped_wh=judged.dropped_wh,
        start_register_wh=judged.start_register_wh,
        stop_register_wh=judged.stop_register_wh,
        activity=activity,
        charging_us=charging,
        idle_us=until - started - charging,
        max_power_w=highest if highest >= 0 else None,
        status=status,
        evidence="incomplete" if status == "open" else _evidence(quality, judged.estimated or judged.estimated_wh > 0),
        quality=quality,
        clean=clean,
        gaps=gaps,
        powers=powers,
        powers_between=between,
    )


def _ended_at(session: Session, codes: list[str]) -> int | None:
    """The end; a stop stamped before its start is clock skew up to 5 minutes (problem 14)."""
    if not session.ended():
        return None
    ended, started = session.ended_at_us, session.started_at_us
    if ended is None or session.closed_by != "STOP":
        return max(session.last_at_us, started or 0)  # evidence that came after the rule had closed it counts
    if started is not None and ended < started:
        if started - ended <= 5 * MINUTE:
            codes.append("CLOCK_SKEW")
            lasted = session.stop_received_us - session.start_received_us
            return started + max(lasted, 0) if session.start_received_us and session.stop_received_us else started
        codes.append("NEGATIVE_DURATION")
        return started
    return ended


def _clean(session: Session, ended_at: int | None, limits: Limits, connector: Connector) -> Judgement | None:
    """The short way: start and stop (or an open session), registers that rise between them, within the bound."""
    start, started = session.start_register_wh, session.started_at_us
    if start is None or started is None or (ended_at is not None and session.stop_register_wh is None):
        return None
    readings = session.readings
    times, registers = readings[0::STRIDE].tolist(), readings[1::STRIDE].tolist()
    stop = registers[-1] if registers else start
    if ended_at is not None and session.stop_register_wh is not None:
        stop = session.stop_register_wh
    until = ended_at if ended_at is not None else session.last_at_us
    if stop < start:
        return None
    if registers:
        if registers[0] < start or registers[-1] > stop or times[0] < started or times[-1] > until:
            return None
        if registers != sorted(registers):
            return None
    elif stop > start + limits.register_step_wh and ended_at is not None and until <= started:
        return None
    bound_w = _bound_w(session, connector, limits)
    allowance = bound_w * limits.tolerance / (HOUR)  # Wh per microsecond
    if start == 0 and (not registers or registers[0] > limits.register_step_wh):
        return None  # a register of 0 at the start may mean that it was not known (problem 2)
    if stop - start > allowance * (until - started) + limits.register_step_wh:
        return None
    all_times = [started, *times]
    all_registers = [start, *registers]
    if until > all_times[-1]:
        all_times.append(until)
        all_registers.append(stop)
    else:
        all_registers[-1] = stop
    if times and times[0] == started:
        del all_times[0], all_registers[0]
        all_registers[0] = start
    steps = list(map(sub, all_registers[1:], all_registers))
    if max(steps, default=0) > allowance * LAG + limits.register_step_wh and any(
        step > allowance * max(until - since, LAG) + limits.register_step_wh
        for step, since, until in zip(steps, all_times, all_times[1:], strict=False)
    ):
        return None
    if 0 in steps[:-1] and _flat_under_power(session):
        return None
    return Judgement(
        times=all_times,
        registers=all_registers,
        energy_wh=stop - start,
        estimated_wh=0,
        quarantined_wh=0,
        dropped_wh=0,
        start_register_wh=start,
        stop_register_wh=stop,
        codes=[],
    )


def _flat_under_power(session: Session) -> bool:
    """Suspicion of a stuck meter: a register flat for ten minutes while power flowed; evidence.py looks closer."""
    since, previous = 0, ABSENT
    for at, register, power in zip(*(session.readings[column::STRIDE] for column in range(3)), strict=True):
        if register != previous or power <= 0:
            since, previous = at, register
        elif at - since >= FLAT_US:
            return True
    return False


def _bound_w(session: Session, connector: Connector, limits: Limits) -> int:
    if limits.rating_w is not None:
        return limits.rating_w
    seen = max(connector.highest_power_w, max(session.readings[2::STRIDE], default=0))
    return seen if seen > 0 else limits.unrated_w


def _gaps(session: Session, started: int, until: int) -> list[tuple[int, int]]:
    """Stretches longer than twice the usual interval and than two minutes; none known without two readings."""
    times = session.readings[0::STRIDE].tolist()
    if len(times) < 3 or session.thinned:
        return []
    spans = list(map(sub, times[1:], times))
    longest = max(max(spans), times[0] - started, until - times[-1])
    if longest <= SHORTEST_GAP:
        return []
    usual = sorted(spans)[len(spans) // 2]
    limit = max(2 * usual, SHORTEST_GAP)
    if longest <= limit:
        return []
    marks = [started, *times, until]
    return [(a, b) for a, b in pairwise(marks) if b - a > limit]


def _sequence_gap(session: Session) -> bool:
    return bool(session.seq_missing) and session.ended()


def _status(session: Session, energy_wh: int | None, lasted_us: int, limits: Limits) -> Status:
    if not session.ended():
        return "open"
    if session.closed_by == "ABORTED_BY_NEW_START":
        return "aborted"
    return "aborted" if energy_wh == 0 and lasted_us < limits.shortest_us else "completed"


def _evidence(quality: tuple[str, ...], estimated: bool) -> Evidence:
    if not INCOMPLETE.isdisjoint(quality):
        return "incomplete"
    return "estimated" if estimated or not ESTIMATED.isdisjoint(quality) else "complete"


_ACTIVITY: dict[str, Activity] = {
    "charging": "charging",
    "suspended_ev": "idle",
    "idle": "idle",
    "suspended_evse": "evse_pause",
}


def _activity(
    session: Session,
    connector: Connector,
    times: list[int],
    registers: list[int],
    powers: list[int],
    started: int,
    until: int,
) -> list[Stretch]:
    """From the states that readings or statuses told; without any it is inferred from what was measured."""
    changes = session.states or reported_states(connector, started, until)
    if not changes:
        return infer_activity(times, registers, powers, started, until)
    stretches = [Stretch(started, "charging")]
    for at, state in changes:
        activity = _ACTIVITY[state]
        if at <= started:
            stretches[0] = Stretch(started, activity)
        elif at < until and activity != stretches[-1].activity:
            stretches.append(Stretch(at, activity))
    return stretches


def reported_states(connector: Connector, started: int, until: int) -> list[tuple[int, str]]:
    """The part of the connector's statuses that is about this session; Finishing before its start is not."""
    during = [(at, state) for at, state in connector.states if started < at < until and state != "available"]
    before = [(at, state) for at, state in connector.states if at <= started]
    if before and before[-1][1] not in ("available", "idle"):
        during.insert(0, before[-1])
    return during


def seconds(us: int) -> int:
    """Whole seconds, half up."""
    return (us + SECOND // 2) // SECOND
