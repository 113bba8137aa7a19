"""What is expected of a connector: its rating and the limits of the rules. Site data wins, these are the defaults."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.domain.station import DAY, HOUR, MINUTE


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Times in microseconds, power in W. `rating_w` None: unknown, the highest power seen there is the bound."""

    power_type: str | None = None
    rating_w: int | None = None
    expected_us: int = DAY
    """A session longer than this is flagged LONG_SESSION, also while it is open."""
    longest_idle_us: int = 4 * HOUR
    """Plugged in for longer than this after charging ended: OVERSTAY."""
    shortest_us: int = 2 * MINUTE
    """A session without energy that is shorter is an abort."""
    silent_us: int = 15 * MINUTE
    """No sign of life for longer than this while a session is open: STATION_SILENT."""
    tolerance_percent: int = 115
    """What a connector may deliver in percent of its rating: 10 % above the nominal voltage is legal (EN 50160),
    ratings are rounded, and meters err."""
    register_step_wh: int = 10
    unrated_w: int = 500_000
    """Bound when neither a rating nor any power is known."""


AC = Limits(power_type="AC", expected_us=12 * HOUR)
DC = Limits(power_type="DC", expected_us=2 * HOUR, longest_idle_us=HOUR)
UNKNOWN = Limits()
