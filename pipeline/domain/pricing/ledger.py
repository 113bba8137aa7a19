"""The ledger of one session while it is priced: volumes per dimension, as runs of one unit price, and the flat fee.

Sums are exact integers that only grow at the end, so the running cost needs no pass over the runs.
"""

from __future__ import annotations

from pipeline.domain.pricing.compiled_tariff import Active
from pipeline.domain.pricing.interpretation import STANDARD, Interpretation
from pipeline.domain.pricing.rates import Unit
from pipeline.domain.pricing.tariff import Dimension

Split = tuple[int, int]
"""The two instants of evidence (meter readings, state events) around a bound; equal: the bound itself is evidence."""


class Run:
    """One period of one dimension at one unit price from one source under one UTC offset: a line of the bill."""

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
        """Of the last priced period: its step_size rounds the dimension."""
        self.snapped_s: int | None = None
        """Whole seconds that step_size rounds, where periods state them one by one (D7); None: from the sum."""

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

    def snap(self, unit: Unit | None, seconds: int) -> None:
        """Counts priced time in whole seconds, where volumes are stated period by period (D7)."""
        if unit is not None:
            self.snapped_s = (self.snapped_s or 0) + seconds


class BillLedger:
    """Energy, charging time, idle time and flat fees of a session, or of its reservation (time and fees only)."""

    __slots__ = ("energy", "flats", "held", "how", "parking", "time")

    def __init__(self, how: Interpretation = STANDARD) -> None:
        self.how = how
        self.energy = Volume()
        self.time = Volume()
        self.parking = Volume()
        self.flats: list[Run] = []
        self.held = ""
        """Why the bill must wait: code of the first fact that is missing and decides the price."""

    def copy(self) -> BillLedger:
        twin = BillLedger(self.how)
        twin.energy, twin.time, twin.parking = self.energy.copy(), self.time.copy(), self.parking.copy()
        twin.flats, twin.held = self.flats[:], self.held
        return twin

    def post_energy(
        self, active: Active, offset_s: int | None, from_us: int, to_us: int, mwh: int, head: Split, tail: Split
    ) -> None:
        """Energy of a period in which nothing relevant to its price changed."""
        unit = active.units[Dimension.ENERGY]
        if not mwh and unit is None and not self.energy.runs:
            return
        reason = active.unpriced[Dimension.ENERGY] if unit is None else unit.reason
        run = self.energy.add(unit, offset_s, reason, from_us, to_us, mwh, head, tail)
        run.is_power_derived |= active.is_power_derived
        if mwh:
            self._doubt(active, Dimension.ENERGY, unit)

    def post_time(
        self, active: Active, offset_s: int | None, activity: str, from_us: int, to_us: int, us: int, since: Split
    ) -> None:
        """Time of a period in one activity; `since` is the evidence of that."""
        place = Dimension.PARKING_TIME if activity == "idle" else Dimension.TIME
        unit = active.units[place]
        reason = active.unpriced[place] if unit is None else unit.reason
        if activity == "evse_pause" and reason == "FIRST_MATCH":
            reason = "EVSE_PAUSE"
        volume = self.parking if activity == "idle" else self.time
        run = volume.add(unit, offset_s, reason, from_us, to_us, us, since, since)
        run.is_power_derived |= active.is_power_derived
        self._doubt(active, place, unit)
        if not self.flats and active.unknown[Dimension.FLAT]:
            self._doubt(active, Dimension.FLAT, None)

    def post_flat(self, active: Active, offset_s: int | None, at_us: int, evidence: Split) -> None:
        """The FLAT that is active, if any."""
        unit = active.units[Dimension.FLAT]
        if unit is not None and not active.unknown[Dimension.FLAT]:
            self.flats.append(Run(unit, offset_s, unit.reason, at_us, at_us, 1, evidence, evidence))
            self._doubt(active, Dimension.FLAT, unit)

    def _doubt(self, active: Active, dimension: Dimension, unit: Unit | None) -> None:
        if not self.held and active.is_doubtful:
            self.held = active.unknown[dimension] or ("SIGNAL_MISSING" if unit is not None and unit.missing else "")
