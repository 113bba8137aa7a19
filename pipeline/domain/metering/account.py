"""The account of a session's evidence: every measured value ends as used, repeated, or left out for a reason.

A dispute is answered with it: what made which fact, and what was not believed and why. A value is a register, an
interval, a sum of phases or a power as it was sent; the registers of start and stop are values, too, and so are those
that a decision states.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import msgspec

from pipeline.domain.events import BillDecided

FIRST = 10
"""So many values of each reason are kept."""


class Value(NamedTuple):
    at_us: int
    value: int
    unit: str
    """Wh or W."""


@dataclass(slots=True)
class LeftOut:
    """Values that were not used for one reason: how many, when, and the first ten of them."""

    count: int = 0
    from_us: int = 0
    to_us: int = 0
    first: list[Value] = field(default_factory=list)


class Account(msgspec.Struct, gc=False):
    """`facts`: which evidence made which fact, in words of the field (`energy`: `meterStop - meterStart`)."""

    used: int = 0
    repeated: int = 0
    left_out: dict[str, LeftOut] = {}
    facts: dict[str, str] = {}
    hypotheses: dict[str, int] = {}
    """Where several explanations fit: the energy (Wh) by each. One of them can be chosen: `chargeline bills decide`."""
    decided: BillDecided | None = None
    """What somebody decided about the bill, and what became of it."""
    outcome: str = ""

    def leave_out(self, reason: str, values: Iterable[tuple[int, int]], unit: str = "Wh") -> None:
        """Values (time us, Wh or W) that are not used."""
        for at, value in values:
            kept = self.left_out.setdefault(reason, LeftOut(from_us=at))
            kept.count += 1
            kept.from_us, kept.to_us = min(kept.from_us, at), max(kept.to_us, at)
            if len(kept.first) < FIRST:
                kept.first.append(Value(at, value, unit))

    def add_counted(self, counted: Mapping[str, list[int]]) -> None:
        """What was left out when it came: reason -> count, first and last time us."""
        for reason, (count, from_us, to_us) in counted.items():
            kept = self.left_out.setdefault(reason, LeftOut(from_us=from_us))
            kept.count += count
            kept.from_us, kept.to_us = min(kept.from_us, from_us), max(kept.to_us, to_us)
