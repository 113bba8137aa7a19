"""Hours without a price: the same answer as looking at every minute, over weekdays, dates and changes of the clock."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.domain.checking.price_gaps import price_gap, year_of
from pipeline.domain.pricing.restrictions import Calendar
from pipeline.domain.pricing.tariff import Element, Tariff

CLOCKS = st.sampled_from([0, 1, 90, 119, 120, 150, 179, 180, 600, 1380, 1439])
ENDS = st.sampled_from([1, 120, 150, 180, 600, 1320, 1438, 1439, 1440])
DATES = st.sampled_from([None, *(date(2025, 3, day) for day in (28, 30, 31))])
CALENDARS = st.builds(
    Calendar,
    start=CLOCKS,
    end=ENDS,
    start_date=DATES,
    end_date=st.sampled_from([None, date(2025, 3, 30), date(2025, 4, 1), date(2025, 10, 26)]),
    days=st.frozensets(st.integers(0, 6), max_size=6),
)
PLACES = [
    (date(2025, 3, 28), date(2025, 4, 1), "Europe/Berlin"),
    (date(2025, 10, 25), date(2025, 10, 28), "Europe/Berlin"),
    (date(2025, 4, 5), date(2025, 4, 8), "Australia/Lord_Howe"),
    (date(2025, 10, 4), date(2025, 10, 7), "Australia/Lord_Howe"),
    (date(2025, 3, 27), date(2025, 4, 2), None),
]


def minutes(first: date, last: date, zone: str | None) -> Iterator[datetime]:
    """Every minute of these local days, as local labels in order of time."""
    where = ZoneInfo(zone or "UTC")
    moment = datetime(first.year, first.month, first.day, tzinfo=UTC) - timedelta(days=1)
    while (label := moment.astimezone(where)).date() < last:
        if label.date() >= first:
            yield label
        moment += timedelta(minutes=1)


def elements(calendars: list[Calendar | None]) -> list[Element]:
    return [Element(components=(), calendar=calendar) for calendar in calendars]


@pytest.mark.parametrize(("first", "last", "zone"), PLACES)
@given(calendars=st.lists(CALENDARS, min_size=1, max_size=4))
def test_a_gap_is_found_where_a_minute_has_no_price(
    first: date, last: date, zone: str | None, calendars: list[Calendar]
) -> None:
    bare = [label for label in minutes(first, last, zone) if not any(each.holds(label) for each in calendars)]
    found = price_gap(elements([*calendars]), first, last, zone)
    if not bare:
        assert found is None
        return
    assert found is not None
    assert (found.start.date(), found.start.time()) == (bare[0].date(), bare[0].time())
    assert (found.days, found.of_days) == (len({label.date() for label in bare}), (last - first).days)


def test_a_dimension_with_a_price_at_all_hours_has_no_gap() -> None:
    assert price_gap(elements([Calendar(start=60, end=120), None]), date(2025, 1, 1), date(2026, 1, 1), "UTC") is None


def test_the_minute_before_midnight_is_a_gap_of_every_day() -> None:
    day, night = Calendar(start=360, end=1439), Calendar(start=0, end=360)
    found = price_gap(elements([day, night]), date(2025, 1, 1), date(2026, 1, 1), "Europe/Berlin")
    assert found is not None
    assert [f"{each}" for each in found] == ["2025-01-01 23:59:00", "2025-01-01 00:00:00", "365", "365"]


SUMMER = Calendar(start_date=date(2026, 4, 1), end_date=date(2026, 10, 1))


@pytest.mark.parametrize(
    ("winter", "days"),
    [
        (Calendar(start_date=date(2026, 10, 1), end_date=date(2027, 4, 1)), 0),
        (Calendar(start_date=date(2026, 10, 2), end_date=date(2027, 4, 1)), 1),
        (Calendar(start_date=date(2026, 10, 1), end_date=date(2027, 3, 31)), 1),
        (Calendar(start_date=date(2026, 10, 1), end_date=date(2027, 4, 1), days=frozenset(range(6))), 26),
        (Calendar(start=0, end=1439, start_date=date(2026, 10, 1), end_date=date(2027, 4, 1)), 182),
    ],
)
def test_seasons_are_judged_over_a_whole_year(winter: Calendar, days: int) -> None:
    seasonal = tariff(SUMMER, winter, updated_us=1_700_000_000_000_000)
    found = price_gap(seasonal.elements, *year_of(seasonal, "Europe/Berlin"), "Europe/Berlin")
    assert (0 if found is None else found.days) == days


def tariff(*calendars: Calendar, **fields: int | None) -> Tariff:
    parts = tuple(elements([*calendars]))
    bare = Tariff(id="T", version="", updated_us=None, content_hash="", currency="EUR", elements=parts)
    return replace(bare, **fields)  # type: ignore[arg-type]  # times only


def us(*parts: int) -> int:
    return int(datetime(*parts, tzinfo=UTC).timestamp()) * 1_000_000  # type: ignore[misc, arg-type]  # year, month, ...


@pytest.mark.parametrize(
    ("fields", "zone", "year"),
    [
        ({"valid_from_us": us(2025, 12, 31, 23)}, "Europe/Berlin", (date(2026, 1, 1), date(2027, 1, 1))),
        ({"valid_from_us": us(2025, 12, 31, 23)}, None, (date(2026, 1, 1), date(2027, 1, 1))),
        ({"valid_from_us": us(2028, 2, 29)}, None, (date(2028, 2, 29), date(2029, 3, 1))),
        ({"valid_from_us": us(2026, 1, 1), "valid_until_us": us(2026, 2, 1)}, None,
         (date(2026, 1, 1), date(2026, 2, 1))),
        ({"updated_us": us(2024, 5, 5)}, None, (date(2024, 5, 5), date(2025, 5, 5))),
    ],
)  # fmt: skip
def test_the_year_is_that_of_the_tariff(fields: dict[str, int], zone: str | None, year: tuple[date, date]) -> None:
    assert year_of(tariff(Calendar(), **fields), zone) == year


def test_the_hour_that_spring_skips_needs_no_price_on_that_day_alone() -> None:
    parts = elements([Calendar(start=0, end=120), Calendar(start=180)])
    found = price_gap(parts, date(2025, 3, 29), date(2025, 4, 2), "Europe/Berlin")
    assert found is not None
    assert (found.days, found.of_days) == (3, 4)
    assert price_gap(parts, date(2025, 3, 30), date(2025, 3, 31), "Europe/Berlin") is None
    assert price_gap(parts, date(2025, 3, 30), date(2025, 3, 31), None) is not None
