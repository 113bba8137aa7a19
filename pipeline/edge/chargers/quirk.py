"""What a quirk is, and what the evidence under it still proves."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Literal

from pipeline.edge.chargers.choices import Touched
from pipeline.edge.chargers.tape import Protocol, Tape

Fact = Literal["energy", "idle", "times", "driver", "readings", "fine", "power", "linked", "live"]
"""`readings`: registers inside the session; `fine`: they move as soon as energy flows; `power`: measured power inside
it; `linked`: readings say whose they are; `live`: frames arrive as things happen. Nobody is billed by these five, but
other proofs lean on them."""
Act = Callable[[Tape, Random], Touched]

BILLED: frozenset[Fact] = frozenset(("energy", "idle", "times", "driver"))
ALL: frozenset[Fact] = BILLED | {"readings", "fine", "power", "linked", "live"}
OLD: tuple[Protocol, ...] = ("ocpp1.6",)
NEW: tuple[Protocol, ...] = ("ocpp2.0.1",)
BOTH: tuple[Protocol, ...] = (*OLD, *NEW)


@dataclass(frozen=True, slots=True, kw_only=True)
class Quirk:
    """`prepare` changes meters before anything is said, `act` what was said."""

    meaning: str
    prepare: Act | None = None
    act: Act | None = None
    protocols: tuple[Protocol, ...] = BOTH
    proves: frozenset[Fact] = ALL
    """Of the sessions that it touches, what the evidence that is left proves: it must be billed exactly."""
    leans: Mapping[Fact, Sequence[Fact]] = field(default_factory=dict)
    """Proofs that hold only as long as other facts are there."""
    betrayed_by: Mapping[Fact, frozenset[Fact]] = field(default_factory=dict)
    """A fact that this quirk belies, and by what one can notice: with none of that left, what is said is in no way
    different from what a sound station says of another session, so nobody can be blamed for believing it."""


def without(*facts: Fact) -> frozenset[Fact]:
    return ALL - frozenset(facts)
