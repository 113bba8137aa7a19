"""The short way of a session whose evidence is plain: start and stop, and registers that only rise between them.

Nearly every session goes it, in a few passes in C over its arrays. It judges nothing: whatever is not plain is left to
energy.py.
"""

from __future__ import annotations

from itertools import compress
from operator import eq, sub

from pipeline.domain.metering.account import Account
from pipeline.domain.metering.columns import Columns
from pipeline.domain.metering.judgement import Judgement
from pipeline.domain.metering.power import CAUGHT_UP, FLAT_US, STANDBY_W
from pipeline.domain.metering.registers import LAG, Bound
from pipeline.domain.station import ABSENT, HOUR, KIND, STRIDE, Connector, Session


def plain(
    session: Session,
    connector: Connector,
    ended_at: int | None,
    bound: Bound,
    previous_wh: int | None,
    columns: Columns,
) -> Judgement | None:
    """The short way: start and stop (or an open session), registers that rise between them, within the bound."""
    start, started = session.start_register_wh, session.started_at_us
    if start is None or started is None or (ended_at is not None and session.stop_register_wh is None):
        return None
    if session.suspect or len(connector.loose) or (previous_wh is not None and start < previous_wh - bound.step_wh):
        return None
    if any(session.readings[KIND::STRIDE]) or (ended_at is not None and session.closed_by != "STOP"):
        return None
    times, registers, powers = columns
    stop = registers[-1] if registers else start
    if ended_at is not None and session.stop_register_wh is not None:
        stop = session.stop_register_wh
    until = ended_at if ended_at is not None else max(session.last_at_us, started)
    if stop < start or (stop == start and registers and registers[-1] != start):
        return None
    if registers:
        if registers[0] < start or registers[-1] > stop or times[0] < started or times[-1] > until:
            return None
        if registers != sorted(registers):
            return None
        last = -2 if times[-1] == until and len(times) > 1 else -1  # a sample of the end is a lifetime value
        if 0 <= stop - registers[last] - start <= bound.most_wh(until - times[last]) + bound.step_wh < stop:
            return None  # they may count from 0 at a new station
    if start == 0 and stop > bound.step_wh:
        return None  # a register of 0 at the start may mean that it was not known (problem 2)
    if stop - start > bound.most_wh(until - started) + bound.step_wh:
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
    if max(steps, default=0) > bound.most_wh(LAG) + bound.step_wh:
        return None
    energy = stop - start
    flat = steps.count(0)
    is_flat = flat > 0 and len(set(registers)) < len(registers)
    if is_flat and (_flat_under_power(columns) or _rises_without_power(columns)):
        return None
    if _short_of_power(powers, energy, until - started):
        return None
    return Judgement(
        times=all_times, registers=all_registers, energy_wh=energy, low_wh=energy, high_wh=energy,
        start_register_wh=start, stop_register_wh=stop, account=_all_used(session, powers),
        is_rising=flat == (0 in steps[-1:]),
    )  # fmt: skip


def _all_used(session: Session, powers: list[int]) -> Account:
    values = 2 * len(powers) - powers.count(ABSENT)
    stop = session.closed_by == "STOP"
    account = Account(used=values + 1 + stop + session.unkept, repeated=session.repeated)
    account.facts = {"baseline": "START_REGISTER", "energy": "meterStop - baseline"}
    if session.left_out:
        account.add_counted(session.left_out)
    return account


def _flat_under_power(columns: Columns) -> bool:
    """Suspicion of a stuck meter: a register flat for ten minutes, power stated in half of them; power.py looks
    closer."""
    times, registers, powers = columns
    if max(powers[registers.index(registers[-1]) : -1], default=ABSENT) > STANDBY_W:
        return True  # it had its last value already
    if sum(compress(map(sub, times[1:], times), map(eq, registers[1:], registers))) < FLAT_US:
        return False  # nearly always, and found in C
    since = flowed = 0
    previous = ABSENT
    last = 0
    for at, register, power in zip(*columns, strict=True):
        if register != previous:
            since, previous, flowed = at, register, 0
        elif power > STANDBY_W:
            flowed += at - last
        if flowed * 2 >= FLAT_US <= at - since:
            return True
        last = at
    return False


def _rises_without_power(columns: Columns) -> bool:
    """Suspicion of another meter: the register stood still and rose again while no power was stated; power.py looks
    closer."""
    _, registers, powers = columns
    if len(set(compress(registers, map(STANDBY_W.__ge__, powers)))) < 2 or max(powers) <= STANDBY_W:
        return False  # nearly always, and found in C
    rows = list(zip(registers, powers, strict=True))
    return any(
        a == b < c and 0 <= p <= STANDBY_W and 0 <= q <= STANDBY_W and 0 <= r <= STANDBY_W
        for (a, p), (b, q), (c, r) in zip(rows, rows[1:], rows[2:], strict=False)
    )


def _short_of_power(powers: list[int], energy_wh: int, lasted_us: int) -> bool:
    """Did the register move by far less than the mean of the stated powers amounts to?"""
    return bool(powers) and sum(powers) * lasted_us * CAUGHT_UP > energy_wh * 100 * HOUR * len(powers)
