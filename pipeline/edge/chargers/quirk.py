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
it; `linked`: readings name their session; `live`: frames arrive as things happen. Nobody is billed by these five, but
other proofs depend on them."""
Act = Callable[[Tape, Random], Touched]

BILLED: frozenset[Fact] = frozenset(("energy", "idle", "times", "driver"))
ALL: frozenset[Fact] = BILLED | {"readings", "fine", "power", "linked", "live"}
OLD: tuple[Protocol, ...] = ("ocpp1.6",)
NEW: tuple[Protocol, ...] = ("ocpp2.0.1",)
BOTH: tuple[Protocol, ...] = (*OLD, *NEW)


@dataclass(frozen=True, slots=True, kw_only=True)
class Quirk:
    """`prepare` changes meters before the station sends anything, `act` changes what it sends."""

    meaning: str
    prepare: Act | None = None
    act: Act | None = None
    protocols: tuple[Protocol, ...] = BOTH
    proves: frozenset[Fact] = ALL
    """What the remaining evidence proves of the sessions that the quirk touches: it must be billed exactly."""
    leans: Mapping[Fact, Sequence[Fact]] = field(default_factory=dict)
    """Proofs that hold only together with other facts."""
    betrayed_by: Mapping[Fact, frozenset[Fact]] = field(default_factory=dict)
    """A fact that this quirk makes wrong, and the facts that show it. Without any of these, the messages do not differ
    from those of a sound station about another session, so believing them is no error."""


def without(*facts: Fact) -> frozenset[Fact]:
    return ALL - frozenset(facts)
