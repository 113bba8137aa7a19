"""When energy flowed: by the powers that were stated, and at their edges by what the register moved."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

from pipeline.domain.metering.power import STANDBY_W
from pipeline.domain.metering.registers import Bound, Point
from pipeline.domain.station import ABSENT, HOUR


class Rise(NamedTuple):
    """The register moved. Times in us UTC."""

    changed: int
    """When it had moved before."""
    since: int
    """From here on the energy flowed, if the register is refreshed as usual."""
    at: int


def where_power_flowed(
    rises: Sequence[Rise], points: Sequence[Point], stated: Sequence[Point], bound: Bound
) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
    """(from, to) in which the energy of these rises flowed; and those of them that no stated power tells more of.

    A coarse register, or one on a slow beat, moves long after the energy flowed: power tells when.
    """
    runs = list(_runs(points, stated, bound)) if rises else []
    moving: set[tuple[int, int]] = set()
    blind = []
    for rise in rises:
        found = [run for run in runs if run[0] <= rise.at and run[1] >= rise.changed and run[1] > run[0]]
        moving.update(found)
        if not found:
            blind.append((rise.since, rise.at))
    return sorted([*moving, *blind]), blind


def _runs(points: Sequence[Point], stated: Sequence[Point], bound: Bound) -> Iterator[tuple[int, int]]:
    """(from, to) in which power was stated again and again."""
    began: int | None = None
    registers = dict(points)
    told = [*stated]
    if stated and points[0][0] < stated[0][0]:
        told.insert(0, (points[0][0], ABSENT))
    if stated and points[-1][0] > stated[-1][0]:
        told.append((points[-1][0], ABSENT))
    for before, after in pairwise(told):
        if began is None and after[1] > STANDBY_W:
            began = after[0] - _flowed_us(before, after, registers, bound)
        elif began is not None and after[1] <= STANDBY_W:
            yield began, before[0] + _flowed_us(before, after, registers, bound)
            began = None
    if began is not None:
        yield began, told[-1][0]


def _flowed_us(before: Point, after: Point, registers: Mapping[int, int], bound: Bound) -> int:
    """How much of the time between a power and none was needed for what the register moved; half of it if that does not
    tell. Where no power was stated at an end of the session it may well have flowed up to there."""
    span, watts = after[0] - before[0], max(before[1], after[1])
    rise = registers.get(after[0], 0) - registers.get(before[0], 0)
    is_told = before[0] in registers and after[0] in registers and bound.step_wh * HOUR < watts * span // 4
    flowed = rise * HOUR // watts if is_told else 0
    if min(before[1], after[1]) == ABSENT:
        return flowed if 0 < flowed <= span // 2 else span
    return flowed if 0 < flowed <= span else span // 2
