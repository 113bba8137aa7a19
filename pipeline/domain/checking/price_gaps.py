"""Hours of a year at which a dimension has no price: judged day by day on local labels, as pricing does.

A window's end is exclusive, so one that ends at 23:59 leaves a minute; weekdays, dates and the days on which the clocks
change are those of the calendar. Conditions on energy, duration or power are no matter of hours and count as met.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime, time, timedelta
from typing import NamedTuple

from pipeline.domain.pricing.localtime import candidate_instants, label_of, offset_changes, zone_of
from pipeline.domain.pricing.restrictions import Calendar
from pipeline.domain.pricing.tariff import Element, Tariff

_EPOCH = date(1970, 1, 1)
_DAY = timedelta(days=1)


class Gap(NamedTuple):
    """The first period without a price, as local labels, and on how many of the days judged there is one."""

    start: datetime
    end: datetime
    days: int
    of_days: int


def price_gap(pricing: Sequence[Element], first: date, last: date, zone: str | None) -> Gap | None:
    """`pricing`: the elements that price one dimension; local days from `first` to `last`, exclusive.

    Without `zone` every day has 24 hours.
    """
    calendars = [element.calendar for element in pricing if element.calendar is not None]
    if len(calendars) < len(pricing):
        return None
    minutes = sorted({0} | {bound for calendar in calendars for bound in calendar.bounds()})
    known: dict[tuple[bool, ...], tuple[time, time] | None] = {}
    found: Gap | None = None
    days = 0
    for number in range((last - first).days):
        day = first + number * _DAY
        changes = [] if zone is None else _labels_of_a_changed_day(day, zone, minutes)
        alike = tuple(_is_on(calendar, each) for each in (day - _DAY, day) for calendar in calendars)
        if changes or alike not in known:
            labels = changes or [datetime.combine(day, time(*divmod(minute, 60))) for minute in minutes]
            gap = _first_gap(calendars, labels)
            if not changes:
                known[alike] = gap
        else:
            gap = known[alike]
        if gap is not None:
            days += 1
            found = found or Gap(datetime.combine(day, gap[0]), datetime.combine(day, gap[1]), 0, 0)
    return None if found is None else found._replace(days=days, of_days=(last - first).days)


def year_of(tariff: Tariff, zone: str | None) -> tuple[date, date]:
    """The local days to judge: a year from the day on which the tariff begins, or its whole validity if shorter.

    Where it does not say when it begins: with its first date, else when it was last updated.
    """
    dates = [element.calendar.start_date for element in tariff.elements if element.calendar is not None]
    first = date(2025, 1, 1)
    if tariff.valid_from_us is not None:
        begin = _label(tariff.valid_from_us, zone)
        first = begin.date() if begin.time() == time() else begin.date() + _DAY
    elif known := [each for each in dates if each is not None]:
        first = min(known)
    elif tariff.updated_us is not None:
        first = _label(tariff.updated_us, zone).date()
    same_day = (first.month, first.day) if (first.month, first.day) != (2, 29) else (3, 1)
    last = date(first.year + 1, *same_day)
    if tariff.valid_until_us is not None:
        last = min(last, _label(tariff.valid_until_us, zone).date())
    return first, max(last, first + _DAY)


def _first_gap(calendars: Sequence[Calendar], labels: Sequence[datetime]) -> tuple[time, time] | None:
    """Of one day, whose labels are in order of time; a gap that lasts to its end ends at 00:00."""
    covered = [any(calendar.holds(label) for calendar in calendars) for label in labels]
    if all(covered):
        return None
    begin = covered.index(False)
    end = next((place for place in range(begin, len(labels)) if covered[place]), None)
    return _clock(labels[begin]), time() if end is None else _clock(labels[end])


def _is_on(calendar: Calendar, day: date) -> bool:
    """Whatever the hour: do weekday and dates hold?"""
    dated = Calendar(start_date=calendar.start_date, end_date=calendar.end_date, days=calendar.days)
    return dated.holds(datetime.combine(day, time()))


def _labels_of_a_changed_day(day: date, zone_name: str, minutes: Sequence[int]) -> list[datetime]:
    """The labels at which a test may change, as they really occur, if the offset changes on this day; else none."""
    zone, number = zone_of(zone_name), (day - _EPOCH).days
    around = (number - 1, number, number + 1)
    changes = [us for each in around for us in offset_changes(each, zone_name)]
    if not any(day in (label_of(us, zone).date(), label_of(us - 1, zone).date()) for us in changes):
        return []
    instants = [us for each in around for us in candidate_instants(each, zone_name, minutes)]
    return [label for label in (label_of(us, zone) for us in instants) if label.date() == day]


def _label(us: int, zone: str | None) -> datetime:
    return label_of(us, zone_of(zone or "UTC"))


def _clock(label: datetime) -> time:
    return label.time().replace(fold=0)
