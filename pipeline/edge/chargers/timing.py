"""Quirks of clocks and links: which time a station has, and when its frames arrive.

Each function returns the sessions that it touched, or None for all.
"""

from __future__ import annotations

from random import Random
from zoneinfo import ZoneInfo

from pipeline.edge.chargers.choices import Touched, inside, some
from pipeline.edge.chargers.tape import Tape
from pipeline.edge.chargers.truth import MINUTE, SECOND

LINK_DOWN_US = 25 * MINUTE
DELAY_US = 10 * MINUTE


def wall_clock(tape: Tape, random: Random, zone: str) -> Touched:
    """Stamps are the wall clock of `zone` and do not say so."""
    tape.zone = ZoneInfo(zone)
    return None


def clock_off(tape: Tape, random: Random, by_us: int) -> Touched:
    tape.offsets.append((0, by_us))
    return None


def clock_unset(tape: Tape, random: Random) -> Touched:
    """The station's clock was never set: it counts from 1970 on."""
    tape.offsets.append((0, -tape.station.begin_us))
    return None


def zone_named(tape: Tape, random: Random) -> Touched:
    """Stamps are the wall clock of Kolkata, and say so: +05:30."""
    tape.zone, tape.names_zone = ZoneInfo("Asia/Kolkata"), True
    return None


def clock_set(tape: Tape, random: Random, by_us: int) -> Touched:
    """The clock is off by `by_us` until it is set right in the middle of a session."""
    session = random.choice(some(tape, random))
    tape.offsets += [(0, by_us), (inside(session, random), -by_us)]
    return None


def one_late(tape: Tape, random: Random) -> Touched:
    """In each of some sessions one message, often the stop, waits ten minutes in the network."""
    touched = some(tape, random)
    for session in touched:
        calls = [call for call in tape.calls if call.session is session and call.kind in ("sample", "stop")]
        late = calls[-1] if random.random() < 0.6 else random.choice(calls)
        late.sent_us += DELAY_US
    return touched


def link_down(tape: Tape, random: Random, keep_readings: bool) -> Touched:
    """Once, in a session, the link is down for 25 minutes: starts and stops are queued and sent in order afterwards.

    In 2.0.1 all events of a transaction are queued, too, if readings are kept. Statuses and heartbeats are lost, in 1.6
    also readings of a transaction whose start is in the queue, because it has no id yet.
    """
    down_us = inside(random.choice(some(tape, random)), random)
    up_us = down_us + LINK_DOWN_US
    old, kept, queue = tape.protocol == "ocpp1.6", [], 0
    touched = [each for each in tape.station.every_session if each.start_us < up_us and each.end_us > down_us]
    for call in sorted(tape.calls, key=lambda each: each.sent_us):
        if not down_us <= call.sent_us < up_us:
            kept.append(call)
            continue
        begins_now = call.session is not None and call.session.start_us >= down_us
        if call.kind in ("start", "stop") or (call.kind == "activity" and not old):
            queued = True
        else:
            queued = call.kind == "sample" and keep_readings and not (old and begins_now)
        if queued:
            queue += 1
            call.sent_us, call.queued = up_us + queue * 200_000, True
            kept.append(call)
    tape.calls = kept
    return touched


def doubled(tape: Tape, random: Random) -> Touched:
    tape.doubled = True
    return None


def shuffled(tape: Tape, random: Random) -> Touched:
    tape.shuffled_us = 10 * MINUTE - SECOND
    return None
