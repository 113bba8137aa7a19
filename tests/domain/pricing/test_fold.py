"""The fold on its own: order of events, what it refuses, signals, locks, grace, and how much a reading costs."""

from __future__ import annotations

import json
import time
from decimal import Decimal
from typing import Any

import pytest

from pipeline.domain.pricing.facts import ActivityPeriod, Facts, Reading
from pipeline.domain.pricing.fold import Fold
from pipeline.domain.pricing.price import price
from pipeline.domain.pricing.signals import PriceSlot, Signals
from pipeline.domain.pricing.tariff import CannotPrice, Tariff
from pipeline.wire.json_values import instant
from pipeline.wire.tariffs import decode_tariffs

START = instant("2025-06-13T19:30:00Z")
MINUTE = 60_000_000
DAY_AND_NIGHT: list[dict[str, Any]] = [
    {"price_components": [{"type": "ENERGY", "price": 0.22, "vat": 21}], "restrictions": {"start_time": "22:00"}},
    {"price_components": [{"type": "ENERGY", "price": 0.36, "vat": 21}]},
]


def tariff(*elements: dict[str, Any], **fields: Any) -> Tariff:
    return decode_tariffs(json.dumps({"id": "F1", "currency": "EUR", "elements": elements, **fields}).encode(), "t")[0]


def test_a_tariff_with_local_time_needs_a_zone() -> None:
    """D6: an error, never a default; a tariff without local time needs none."""
    facts = Facts(START, START + MINUTE, [Reading(START, 0)], [])
    for zone in (None, "Europe/Bonn"):
        with pytest.raises(CannotPrice, match="TIME_ZONE_MISSING"):
            price(facts, tariff(*DAY_AND_NIGHT), zone)
    bill = price(facts, tariff(DAY_AND_NIGHT[1]), None)
    assert (bill.state, bill.time_zone, bill.lines[0].local_from) == ("FINAL", None, "")


def test_a_bill_on_the_way_takes_no_power_from_the_fold() -> None:
    restricted = {"price_components": [{"type": "ENERGY", "price": 1}], "restrictions": {"min_power": 10}}
    fold = Fold.open(tariff(restricted), None, None, START, 0)
    fold.power(START + 5 * MINUTE, 11_000)
    bills = [fold.bill(START + 10 * MINUTE), fold.bill(START + 10 * MINUTE)]
    assert bills[0] == bills[1]
    fold.reading(START + 10 * MINUTE, 1_000_000)
    assert fold.bill(START + 10 * MINUTE).total_excl == "0.5000"


def test_what_comes_out_of_order_is_refused_and_changes_nothing() -> None:
    """The stream refolds from the readings that it keeps; a reading that repeats the last one is harmless."""
    fold = Fold.open(tariff(*DAY_AND_NIGHT), "Europe/Amsterdam", None, START, 0)
    fold.reading(START + 10 * MINUTE, 1_000_000)
    before = fold.running()
    fold.reading(START + 10 * MINUTE, 1_000_000)
    for at_us, register in ((START + 9 * MINUTE, 900_000), (START + 10 * MINUTE, 1_000_001)):
        with pytest.raises(ValueError, match="refold"):
            fold.reading(at_us, register)
    with pytest.raises(ValueError, match="refold"):
        fold.activity(START + 9 * MINUTE, "idle")
    with pytest.raises(ValueError, match="refold"):
        fold.power(START, 11_000)
    with pytest.raises(ValueError, match="cannot end"):
        fold.bill(START + 9 * MINUTE)
    assert fold.running() == before == ("0.3600", "0.4356")


def test_a_start_without_register_takes_the_first_reading() -> None:
    fold = Fold.open(tariff(*DAY_AND_NIGHT), "Europe/Amsterdam", None, START, None)
    assert fold.running() == ("0.0000", "0.0000")
    fold.reading(START + 5 * MINUTE, 7_000_000)
    fold.reading(START + 15 * MINUTE, 8_000_000)
    assert fold.running() == ("0.3600", "0.4356")


def test_the_running_cost_waits_for_the_reading_after_a_price_change() -> None:
    """At 22:05 local nothing was read since 21:50: the register may still have moved before 22:00."""
    fold = Fold.open(tariff(*DAY_AND_NIGHT), "Europe/Amsterdam", None, START, 0)
    fold.reading(START + 20 * MINUTE, 2_000_000)
    fold.activity(START + 35 * MINUTE, "idle")
    assert fold.running() == ("0.7200", "0.8712")
    fold.reading(START + 40 * MINUTE, 4_000_000)
    assert fold.running() == ("1.3000", "1.5730"), "1 kWh at 0.36 and 1 kWh at 0.22 more"


def test_an_energy_threshold_acts_at_the_first_instant_at_which_it_is_reached() -> None:
    """1 of 7 kWh in 10 minutes: after 85,714,285.7 us; the energy at the cut is the threshold exactly."""
    tiers = tariff(
        {"price_components": [{"type": "TIME", "price": 6}], "restrictions": {"max_kwh": 1}},
        {"price_components": [{"type": "ENERGY", "price": 1}], "restrictions": {"max_kwh": 1}},
        {"price_components": [{"type": "ENERGY", "price": 2}]},
    )
    facts = Facts(START, START + 10 * MINUTE, [Reading(START, 0), Reading(START + 10 * MINUTE, 7_000_000)], [])
    found = [(line.dimension, line.quantity) for line in price(facts, tiers, None).lines if line.kind == "USAGE"]
    assert found == [("ENERGY", "1.000000"), ("ENERGY", "6.000000"), ("TIME", "85.714286")]


