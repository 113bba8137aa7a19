"""Restrictions on their own: bounds, windows over midnight, days that last 23 or 25 hours, unknown facts."""

from __future__ import annotations

from datetime import date, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.domain.pricing.localtime import candidate_instants, label_of, offset_changes, offset_of, zone_of
from pipeline.domain.pricing.restrictions import (
    END_OF_DAY,
    Calendar,
    Condition,
    CurrentNow,
    Elapsed,
    EnergyUsed,
    Moment,
    PowerNow,
    SinceCharging,
)
from pipeline.domain.pricing.units import US_PER_DAY, US_PER_HOUR, US_PER_S
from pipeline.wire.json_values import instant

FRIDAY, SATURDAY = frozenset({4}), frozenset({5})
NIGHT = Calendar(start=22 * 60, end=6 * 60)


def local(text: str) -> datetime:
    return datetime.fromisoformat(text)


def test_a_window_holds_its_start_and_not_its_end() -> None:
    day = Calendar(start=8 * 60, end=20 * 60)
    assert [day.holds(local(f"2025-06-16 {clock}")) for clock in ("07:59:59", "08:00", "19:59:59", "20:00")] == [
        False, True, True, False,
    ]  # fmt: skip


def test_a_wrapped_window_belongs_to_the_day_on_which_it_began() -> None:
    """D3, for weekdays and dates: Friday night is the night that follows Friday."""
    friday_night = Calendar(start=22 * 60, end=6 * 60, days=FRIDAY)
    assert friday_night.holds(local("2025-06-13 23:00"))
    assert friday_night.holds(local("2025-06-14 05:59"))
    assert not friday_night.holds(local("2025-06-13 05:59"))
    one_night = Calendar(start=22 * 60, end=6 * 60, start_date=date(2025, 6, 13), end_date=date(2025, 6, 14))
    assert [one_night.holds(local(f"2025-06-{text}")) for text in ("13 05:00", "13 22:00", "14 05:00", "14 22:00")] == [
        False, True, True, False,
    ]  # fmt: skip


def test_equal_times_are_the_whole_day_and_midnight_ends_the_day() -> None:
    """D1 and D2."""
    assert all(Calendar(start=600, end=600).holds(local(f"2025-06-16 {hour:02d}:00")) for hour in range(24))
    evening = Calendar(start=18 * 60, end=END_OF_DAY)
    assert evening.holds(local("2025-06-16 23:59"))
    assert not evening.holds(local("2025-06-17 00:00"))


def test_without_weekdays_every_day_matches() -> None:
    assert Calendar(days=frozenset()).holds(local("2025-06-15 12:00"))
    assert not Calendar(days=SATURDAY).holds(local("2025-06-15 12:00"))


def at(**known: object) -> Moment:
    return Moment(**{"at_us": 1_000, "elapsed_us": 0, "used_mwh": 0, **known})  # type: ignore[arg-type]  # by name


@pytest.mark.parametrize(
    ("condition", "below", "reached"),
    [
        (EnergyUsed(10_000_000, None), at(used_mwh=9_999_999), at(used_mwh=10_000_000)),
        (Elapsed(1800 * US_PER_S, None), at(elapsed_us=1800 * US_PER_S - 1), at(elapsed_us=1800 * US_PER_S)),
        (SinceCharging(600, None), at(since_charging_us=599), at(since_charging_us=600)),
        (PowerNow(11_000, None), at(power_w=(10_999, 10_999)), at(power_w=(11_000, 11_000))),
        (CurrentNow(16_000, None), at(current_ma=(15_999, 15_999)), at(current_ma=(16_000, 16_000))),
    ],
)
def test_a_lower_bound_belongs_to_the_range_an_upper_bound_does_not(
    condition: Condition, below: Moment, reached: Moment
) -> None:
    """At a threshold exactly one side matches."""
    upper = type(condition)(None, condition.low)
    assert (condition.holds(below), condition.holds(reached)) == (False, True)
    assert (upper.holds(below), upper.holds(reached)) == (True, False)


def test_the_next_change_is_the_next_bound() -> None:
    tier = EnergyUsed(10, 20)
    assert [tier.next_mwh(at(used_mwh=used)) > 10**9 or tier.next_mwh(at(used_mwh=used)) for used in (0, 10, 20)] == [
        10, 20, True,
    ]  # fmt: skip
    later = Elapsed(600, 900)
    assert later.next_us(Moment(5_000, 500, 0)) == 5_100
    assert later.next_us(Moment(5_200, 700, 0)) == 5_400
    assert SinceCharging(600, None).next_us(Moment(5_000, 500, 0)) > 10**15, "charging has not ended"
    assert SinceCharging(600, None).next_us(Moment(5_000, 500, 0, 100)) == 5_500


