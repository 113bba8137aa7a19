"""Four years of German day-ahead prices: every hour of every local day is billed exactly once, at its own price."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Iterator
from datetime import date, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from itertools import pairwise
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from pipeline.domain.pricing.facts import Facts, Reading
from pipeline.domain.pricing.fold import Fold
from pipeline.domain.pricing.price import price
from pipeline.domain.pricing.signals import PriceSlot, Signals
from pipeline.domain.pricing.tariff import Tariff
from pipeline.domain.pricing.units import US_PER_HOUR, us_of
from pipeline.wire.price_signals import decode_price_csv
from pipeline.wire.tariffs import decode_tariffs

BERLIN = "Europe/Berlin"
LONG = {date(2020, 10, 25), date(2021, 10, 31), date(2022, 10, 30), date(2023, 10, 29), date(2024, 10, 27)}
SHORT = {date(2020, 3, 29), date(2021, 3, 28), date(2022, 3, 27), date(2023, 3, 26), date(2024, 3, 31)}
MWH_PER_HOUR = 2_000_000


@pytest.fixture(scope="module")
def slots(reference_file: Callable[[str], Path]) -> list[PriceSlot]:
    data = gzip.decompress(reference_file("prices/day_ahead_de_lu_2020_2024.csv.gz").read_bytes())
    return decode_price_csv(data, "day_ahead", "spot", minutes=60, currency="EUR")


def spot_tariff(**dynamic: object) -> Tariff:
    component = {"type": "ENERGY", "price": 0.4, "vat": 19, "step_size": 1, "x_dynamic": {"signal": "spot", **dynamic}}
    document = {"id": "D1", "currency": "EUR", "elements": [{"price_components": [component]}]}
    return decode_tariffs(json.dumps(document).encode(), "t")[0]


def local_days() -> Iterator[tuple[date, int, int]]:
    """Each day of the file with its first and last instant."""
    day = date(2020, 1, 1)
    while day < date(2025, 1, 1):
        yield day, midnight(day), midnight(day + timedelta(days=1))
        day += timedelta(days=1)


def midnight(day: date) -> int:
    return us_of(datetime(day.year, day.month, day.day, tzinfo=ZoneInfo(BERLIN)))


def even(start_us: int, end_us: int) -> Facts:
    """2 kWh an hour."""
    register = (end_us - start_us) * MWH_PER_HOUR // US_PER_HOUR
    return Facts(start_us, end_us, [Reading(start_us, 0), Reading(end_us, register)], [])


def test_every_hour_of_every_day_is_billed_once_at_its_price(slots: list[PriceSlot]) -> None:
    """I7 on 1,827 days, ten of them with 23 or 25 hours; a negative price carries no markup."""
    tariff, signals = spot_tariff(markup=0.05, fee=0.03), Signals(slots)
    by_start = {slot.start_us: slot.price or Decimal(0) for slot in slots}
    hours: dict[date, int] = {}
    for day, start_us, end_us in local_days():
        bill = price(even(start_us, end_us), tariff, BERLIN, signals)
        lines = [line for line in bill.lines if line.dimension == "ENERGY"]
        assert (lines[0].from_us, lines[-1].to_us) == (start_us, end_us)
        assert all(earlier.to_us == later.from_us for earlier, later in pairwise(lines))
        for line in lines:
            assert line.to_us - line.from_us == US_PER_HOUR
            assert line.quantity == "2.000000"
            signal = by_start[line.from_us] / 1000
            expected = signal + max(signal, Decimal(0)) * Decimal("0.05") + Decimal("0.03")
            assert Decimal(line.unit_price or "") == expected.quantize(Decimal("0.0001"), ROUND_HALF_UP)
        assert sum(Decimal(line.amount_excl or "") for line in lines) == Decimal(bill.total_excl or "")
        hours[day] = len(lines)
    assert {day for day, count in hours.items() if count == 23} == SHORT
    assert {day for day, count in hours.items() if count == 25} == LONG
    assert len(hours) == 1827
    assert sum(hours.values()) == 43_848


def test_a_session_over_a_change_of_the_clock_is_the_sum_of_its_minutes(slots: list[PriceSlot]) -> None:
    """Quarter-hour slots made from the hours; local network windows; each change of the clock, cut at every minute."""
    quarter = US_PER_HOUR // 4
    quarters = [
        PriceSlot(
            series="spot", start_us=slot.start_us + part * quarter, end_us=slot.start_us + (part + 1) * quarter,
            price=slot.price, currency="EUR",
        )
        for slot in slots
        for part in range(4)
        if any(abs(slot.start_us - midnight(day)) < 30 * US_PER_HOUR for day in LONG | SHORT)
    ]  # fmt: skip
    signals = Signals(quarters)
    tariff = spot_tariff(network=[{"start_time": "02:15", "end_time": "02:45", "price": 0.12}, {"price": 0.07}])
    for day in LONG | SHORT:
        start_us = midnight(day)
        end_us = start_us + 5 * US_PER_HOUR
        whole = price(even(start_us, end_us), tariff, BERLIN, signals)
        peak = sum(
            line.to_us - line.from_us
            for line in whole.lines
            if line.dimension == "ENERGY" and ("network", "0.12") in line.price_parts
        )
        assert peak == (US_PER_HOUR if day in LONG else 0), "the window occurs twice in autumn, never in spring"
        fold = Fold.open(tariff, BERLIN, signals, start_us, 0)
        for minute in range(1, 301):
            fold.reading(start_us + minute * US_PER_HOUR // 60, minute * MWH_PER_HOUR // 60)
        tolerance = Decimal("0.0001") * len(whole.lines)
        assert abs(Decimal(fold.bill(end_us).total_excl or "") - Decimal(whole.total_excl or "")) <= tolerance


def test_a_missing_hour_holds_the_bill(slots: list[PriceSlot]) -> None:
    start_us = midnight(date(2024, 10, 27))
    gap = [slot for slot in slots if slot.start_us != start_us + 3 * US_PER_HOUR]
    bill = price(even(start_us, start_us + 5 * US_PER_HOUR), spot_tariff(), BERLIN, Signals(gap))
    assert (bill.state, bill.held_reason, bill.total_excl) == ("HELD", "SIGNAL_MISSING", None)
    unknown = [line for line in bill.lines if line.dimension == "ENERGY" and line.amount_excl is None]
    assert [(line.from_us - start_us) // US_PER_HOUR for line in unknown] == [3]
