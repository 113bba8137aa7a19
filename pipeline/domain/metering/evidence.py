"""The long way of measure.py: energy of a session whose evidence is damaged, and a code for each repair.

The rule of this file: never negative, never clamped to 0, never more than physically possible. Where one hypothesis
explains the evidence, it is used and named; where none or several do, the energy is None.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field

from pipeline.domain.limits import Limits
from pipeline.domain.station import ABSENT, HOUR, MINUTE, STRIDE, Session

POST_STOP_WH = 100
FROM_SAMPLE = "(estimated)"
"""Not a code: the baseline is a sample, so energy before it is missing. Taken out by `judge`."""
FLAT_US = 10 * MINUTE


@dataclass(slots=True, kw_only=True)
class Judgement:
    """`times` and `registers` run from start to end (us, Wh, rising); empty when the energy is not known."""

    times: list[int]
    registers: list[int]
    energy_wh: int | None
    estimated_wh: int
    quarantined_wh: int
    dropped_wh: int
    start_register_wh: int | None
    stop_register_wh: int | None
    codes: list[str] = field(default_factory=list)
    estimated: bool = False
    """Part of the energy is not proven, although no Wh of it can be named."""


@dataclass(slots=True)
class _Bound:
    """How much energy is physically possible in a span: problem 11, and the bound of ocpp.md section 3."""

    watts: int
    limits: Limits

    def allows(self, energy_wh: int, span_us: int) -> bool:
        return 0 <= energy_wh <= self.watts * self.limits.tolerance * span_us / HOUR + self.limits.register_step_wh


def judge(session: Session, ended_at: int | None, limits: Limits, bound_w: int, previous_wh: int | None) -> Judgement:
    """The energy of `session` from everything it left; `bound_w` is the connector's rating or the best substitute."""
    bound = _Bound(bound_w, limits)
    codes: list[str] = []
    samples = _samples(session, ended_at, codes)
    start, samples = _baseline(session, samples, bound, ended_at, previous_wh, codes)
    samples, dropped = _rising(start, samples, limits, codes)
    stop, until = _closing(session, start, samples, ended_at, dropped, limits, codes)
    if start is None or stop is None:
        return _nothing(start, session.stop_register_wh, codes)
    started = session.started_at_us if session.started_at_us is not None else (samples[0][0] if samples else until)
    energy = stop - start
    points = _points(started, start, samples, until, stop)
    if energy < 0:
        codes.append("NEGATIVE_ENERGY")
        return _nothing(start, session.stop_register_wh, codes)
    if not bound.allows(energy, max(until - started, 0)) or _jumps(points, bound):
        codes.append("IMPOSSIBLE_ENERGY")
        return _nothing(start, stop - dropped, codes, quarantined=energy, dropped=dropped)
    estimated = 0
    from_sample = FROM_SAMPLE in codes
    if from_sample:
        codes.remove(FROM_SAMPLE)
    if "REGISTER_RESET" in codes or "STOP_REPLACED" in codes:
        estimated = energy - (samples[-1][1] - start if samples else 0) if "STOP_REPLACED" in codes else 0
    stuck = _stuck_wh(session, points, started, until)
    if stuck:
        codes.append("METER_STUCK")  # problem 25: energy by the integral of power
        points = _add_linearly(points, stuck)
        energy += sum(wh for _, _, wh in stuck)
        estimated += sum(wh for _, _, wh in stuck)
    return Judgement(
        times=[at for at, _ in points],
        registers=[register for _, register in points],
        energy_wh=energy,
        estimated_wh=estimated,
        quarantined_wh=0,
        dropped_wh=dropped,
        start_register_wh=start,
        stop_register_wh=stop - dropped,
        codes=codes,
        estimated=from_sample,
    )


def _nothing(
    start: int | None, stop: int | None, codes: list[str], quarantined: int = 0, dropped: int = 0
) -> Judgement:
    return Judgement(
        times=[],
        registers=[],
        energy_wh=None,
        estimated_wh=0,
        quarantined_wh=quarantined,
        dropped_wh=dropped,
        start_register_wh=start,
        stop_register_wh=stop,
        codes=[code for code in codes if code != FROM_SAMPLE],
    )