def test_idle_restrictions_do_not_match_before_charging_has_ended() -> None:
    assert not SinceCharging(None, 600).holds(at())


def test_an_unknown_fact_is_neither_true_nor_false() -> None:
    """Also a range that lies on both sides of a bound, or around both."""
    tier = PowerNow(10_000, 20_000)
    assert tier.holds(at()) is None
    assert tier.holds(at(power_w=(5_000, 15_000))) is None
    assert tier.holds(at(power_w=(5_000, 25_000))) is None
    assert tier.holds(at(power_w=(12_000, 15_000))) is True
    assert tier.holds(at(power_w=(1_000, 9_000))) is False
    assert tier.holds(at(power_w=(21_000, 25_000))) is False


def test_words_are_short_and_always_the_same() -> None:
    assert Calendar(start=22 * 60, end=6 * 60, days=frozenset(range(5))).words() == "22:00-06:00 MON-FRI"
    assert Calendar(end=18 * 60).words() == "00:00-18:00"
    assert Calendar(days=frozenset({5, 6})).words() == "SAT-SUN"
    assert Calendar(days=frozenset({0, 2})).words() == "MON,WED"
    assert Calendar(start_date=date(2025, 5, 1), end_date=date(2025, 6, 1)).words() == (
        "from 2025-05-01 before 2025-06-01"
    )
    assert EnergyUsed(10_000_000, 20_500_000).words() == "from 10 below 20.5 kWh"
    assert SinceCharging(600_000_000, None).words() == "from 600 s after charging"


def test_an_unknown_zone_is_an_error() -> None:
    for name in ("Europe/Bonn", "", "../etc", "/etc/localtime", "CET+1"):
        with pytest.raises(ValueError, match="IANA"):
            zone_of(name)


@pytest.mark.parametrize(
    ("zone", "change"),
    [
        ("Europe/Berlin", "2025-10-26T01:00:00Z"),
        ("Europe/Berlin", "2026-03-29T01:00:00Z"),
        ("America/New_York", "2025-03-09T07:00:00Z"),
        ("Australia/Lord_Howe", "2025-04-05T15:00:00Z"),
        ("Africa/Casablanca", "2025-02-23T02:00:00Z"),
    ],
)
def test_the_clock_changes_where_it_does(zone: str, change: str) -> None:
    us = instant(change)
    assert offset_changes(us // US_PER_DAY, zone) == (us,)
    assert offset_of(us - 1, zone_of(zone)) != offset_of(us, zone_of(zone))
    assert offset_changes(us // US_PER_DAY + 1, zone) == ()


CHANGES = [("Europe/Berlin", 20_387), ("America/New_York", 20_156), ("Australia/Lord_Howe", 20_183), ("UTC", 20_000)]


@given(st.sampled_from(CHANGES), st.integers(55, 185), st.integers(1, 1440), st.integers(-1, 0))
def test_between_two_candidate_instants_a_calendar_does_not_change(
    change: tuple[str, int], start: int, end: int, shift: int
) -> None:
    """What pricing relies on: the candidates of a day hold every change; checked minute by minute."""
    zone, day = change[0], change[1] + shift
    calendar, place = Calendar(start=start, end=end), zone_of(zone)
    candidates = set(candidate_instants(day, zone, calendar.bounds()))
    before = None
    for us in range(day * US_PER_DAY, (day + 1) * US_PER_DAY, 60 * US_PER_S):
        now = calendar.holds(label_of(us, place))
        if us % US_PER_DAY and now != before:
            assert us in candidates
        before = now


def test_local_days_last_as_long_as_they_do() -> None:
    """D4, D5: a window over a change of the clock is longer or shorter; the skipped label matches nothing."""
    zone = zone_of("Europe/Berlin")
    hours = {}
    for name, first in (("autumn", "2025-10-25T20:00:00Z"), ("spring", "2026-03-28T21:00:00Z")):
        begin = instant(first)
        labels = [label_of(begin + minute * 60 * US_PER_S, zone) for minute in range(12 * 60)]
        hours[name] = sum(NIGHT.holds(label) for label in labels) * 60 * US_PER_S / US_PER_HOUR
    assert hours == {"autumn": 9.0, "spring": 7.0}
