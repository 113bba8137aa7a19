"""Which of the values of one instant count: one location of each quantity, there the total or the phases.

The rule of this file: a value is used, repeats another, or is counted in `left_out` with its reason. None vanishes.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Final

from pipeline.domain.events import (
    BAD_VALUE,
    NOT_A_PHASE,
    OTHER_LOCATION,
    PHASE_BESIDE_TOTAL,
    SECOND_VALUE,
    SIGNED,
)
from pipeline.domain.outputs import Quarantined
from pipeline.wire.quantities import QUANTITIES, REGISTER, Number, SampledValue, step_of, value_of, whole

_PHASES: Final[Mapping[str, int]] = {"": 0, "L1": 1, "L2": 2, "L3": 3, "L1-N": 1, "L2-N": 2, "L3-N": 3}
"""0 is the total. N and line-to-line are absent: never summed."""
_ENERGY_FIELDS: Final = frozenset({"register_wh", "interval_wh"})
_LOCATIONS: Final[Mapping[str, int]] = {"Outlet": 0, "Cable": 1, "Body": 2, "Inlet": 3, "EV": 4}
"""Which meter counts when several report the same: the one nearest to what the driver gets."""
_UPSTREAM: Final = "Upstream"
"""OCPP 2.1: a meter of the grid connection, which other loads pass too: never a session's."""
_MISMATCH_FLOOR: Final = 1000
"""Wh or W; phases and total may differ by 10 %, and below this by as much as at this: noise."""


_Taken = tuple[int, int, Number | None, SampledValue]
"""Rank of the location, phase (0 = total), the number or None if it cannot be read, the sample as sent."""


class Instant:
    """What the samples of one instant and context say together: `take` all of them, then `settle`."""

    __slots__ = ("_taken", "codes", "left_out", "register_phases", "values")

    def __init__(self) -> None:
        self.values: dict[str, int] = {}
        """Wh, W or percent, rounded once, after any sum; what was not measured, or not readably, is absent."""
        self.register_phases = 0
        self.codes: list[str] = []
        self.left_out: dict[str, int] = {}
        self._taken: dict[str, list[_Taken]] = {}

    def take(self, sample: SampledValue, refused: list[Quarantined]) -> None:
        """`refused` gets what is an error of the station; what is merely not needed is only counted."""
        quantity = QUANTITIES[sample.measurand or REGISTER]
        phase = _PHASES.get(sample.phase or "")
        if phase is None or (phase and quantity.field == "soc_percent"):
            self.leave_out(NOT_A_PHASE)
            return
        if sample.location == _UPSTREAM:
            self.leave_out(OTHER_LOCATION)
            return
        is_signed = sample.format == "SignedData"
        if (is_signed or sample.signed_meter_value) and "SIGNED_EVIDENCE" not in self.codes:
            self.codes.append("SIGNED_EVIDENCE")
        if is_signed:
            self.leave_out(SIGNED)
            return
        number: Number | None
        try:
            number = value_of(sample, quantity)
        except ValueError as error:
            number = None
            self.leave_out(BAD_VALUE)
            refused.append(Quarantined("BAD_VALUE", f"{quantity.field}: {error}"))
        rank = _LOCATIONS.get(sample.location or "Outlet", len(_LOCATIONS))
        self._taken.setdefault(quantity.field, []).append((rank, phase, number, sample))

    def leave_out(self, why: str, count: int = 1) -> None:
        if count:
            self.left_out[why] = self.left_out.get(why, 0) + count

    def settle(self, refused: list[Quarantined]) -> None:
        """Of each quantity the total as sent, or the sum of the phases, of one location."""
        for field, taken in self._taken.items():
            _, phase, number, _ = taken[0]
            if len(taken) > 1 or phase:
                self._choose(field, taken, refused)
            elif number is not None:
                self.values[field] = whole(number)

    def _choose(self, field: str, taken: list[_Taken], refused: list[Quarantined]) -> None:
        # A location with an unreadable total still is the meter that counts: another one's would be a jump.
        with_total = {rank for rank, phase, _, _ in taken if phase == 0}
        chosen = min(with_total or {rank for rank, _, _, _ in taken})
        phases: dict[int, tuple[Number, SampledValue]] = {}
        for rank, phase, number, sample in taken:
            if number is None:
                continue
            if rank != chosen:
                self.leave_out(OTHER_LOCATION)
                continue
            if phase not in phases:
                phases[phase] = number, sample
                continue
            kept, kept_sample = phases[phase]
            if not _is_same(number, sample, kept, kept_sample):
                self.leave_out(SECOND_VALUE)
                if field in _ENERGY_FIELDS:  # of anything else: a second sensor
                    refused.append(Quarantined("ID_CONFLICT", f"{field}: two values for the same instant"))
            elif step_of(sample) < step_of(kept_sample):
                phases[phase] = number, sample
        self._sum(field, {phase: number for phase, (number, _) in phases.items()})

    def _sum(self, field: str, parts: dict[int, Number]) -> None:
        total = parts.pop(0, None)
        if total is not None:
            self.values[field] = whole(total)
            self.leave_out(PHASE_BESIDE_TOTAL, len(parts))
            if len(parts) == 3 and _differ(sum(parts.values()), total) and "PHASE_MISMATCH" not in self.codes:
                self.codes.append("PHASE_MISMATCH")
        elif parts:
            self.values[field] = whole(sum(parts.values()))
            if field == "register_wh":
                self.register_phases = sum(1 << phase - 1 for phase in parts)


def _is_same(number: Number, sample: SampledValue, kept: Number, kept_sample: SampledValue) -> bool:
    """They differ by less than the coarser of the two can say."""
    if number == kept:
        return True
    return abs(Decimal(number) - Decimal(kept)) < max(step_of(sample), step_of(kept_sample))


def _differ(added: Number, total: Number) -> bool:
    larger, smaller = max(added, total), min(added, total)
    return (larger - smaller) * 10 > max(larger, _MISMATCH_FLOOR)
