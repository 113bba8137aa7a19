"""The books of one session while it is priced: volumes per dimension, as runs of one unit price, and the flat fee.

Sums are exact integers that only grow at the end, so the running cost needs no pass over the runs.
"""

from __future__ import annotations

from pipeline.domain.plan import Active
from pipeline.domain.rates import Unit
from pipeline.domain.tariff import Dimension

Split = tuple[int, int]
"""The two instants of evidence (meter readings, state events) around a bound; equal: the bound itself is evidence."""


class Run:
    """One stretch of one dimension at one unit price from one source under one UTC offset: a line of the bill."""

    __slots__ = ("from_us", "head", "is_power_derived", "offset_s", "quantity", "reason", "tail", "to_us", "unit")

    def __init__(
        self,
        unit: Unit | None,
        offset_s: int | None,
        reason: str,
        from_us: int,
        to_us: int,
        quantity: int,
        head: Split,
        tail: Split,
    ) -> None:
        self.unit = unit
        self.offset_s = offset_s
        self.reason = reason
        self.from_us = from_us
        self.to_us = to_us
        self.quantity = quantity
        self.head = head
        self.tail = tail
        self.is_power_derived = False

    def copy(self) -> Run:
        twin = Run(self.unit, self.offset_s, self.reason, self.from_us, self.to_us, self.quantity, self.head, self.tail)
        twin.is_power_derived = self.is_power_derived
        return twin


class Volume:
    """One dimension of a session, in mWh or microseconds; `excl` and `incl` are sums of quantity x scaled price."""

    __slots__ = ("excl", "incl", "quantity", "runs", "snapped_s", "unit")

    def __init__(self) -> None:
        self.runs: list[Run] = []
        self.quantity = 0
        """Priced quantity; unpriced volume is in the runs only."""
        self.excl: int | None = 0
        self.incl: int | None = 0
        self.unit: Unit | None = None
        """Of the last priced stretch: its step rounds the dimension."""
        self.snapped_s: int | None = None
        """Whole seconds to be used for the step where periods state them one by one (D7); None: from the sum."""

    def copy(self) -> Volume:
        twin = Volume()
        twin.runs = self.runs[:]
        if twin.runs:
            twin.runs[-1] = twin.runs[-1].copy()
        twin.quantity, twin.excl, twin.incl = self.quantity, self.excl, self.incl
        twin.unit, twin.snapped_s = self.unit, self.snapped_s
        return twin

    def add(
        self,
        unit: Unit | None,
        offset_s: int | None,
        reason: str,
        from_us: int,
        to_us: int,
        quantity: int,
        head: Split,
        tail: Split,
    ) -> Run:
        """Neighbours that share price, source, reason and offset form one run."""
        run = self.runs[-1] if self.runs else None
        if (
            run is not None
            and run.unit is unit
            and run.to_us == from_us
            and run.offset_s == offset_s
            and run.reason == reason
        ):
            run.to_us, run.tail = to_us, tail
            run.quantity += quantity
        else:
            run = Run(unit, offset_s, reason, from_us, to_us, quantity, head, tail)
            self.runs.append(run)
        if unit is not None and quantity:
            self.count(unit, quantity)
        return run

    def count(self, unit: Unit, quantity: int) -> None:
        """Adds to the sums alone."""
        self.unit = unit
        self.quantity += quantity
        self.excl = None if self.excl is None or unit.excl is None else self.excl + unit.excl * quantity
        self.incl = None if self.incl is None or unit.incl is None else self.incl + unit.incl * quantity


class Ledger:
    """Energy, charging time, idle time and the flat fee of a session, or of its reservation (time and fee only)."""

    __slots__ = ("energy", "flat", "held", "parking", "time")

    def __init__(self) -> None:
        self.energy = Volume()
        self.time = Volume()
        self.parking = Volume()
        self.flat: Run | None = None
        self.held = ""
        """Why the bill must wait: code of the first fact that is missing and decides the price."""

    def copy(self) -> Ledger:
        twin = Ledger()
        twin.energy, twin.time, twin.parking = self.energy.copy(), self.time.copy(), self.parking.copy()
        twin.flat, twin.held = self.flat, self.held
        return twin

    def post(
        self,
        active: Active,
        offset_s: int | None,
        activity: str,
        from_us: int,
        to_us: int,
        mwh: int,
        head: Split,
        tail: Split,
        is_power_derived: bool,
        since: Split,
    ) -> None:
        """A stretch in which nothing relevant to the price changed; `since` is the evidence of its activity."""
        units = active.units
        if mwh or self.energy.runs or units[0] is not None:
            run = self.energy.add(
                units[0], offset_s, _reason(active, Dimension.ENERGY), from_us, to_us, mwh, head, tail
            )
            run.is_power_derived |= is_power_derived
            if mwh and (active.unknown[0] or (units[0] is not None and units[0].missing)):
                self.held = self.held or active.unknown[0] or "SIGNAL_MISSING"
        place = Dimension.PARKING_TIME if activity == "idle" else Dimension.TIME
        unit, reason = units[place], _reason(active, place)
        if activity == "evse_pause" and reason == "FIRST_MATCH":
            reason = "EVSE_PAUSE"
        volume = self.parking if activity == "idle" else self.time
        run = volume.add(unit, offset_s, reason, from_us, to_us, to_us - from_us, since, since)
        run.is_power_derived |= is_power_derived
        if active.unknown[place] or (unit is not None and unit.missing):
            self.held = self.held or active.unknown[place] or "SIGNAL_MISSING"
        if self.flat is None and active.unknown[Dimension.FLAT]:
            self.held = self.held or active.unknown[Dimension.FLAT]

    def post_flat(self, active: Active, offset_s: int | None, at_us: int, evidence: Split) -> None:
        """A FLAT is due once, at the first instant at which one is active (D12)."""
        unit = active.units[Dimension.FLAT]
        if unit is not None and not active.unknown[Dimension.FLAT]:
            self.flat = Run(unit, offset_s, unit.reason, at_us, at_us, 1, evidence, evidence)


def _reason(active: Active, dimension: int) -> str:
    unit = active.units[dimension]
    return active.unpriced[dimension] if unit is None else unit.reason
