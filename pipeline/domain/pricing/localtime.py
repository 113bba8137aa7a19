"""Local clocks of charging sites. Whatever knows about UTC offsets and their changes is in this file.

Every test of a local restriction is made on the local label of an instant (ops/spec/pricing.md 2.3); nothing here
shifts a window by a fixed offset or adds 24 hours to reach the next day.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

from pipeline.domain.pricing.units import US_PER_DAY, US_PER_HOUR, us_of

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@lru_cache(maxsize=512)
def zone_of(name: str) -> ZoneInfo:
    """The IANA zone; raises ValueError for an unknown name, never a default."""
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError) as error:  # what zoneinfo raises for a bad key, a bad path, a folder
        raise ValueError(f"{name!r} is not an IANA time zone such as Europe/Berlin") from error


def label_of(us: int, zone: ZoneInfo) -> datetime:
    """The local label of an instant."""
    return (_EPOCH + timedelta(microseconds=us)).astimezone(zone)


def offset_of(us: int, zone: ZoneInfo) -> int:
    """Seconds that local clocks are ahead of UTC at this instant."""
    return (label_of(us, zone).utcoffset() or timedelta()) // timedelta(seconds=1)


@lru_cache(maxsize=4096)
def offset_changes(day: int, zone_name: str) -> tuple[int, ...]:
    """Instants within the UTC day (days since 1970) at which the offset changes, to the second."""
    zone = zone_of(zone_name)
    changes = []
    for hour in range(24):
        low, high = day * US_PER_DAY + hour * US_PER_HOUR, day * US_PER_DAY + (hour + 1) * US_PER_HOUR
        before = offset_of(low, zone)
        if offset_of(high, zone) == before:
            continue
        low_s, high_s = low // 1_000_000, high // 1_000_000
        while high_s - low_s > 1:
            middle = (low_s + high_s) // 2
            if offset_of(middle * 1_000_000, zone) == before:
                low_s = middle
            else:
                high_s = middle
        changes.append(high_s * 1_000_000)
    return tuple(changes)


def candidate_instants(day: int, zone_name: str, clock_minutes: Iterable[int]) -> list[int]:
    """All instants of the UTC day at which a label test with these clock bounds may change, its start included.

    Each HH:MM (minutes since midnight) is converted in both folds. A test on either side then shows at which of these
    instants it really changes.
    """
    zone, begin = zone_of(zone_name), day * US_PER_DAY
    found = {begin, *offset_changes(day, zone_name)}
    around = date(1970, 1, 1) + timedelta(days=day)
    for shift in (-1, 0, 1):
        local_day = around + timedelta(days=shift)
        for minutes in {0, *clock_minutes}:
            clock = time(minutes // 60 % 24, minutes % 60)
            for fold in (0, 1):
                found.add(us_of(datetime.combine(local_day, clock, zone).replace(fold=fold)))
    return sorted(us for us in found if begin <= us < begin + US_PER_DAY)