def _samples(session: Session, ended_at: int | None, codes: list[str]) -> list[tuple[int, int]]:
    """(time us, register Wh) inside the session; what was read after the stop is evidence only (problem 26)."""
    readings = session.readings
    every = [(readings[i], readings[i + 1]) for i in range(0, len(readings), STRIDE) if readings[i + 1] != ABSENT]
    started, stop = session.started_at_us, session.stop_register_wh
    if started is not None:
        every = [(max(at, started), register) for at, register in every if at >= started - MINUTE]
    if ended_at is None or session.closed_by != "STOP":
        return every
    after = [register for at, register in every if at > ended_at]
    if (
        stop is not None
        and after
        and max(after) - stop > max(POST_STOP_WH, (stop - (session.start_register_wh or stop)) // 100)
    ):
        codes.append("POST_STOP_READING")
    return [(at, register) for at, register in every if at <= ended_at]


def _baseline(
    session: Session,
    samples: list[tuple[int, int]],
    bound: _Bound,
    ended_at: int | None,
    previous_wh: int | None,
    codes: list[str],
) -> tuple[int | None, list[tuple[int, int]]]:
    """The register at the start, and the samples on the same scale (problems 1, 2 and 18)."""
    start, stop = session.start_register_wh, session.stop_register_wh
    started = (
        session.started_at_us if session.started_at_us is not None else (samples[0][0] if samples else ended_at or 0)
    )
    span = max((ended_at or session.last_at_us) - started, 0)
    final = stop if stop is not None else (samples[-1][1] if samples else None)
    if session.started_at_us is None:
        codes.append("MISSING_START")
    if start is not None and samples and start > 0 and max(register for _, register in samples) < start:
        highest = max(register for _, register in samples)
        rebased = bound.allows(highest, span) and samples[0][1] <= highest
        if rebased and (stop is None or start + highest <= stop + bound.limits.register_step_wh):
            codes.append("REBASED_SAMPLES")
            return start, [(at, register + start) for at, register in samples]
    if start is not None and (start > 0 or final is None or bound.allows(final, span)):
        return start, samples
    if previous_wh is not None and final is not None and bound.allows(final - previous_wh, span):
        if start is not None:
            codes.append("BASELINE_REPLACED")
        return previous_wh, samples
    first = next((register for _, register in samples if register > 0), None)
    if first is not None and final is not None and bound.allows(final - first, span):
        codes.append("BASELINE_REPLACED")
        codes.append(FROM_SAMPLE)
        return first, samples
    return start, samples


def _rising(
    start: int | None, samples: list[tuple[int, int]], limits: Limits, codes: list[str]
) -> tuple[list[tuple[int, int]], int]:
    """Samples that never fall: small rollbacks left out (problem 4), a reset carried on (problem 3)."""
    if start is None:
        return samples, 0
    rising: list[tuple[int, int]] = []
    highest, dropped = start, 0
    for index, (at, sent) in enumerate(samples):
        register = sent + dropped
        if register >= highest:
            rising.append((at, register))
            highest = register
            continue
        following = [later for _, later in samples[index + 1 : index + 3]]
        if sent < highest // 10 and following and all(sent <= later < highest // 2 for later in following):
            dropped += highest - register  # it counts on from about 0
            rising.append((at, highest))
            _add(codes, "REGISTER_RESET")
        else:
            _add(codes, "ROLLBACK_IGNORED")
    return rising, dropped


def _closing(
    session: Session,
    start: int | None,
    samples: list[tuple[int, int]],
    ended_at: int | None,
    dropped: int,
    limits: Limits,
    codes: list[str],
) -> tuple[int | None, int]:
    """Register at the end on the scale of `samples`, and the time of it."""
    until = ended_at if ended_at is not None else max(session.last_at_us, session.started_at_us or 0)
    last = samples[-1][1] if samples else None
    if session.closed_by != "STOP" or session.stop_register_wh is None:
        return (last if last is not None else start), until
    stop = session.stop_register_wh + dropped
    if start is not None and stop < start and not dropped:
        if session.stop_register_wh < start // 10 and last is not None and last >= start:
            _add(codes, "STOP_REPLACED")
            return last, until
        if last is not None and last > start:  # problem 24
            _add(codes, "STOP_REPLACED")
            return last, until
        return stop, until
    while samples and samples[-1][1] > stop:  # problem 27: the stop wins
        if samples[-1][1] - stop > limits.register_step_wh:
            _add(codes, "ROLLBACK_IGNORED")
        samples.pop()
    return stop, until


def _points(started: int, start: int, samples: list[tuple[int, int]], until: int, stop: int) -> list[tuple[int, int]]:
    points = [(started, start)]
    for at, register in samples:
        if at > points[-1][0]:
            points.append((at, register))
        elif len(points) > 1:
            points[-1] = (at, register)
    if until > points[-1][0]:
        points.append((until, stop))
    else:
        points[-1] = (points[-1][0], stop)
    return points


def _jumps(points: list[tuple[int, int]], bound: _Bound) -> bool:
    """A step that no connector can deliver, judged over at least five minutes."""
    return any(not bound.allows(b[1] - a[1], max(b[0] - a[0], 5 * MINUTE)) for a, b in itertools.pairwise(points))


def _stuck_wh(session: Session, points: list[tuple[int, int]], started: int, until: int) -> list[tuple[int, int, int]]:
    """(from, to, Wh): stretches of ten minutes and more with a flat register while power was reported."""
    readings = session.readings
    power = {readings[i]: readings[i + 2] for i in range(0, len(readings), STRIDE) if readings[i + 2] > 0}
    if not power:
        return []
    found: list[tuple[int, int, int]] = []
    first = 0
    for index in range(1, len(points) + 1):
        if index < len(points) and points[index][1] == points[first][1]:
            continue
        flat = points[first:index]
        watt_us = sum(
            (power[a[0]] + power[b[0]]) * (b[0] - a[0]) // 2
            for a, b in itertools.pairwise(flat)
            if a[0] in power and b[0] in power and b[0] - a[0] <= 5 * MINUTE
        )
        energy = watt_us // HOUR
        if flat[-1][0] - flat[0][0] >= FLAT_US and energy > 0:
            found.append((flat[0][0], flat[-1][0], energy))
        first = index
    return found


def _add_linearly(points: list[tuple[int, int]], added: list[tuple[int, int, int]]) -> list[tuple[int, int]]:
    """Registers with the estimated energy of each stretch spread over its time."""
    result = []
    for at, register in points:
        extra = sum(wh if at >= end else wh * (at - begin) // (end - begin) for begin, end, wh in added if at > begin)
        result.append((at, register + extra))
    return result


def _add(codes: list[str], code: str) -> None:
    if code not in codes:
        codes.append(code)
