"""The facts of a session as pricing needs them; assembly makes them, a CDR or a file can make them too.

Times are integer microseconds UTC, registers integer mWh (1 Wh = 1000), so that interpolated registers are exact to
6 decimals of a kWh (ops/spec/pricing.md D17).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

from pipeline.domain.events import PriceQuote

Activity = Literal["charging", "idle", "evse_pause"]


class Reading(NamedTuple):
    at_us: int
    register_mwh: int
    power_w: int | None = None
    """What the charger stated; it holds until the next reading. None: it stated nothing, and the mean of the interval
    counts (D16)."""


class ActivityPeriod(NamedTuple):
    """The session was in this activity from `from_us` until the next period or its end."""

    from_us: int
    activity: Activity


class Facts(NamedTuple):
    """One session: first reading at or after `start_us`, last at or before `end_us`, strictly rising times."""

    start_us: int
    end_us: int
    readings: Sequence[Reading]
    activity: Sequence[ActivityPeriod]
    """Starts at `start_us`. Empty: charging from start to end."""
    reserved_from_us: int | None = None
    reservation_expired: bool = False
    estimated: bool = False
    quote: PriceQuote | None = None
    """What the driver was shown before the start; None: no quote was recorded."""
    powers_between: Sequence[tuple[int, int]] = ()
    """(us, W) that the charger stated between two readings, in order of time. Each value holds until the next value or
    reading."""
