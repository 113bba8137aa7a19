"""Lint: one tariff per code that shows it, and a good tariff that shows none."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest

from pipeline.wire.tariff_lint import SEVERITIES, lint_document

ENERGY = {"type": "ENERGY", "price": 0.3, "vat": 21, "step_size": 1}
IDLE = {"type": "PARKING_TIME", "price": 3, "vat": 21, "step_size": 1}
NIGHT = {"start_time": "22:00", "end_time": "06:00"}
WHEN_NIGHT = {"price_components": [ENERGY], "restrictions": NIGHT}
ALWAYS = {"price_components": [ENERGY]}
POWERFUL = {"price_components": [ENERGY], "restrictions": {"min_power": 50}}


def tariff(*elements: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {"id": "L1", "currency": "EUR", "elements": list(elements), **fields}


def restricted(**restrictions: Any) -> dict[str, Any]:
    return {"price_components": [ENERGY], "restrictions": restrictions}


def priced(**fields: Any) -> dict[str, Any]:
    return {"price_components": [ENERGY | fields]}


SHOWN: dict[str, tuple[dict[str, Any], str | None]] = {
    "time_zone_missing": (tariff(WHEN_NIGHT, ALWAYS), None),
    "currency_unknown": (tariff(ALWAYS, currency="XXX"), "UTC"),
    "bad_clock_or_date": (tariff(restricted(start_time="24:00"), ALWAYS), "UTC"),
    "no_elements": (tariff(), "UTC"),
    "limits_cross": (tariff(ALWAYS, min_price={"excl_vat": 2}, max_price={"excl_vat": 1}), "UTC"),
    "reservation_dimension": (tariff(restricted(reservation="RESERVATION"), ALWAYS), "UTC"),
    "impossible_restriction": (tariff(restricted(min_kwh=5, max_kwh=5), ALWAYS), "UTC"),
    "unreachable_element": (tariff(ALWAYS, WHEN_NIGHT), "UTC"),
    "duplicate_dimension": (tariff({"price_components": [ENERGY, ENERGY]}), "UTC"),
    "never_active": (
        tariff(restricted(start_date="2025-06-16", end_date="2025-06-18", day_of_week=["SUNDAY"]), ALWAYS),
        "UTC",
    ),
    "whole_day_window": (tariff(restricted(start_time="07:00", end_time="07:00"), ALWAYS), "UTC"),
    "minute_before_midnight": (tariff(restricted(start_time="20:00", end_time="23:59"), ALWAYS), "UTC"),
    "wrapped_window_with_day": (tariff(restricted(**NIGHT, day_of_week=["FRIDAY"]), ALWAYS), "UTC"),
    "bound_in_repeated_hour": (tariff(restricted(start_time="02:30", end_time="05:00"), ALWAYS), "Europe/Berlin"),
    "power_without_fallback": (tariff(POWERFUL), "UTC"),
    "limit_without_tax_amount": (tariff(ALWAYS, min_price={"excl_vat": 1}), "UTC"),
    "tax_rate_without_tax": (tariff(ALWAYS, tax_included="N/A"), "UTC"),
    "tax_included_without_rate": (tariff(priced(vat=None), tax_included="YES"), "UTC"),
    "implausible_vat": (tariff(priced(vat=0.21)), "UTC"),
    "step_size_not_one": (tariff(priced(step_size=1000)), "UTC"),
    "zero_step_size": (tariff(priced(step_size=0)), "UTC"),
    "empty_restrictions": (tariff(restricted()), "UTC"),
    "price_gap": (tariff(WHEN_NIGHT), "UTC"),
    "more_than_4_decimals": (tariff(priced(price=0.12345)), "UTC"),
    "nothing_priced_by_use": (tariff({"price_components": [{"type": "FLAT", "price": 1}]}), "UTC"),
    "unknown_field": (tariff(ALWAYS, colour="green"), "UTC"),
}


def codes(document: dict[str, Any], zone: str | None) -> set[str]:
    return {finding.code for finding in lint_document(json.loads(json.dumps(document), **DECIMAL), zone)}


DECIMAL: dict[str, Any] = {"parse_float": Decimal, "parse_int": Decimal}


def test_a_good_tariff_shows_nothing() -> None:
    assert codes(tariff(WHEN_NIGHT, {"price_components": [ENERGY, IDLE]}), "Europe/Berlin") == set()


@pytest.mark.parametrize("code", SHOWN)
def test_each_code_is_shown_by_a_tariff_and_by_nothing_else_in_it(code: str) -> None:
    document, zone = SHOWN[code]
    assert codes(document, zone) == {code}


def test_every_code_has_a_tariff_that_shows_it() -> None:
    assert SEVERITIES.keys() <= SHOWN.keys()


MORNING = {"price_components": [ENERGY], "restrictions": {"end_time": "06:00"}}
GAPS: dict[str, tuple[dict[str, Any], str]] = {
    "a minute": (
        tariff(restricted(start_time="06:00", end_time="23:59"), MORNING),
        "Thursday 2026-01-01 23:59 to 00:00",
    ),
    "a weekday": (
        tariff(restricted(day_of_week=["MONDAY", "TUESDAY", "THURSDAY", "FRIDAY", "SATURDAY", "SUNDAY"])),
        "on 52 of 365 days, first on Wednesday 2026-01-07 all day",
    ),
    "the night after the last day of a wrapped window": (
        tariff(restricted(**NIGHT, day_of_week=["FRIDAY"]), restricted(start_time="06:00", end_time="22:00"),
               restricted(**NIGHT, day_of_week=["MONDAY", "TUESDAY", "WEDNESDAY", "THURSDAY", "SUNDAY"])),
        "on 104 of 365 days, first on Saturday 2026-01-03 22:00 to 00:00",
    ),
    "a season": (
        tariff(restricted(start_date="2026-01-01", end_date="2026-12-31")),
        "on 1 of 365 days, first on Thursday 2026-12-31 all day",
    ),
    "one dimension only": (
        tariff(ALWAYS, {"price_components": [IDLE], "restrictions": {"start_time": "08:00", "end_time": "20:00"}}),
        "PARKING_TIME has no price on 365 of 365 days, first on Thursday 2026-01-01 00:00 to 08:00",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", GAPS)
def test_a_gap_says_what_has_no_price_and_when(name: str) -> None:
    document, text = GAPS[name]
    document = json.loads(json.dumps(document | {"last_updated": "2026-01-01T00:00:00Z"}), **DECIMAL)
    (found,) = [each for each in lint_document(document, "Europe/Berlin") if each.code == "price_gap"]
    assert text in found.text


def test_the_minute_before_midnight_of_another_window_is_no_oversight() -> None:
    last = restricted(start_time="23:59", end_time="00:00")
    document = tariff(restricted(start_time="06:00", end_time="23:59"), MORNING, last)
    assert codes(document, "Europe/Berlin") == set()


def test_windows_of_network_charges_are_judged_too() -> None:
    network = [{"start_time": "17:00", "end_time": "23:59", "price": 0.1}, {"price": 0.05}]
    document = json.loads(json.dumps(tariff(priced(x_dynamic={"signal": "spot", "network": network}))), **DECIMAL)
    (found,) = lint_document(document, "UTC")
    assert found.code == "minute_before_midnight"
    assert found.where == "elements[0].price_components[0].x_dynamic.network[0]"


def test_errors_come_first_and_have_their_severity() -> None:
    document = json.loads(json.dumps(tariff(restricted(min_kwh=5, max_kwh=5), currency="XXX", colour=1)), **DECIMAL)
    assert [(each.severity, each.code) for each in lint_document(document, "UTC")] == [
        ("error", "currency_unknown"),
        ("warning", "impossible_restriction"),
        ("information", "unknown_field"),
    ]