def slot(start: int, price_: str, **fields: Any) -> PriceSlot:
    begin = START + start * MINUTE
    return PriceSlot(series="spot", start_us=begin, end_us=begin + 15 * MINUTE, price=Decimal(price_), **fields)


SPOT = {"price_components": [{"type": "ENERGY", "price": 0.5, "vat": 0, "x_dynamic": {"signal": "spot"}}]}
HOUR = Facts(START, START + 60 * MINUTE, [Reading(START, 0), Reading(START + 60 * MINUTE, 4_000_000)], [])


def test_the_last_revision_before_the_slot_begins_prices_it() -> None:
    late = slot(0, "300", revision=3, published_us=START + 1)
    known = [slot(0, "100"), slot(0, "200", revision=2, published_us=START), late]
    known += [slot(minutes, "100") for minutes in (15, 30, 45)]
    assert price(HOUR, tariff(SPOT), None, Signals(known)).total_excl == "0.5000"


def test_slots_of_15_and_60_minutes_mix() -> None:
    hour = PriceSlot(series="spot", start_us=START, end_us=START + 60 * MINUTE, price=Decimal(100))
    bill = price(HOUR, tariff(SPOT), None, Signals([hour, slot(15, "300")]))
    energy = [(line.quantity, line.unit_price) for line in bill.lines if line.dimension == "ENERGY"]
    assert energy == [("1.000000", "0.1000"), ("1.000000", "0.3000"), ("2.000000", "0.1000")]


def test_a_locked_tariff_keeps_prices_and_clock_of_the_start_but_not_its_structure() -> None:
    """5.3: clock windows and signals are frozen, energy thresholds still act."""
    locked = tariff(
        {"price_components": [{"type": "ENERGY", "price": 0.30}], "restrictions": {"max_kwh": 2}},
        *DAY_AND_NIGHT, x_price_mode="LOCKED",
    )  # fmt: skip
    bill = price(HOUR, locked, "Europe/Amsterdam")
    energy = [(line.quantity, line.unit_price) for line in bill.lines if line.dimension == "ENERGY"]
    assert energy == [("2.000000", "0.30"), ("2.000000", "0.36")]


def test_a_cap_stated_with_tax_cannot_be_exceeded_with_tax() -> None:
    """0.40 with 19 % tax is 0.3361 without, cut down."""
    component = {"type": "ENERGY", "price": 0.5, "vat": 19}
    capped = {"price_components": [component | {"x_dynamic": {"signal": "spot", "cap": 0.40, "cap_with_tax": True}}]}
    bill = price(HOUR, tariff(capped), None, Signals([slot(minutes, "900") for minutes in (0, 15, 30, 45)]))
    assert bill.lines[0].unit_price == "0.3361"


def test_a_discount_and_a_floor_are_parts_of_the_price() -> None:
    dynamic = {"signal": "spot", "fee": 0.05, "discount": [{"end_time": "22:00", "share": 0.5}], "floor": 0.09}
    component = {"type": "ENERGY", "price": 0.5, "vat": 0, "x_dynamic": dynamic}
    discounted = {"price_components": [component]}
    bill = price(HOUR, tariff(discounted), "Europe/Amsterdam",
                 Signals([slot(minutes, "100") for minutes in (0, 15, 30, 45)]))  # fmt: skip
    prices = [(line.unit_price, dict(line.price_parts)) for line in bill.lines if line.dimension == "ENERGY"]
    assert prices[0] == ("0.0900", {"signal": "0.1", "fee": "0.05", "discount": "-0.075", "floor": "0.015"})
    assert prices[-1] == ("0.1500", {"signal": "0.1", "fee": "0.05"})
    for unit_price, parts in prices:
        assert sum(Decimal(part) for part in parts.values()) == Decimal(unit_price or "")


def test_tax_that_a_limit_makes_negative_holds_the_bill() -> None:
    """D21: the limit after tax is below the one before."""
    odd = tariff(DAY_AND_NIGHT[1], max_price={"excl_vat": 1.0, "incl_vat": 0.5})
    bill = price(HOUR, odd, None)
    assert (bill.state, bill.held_reason, bill.total_excl) == ("HELD", "TAX_NEGATIVE", None)


def test_a_negative_price_may_make_a_negative_bill() -> None:
    bill = price(HOUR, tariff(SPOT), None, Signals([slot(minutes, "-100") for minutes in (0, 15, 30, 45)]))
    assert (bill.state, bill.total_excl) == ("FINAL", "-0.4000")


def test_a_running_bill_says_so() -> None:
    assert price(HOUR, tariff(DAY_AND_NIGHT[1]), None, final=False).state == "RUNNING"


def test_long_sessions_stay_cheap_per_reading() -> None:
    """Within a period a reading costs a comparison: a generous bound, so that a slow machine does not fail it."""
    fold = Fold.open(tariff(*DAY_AND_NIGHT), "Europe/Amsterdam", None, START, 0)
    began = time.process_time()
    for second in range(1, 20_001):
        fold.reading(START + second * 100_000, second * 10)
    assert (time.process_time() - began) / 20_000 < 20e-6
    assert price(Facts(START, START + 1, [Reading(START, 0)], [ActivityPeriod(START, "idle")]), tariff(*DAY_AND_NIGHT),
                 "Europe/Amsterdam").total_excl == "0.0000"  # fmt: skip
