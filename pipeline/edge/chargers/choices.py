"""What quirks choose from: which sessions, which moment."""

from __future__ import annotations

from collections.abc import Iterable
from random import Random

from pipeline.edge.chargers.tape import Tape
from pipeline.edge.chargers.truth import SECOND, ChargingTruth

Touched = Iterable[ChargingTruth] | None
"""The sessions that a quirk touched; None: all."""


def charged(tape: Tape) -> list[ChargingTruth]:
    return [session for session in tape.station.every_session if session.energy_mwh]


def some(tape: Tape, random: Random) -> list[ChargingTruth]:
    """About half of the sessions with energy, at least one."""
    every = charged(tape)
    return [session for session in every if random.random() < 0.5] or [random.choice(every)]


def inside(session: ChargingTruth, random: Random) -> int:
    """A moment in the middle of the session, a whole second."""
    third = (session.end_us - session.start_us) // 3 // SECOND
    return session.start_us + random.randrange(third, 2 * third) * SECOND
