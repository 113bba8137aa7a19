"""Combinations of quirks: which are possible, and what a station with them sends."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from random import Random

from pipeline.edge.chargers.quirk import ALL, BOTH, Act, Fact
from pipeline.edge.chargers.registry import INCOMPATIBLE, QUIRKS
from pipeline.edge.chargers.tape import Protocol, Tape, record
from pipeline.edge.chargers.truth import ChargingTruth, StationTruth
from pipeline.errors import WrongUsage

_PAIRS: Mapping[frozenset[str], str] = {
    frozenset(pair): reason for names, reason in INCOMPATIBLE for pair in combinations(names, 2)
}


def clash(names: Sequence[str]) -> str | None:
    """Why these quirks cannot be combined; None: they can."""
    for pair in combinations(names, 2):
        if frozenset(pair) in _PAIRS:
            return f"{' and '.join(pair)}: {_PAIRS[frozenset(pair)]}"
    return None if protocols(names) else f"{', '.join(names)}: they need different protocols"


def protocols(names: Sequence[str]) -> tuple[Protocol, ...]:
    return tuple(each for each in BOTH if all(each in QUIRKS[name].protocols for name in names))


def parse_quirks(text: str, protocol: Protocol) -> tuple[str, ...]:
    """`none` or names, `step_1_kwh,loses_stop`, in the order in which they act. Raises WrongUsage with the reason."""
    names = () if text == "none" else tuple(name.strip() for name in text.split(","))
    for name in names:
        if name not in QUIRKS:
            raise WrongUsage(f"--quirks: {name!r} is no quirk; there are: {', '.join(QUIRKS)}; or all, none")
        if protocol not in QUIRKS[name].protocols:
            raise WrongUsage(f"--quirks: {name} is of {' and '.join(QUIRKS[name].protocols)} only")
    why = clash(names)
    if why is not None:
        raise WrongUsage(f"--quirks: {why}")
    return tuple(name for name in QUIRKS if name in names)


@dataclass(frozen=True, slots=True)
class Said:
    """What a station sends with its quirks, and what that proves of each session (by transaction id)."""

    tape: Tape
    quirks: tuple[str, ...]
    proven: Mapping[str, frozenset[Fact]]
    hidden: Mapping[str, frozenset[Fact]]
    """Facts that are reported wrong without any sign of it: see Quirk.betrayed_by."""


def say(station: StationTruth, protocol: Protocol, names: Sequence[str], seed: int) -> Said:
    """The tape of `station` with quirks. Each has its own random numbers, so that others do not change its choices."""
    tape = Tape(station, protocol, seed)
    chosen = tuple(name for name in QUIRKS if name in names)
    touched: dict[str, list[ChargingTruth]] = {name: [] for name in chosen}

    def run(name: str, act: Act | None) -> None:
        if act is not None:
            found = act(tape, Random(f"{name}/{seed}/{station.station_id}"))  # noqa: S311 - a simulation
            touched[name] += station.every_session if found is None else found

    for name in chosen:
        run(name, QUIRKS[name].prepare)
    record(tape)
    for name in chosen:
        run(name, QUIRKS[name].act)
    proven, hidden = {}, {}
    for session in station.every_session:
        of_it = [QUIRKS[name] for name in chosen if session in touched[name]]
        left = ALL.intersection(*(quirk.proves for quirk in of_it))
        proven[session.transaction_id] = left - {
            fact for quirk in of_it for fact, needed in quirk.leans.items() if not left.issuperset(needed)
        }
        hidden[session.transaction_id] = frozenset(
            fact for quirk in of_it for fact, signs in quirk.betrayed_by.items() if left.isdisjoint(signs)
        )
    return Said(tape, chosen, proven, hidden)
