"""Which of the values of one instant count: one location of each quantity, there the total or the phases.

The rule of this file: a value is used, repeats another, or is counted in `left_out` with its reason. None vanishes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Final, NamedTuple

from pipeline.domain.events import (
    BAD_VALUE,
    NOT_A_PHASE,
    OTHER_LOCATION,
    PHASE_BESIDE_TOTAL,
    SECOND_VALUE,
    SIGNED,
)
from pipeline.domain.outputs import Quarantined
from pipeline.wire.quantities import QUANTITIES, REGISTER, Number, Quantity, SampledValue, step_of, value_of, whole

_PHASES: Final[Mapping[str, int]] = {"": 0, "L1": 1, "L2": 2, "L3": 3, "L1-N": 1, "L2-N": 2, "L3-N": 3}
"""0 is the total. N and line-to-line are absent: never summed."""
_ENERGY_FIELDS: Final = frozenset({"register_wh", "interval_wh"})
_LOCATIONS: Final[Mapping[str, int]] = {"Outlet": 0, "Cable": 1, "Body": 2, "Inlet": 3, "EV": 4}
"""Which meter counts when several report the same: the one nearest to what the driver gets."""
_UPSTREAM: Final = "Upstream"
"""OCPP 2.1: a meter of the grid connection, which other loads pass too: never a session's."""
_MISMATCH_FLOOR: Final = 1000
"""Wh or W; phases and total may differ by 10 %, and below this by as much as at this: noise."""


class _Sample(NamedTuple):
    """A readable value: `step` is its last decimal place as sent, in Wh, W or percent."""

    number: Number
    sent: SampledValue
    quantity: Quantity

    def is_same_as(self, other: _Sample) -> bool:
        """They differ by less than the coarser of the two can say."""
        if self.number == other.number:
            return True
        return abs(Decimal(self.number) - Decimal(other.number)) < max(self.step, other.step)

    @property
    def step(self) -> Decimal:
        return step_of(self.sent, self.quantity)


class Instant:
    """What the samples of one instant and context say together."""

    def __init__(self) -> None:
        self.values: dict[str, Number] = {}
        self.register_phases = 0
        self.codes: list[str] = []
        self.left_out: Counter[str] = Counter()
        self._found: dict[str, dict[int, dict[int, _Sample | None]]] = {}
        """Field -> rank of the location -> phase -> the value that counts; None: all that was sent is unreadable."""

    def whole(self, field: str) -> int | None:
        """Rounded once, after any sum; None: not measured, or not readable."""
        value = self.values.get(field)
        return None if value is None else whole(value)

    def take(self, sample: SampledValue, refused: list[Quarantined]) -> None:
        """`refused` gets what is an error of the station; what is merely not needed is only counted."""
        quantity = QUANTITIES[sample.measurand or REGISTER]
        phase = _PHASES.get(sample.phase or "")
        if phase is None or (phase and quantity.field == "soc_percent"):
            self.left_out[NOT_A_PHASE] += 1
            return
        if sample.location == _UPSTREAM:
            self.left_out[OTHER_LOCATION] += 1
            return
        if (sample.format == "SignedData" or bytes(sample.signed_meter_value)) and "SIGNED_EVIDENCE" not in self.codes:
            self.codes.append("SIGNED_EVIDENCE")
        if sample.format == "SignedData":
            self.left_out[SIGNED] += 1
            return
        rank = _LOCATIONS.get(sample.location or "Outlet", len(_LOCATIONS))
        phases = self._found.setdefault(quantity.field, {}).setdefault(rank, {})
        kept = phases.setdefault(phase, None)
        try:
            new = _Sample(value_of(sample, quantity), sample, quantity)
        except ValueError as error:
            self.left_out[BAD_VALUE] += 1
            refused.append(Quarantined("BAD_VALUE", f"{quantity.field}: {error}"))
            return
        if kept is None:
            phases[phase] = new
        elif not new.is_same_as(kept):
            self.left_out[SECOND_VALUE] += 1
            if quantity.field in _ENERGY_FIELDS:  # of anything else: a second sensor
                refused.append(Quarantined("ID_CONFLICT", f"{quantity.field}: two values for the same instant"))
        elif new.step < kept.step:
            phases[phase] = new

    def settle(self) -> None:
        """Of each quantity one location; there the total as sent, or the sum of the phases."""
        for field, locations in self._found.items():
            # A location with an unreadable total still is the meter that counts: another one's would be a jump.
            chosen = min(locations, key=lambda rank: (0 not in locations[rank], rank))
            self._settle(field, locations.pop(chosen))
            for phases in locations.values():
                self._leave_out(OTHER_LOCATION, phases.values())

    def _settle(self, field: str, phases: dict[int, _Sample | None]) -> None:
        total = phases.pop(0, None)
        parts = {phase: sample.number for phase, sample in phases.items() if sample is not None}
        if total is not None:
            self.values[field] = total.number
            self._leave_out(PHASE_BESIDE_TOTAL, phases.values())
            if len(parts) == 3 and _differ(sum(parts.values()), total.number) and "PHASE_MISMATCH" not in self.codes:
                self.codes.append("PHASE_MISMATCH")
        elif parts:
            self.values[field] = sum(parts.values())
            if field == "register_wh":
                self.register_phases = sum(1 << phase - 1 for phase in parts)

    def _leave_out(self, why: str, samples: Iterable[_Sample | None]) -> None:
        number = sum(sample is not None for sample in samples)
        if number:
            self.left_out[why] += number


def _differ(added: Number, total: Number) -> bool:
    larger, smaller = max(added, total), min(added, total)
    return (larger - smaller) * 10 > max(larger, _MISMATCH_FLOOR)
