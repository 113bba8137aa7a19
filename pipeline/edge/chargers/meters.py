"""Quirks of the meter itself, before the station sends anything. They never change the energy that flows."""

from __future__ import annotations

from bisect import bisect_left
from random import Random

from pipeline.edge.chargers.choices import Touched, inside, some
from pipeline.edge.chargers.tape import Tape
from pipeline.edge.chargers.truth import MINUTE, SECOND


def resolution(tape: Tape, random: Random, step_wh: int) -> Touched:
    for meter in tape.meters.values():
        meter.step_wh = max(meter.step_wh, step_wh)
    return None


def refresh(tape: Tape, random: Random, every_us: int) -> Touched:
    """Power is still sent each minute."""
    tape.interval_us = MINUTE
    for meter in tape.meters.values():
        meter.beat_us = max(meter.beat_us, every_us)
    return None


def wraps(tape: Tape, random: Random, modulus_wh: int) -> Touched:
    """The register passes its end in the middle of one session of each connector."""
    touched = []
    for meter in tape.meters.values():
        session = random.choice([each for each in meter.sessions if each.energy_mwh])
        half_mwh = session.lifetime_mwh + session.energy_mwh // 2
        meter.modulus_wh = modulus_wh
        meter.shifts[0] = (0, modulus_wh * 1000 - half_mwh)
        touched.append(session)
    return touched


def restarts(tape: Tape, random: Random, from_wh: int) -> Touched:
    """In a session the register goes on from `from_wh`: reset (0), or another meter with a lower register."""
    touched = some(tape, random)
    for session in sorted(touched, key=lambda session: session.start_us):
        tape.meters[session.connector_id].restart(inside(session, random), from_wh)
    return touched


def restarts_between(tape: Tape, random: Random) -> Touched:
    for meter in tape.meters.values():
        meter.restart(meter.sessions[-1].start_us - 90 * SECOND, 0)
    return None


def sticks(tape: Tape, random: Random) -> Touched:
    """From the middle of a session to its end the register stands still although power flows: 40 % or more is lost."""
    touched = some(tape, random)
    for session in touched:
        seconds = range(session.start_us, session.end_us, SECOND)
        enough_mwh = session.energy_mwh * random.randrange(20, 60) // 100
        since = seconds[bisect_left(seconds, enough_mwh, key=session.energy_until)]
        tape.meters[session.connector_id].frozen.append((since, session.end_us))
    return touched


def over_voltage(tape: Tape, random: Random) -> Touched:
    """253 V: the documents name the nominal rating, the wiring delivers 10 % more."""
    tape.stated_w = tape.station.rating_w * 10 // 11
    return None


def begins_low(tape: Tape, random: Random) -> Touched:
    """A new station: its registers have hardly moved."""
    for meter in tape.meters.values():
        meter.shifts[0] = (0, 3_000_000 - meter.sessions[0].lifetime_mwh)
    return None
