"""Timestamps as chargers write them -> integer microseconds UTC. Knows no clock and guesses nothing but a zone."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Final

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
_DAY: Final = 86_400_000_000
_SHORTEST: Final = len("20260102T0355Z")


def micros(text: str) -> tuple[int, bool]:
    """Microseconds since 1970-01-01 UTC, and whether the zone was missing and taken as UTC (code ZONE_ASSUMED).

    ISO 8601 with 0-9 decimals (beyond 6 cut), `Z` or an offset. Before 1970, e.g. the year 1 of some firmware: 0.
    Raises ValueError, whose text may repeat the input: do not show it.
    """
    if len(text) < _SHORTEST:
        raise ValueError("not a date and time")
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        at = datetime.fromisoformat(text.strip().upper())
    assumed = at.tzinfo is None
    if assumed:
        at = at.replace(tzinfo=UTC)
    return max((at - _EPOCH) // _MICROSECOND, 0), assumed


def month(at_us: int) -> str:
    """The epoch of pseudonyms: the UTC month as "YYYY-MM"."""
    return _month_of_day(at_us // _DAY)


@lru_cache(maxsize=64)  # strftime takes 4 us
def _month_of_day(day: int) -> str:
    return (_EPOCH + timedelta(days=day)).strftime("%Y-%m")
