"""Checking somebody else's CDR: verdict, contradictions, other readings, assumptions, hints; and the known CDRs."""

from __future__ import annotations

import json
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from pipeline.domain.checking.verify import Basis, Verdict, price_cdr, tariff_of, verify
from pipeline.wire.cdr import decode_cdr
from pipeline.wire.tariffs import decode_tariffs

VECTORS = "ocpi/tandemdrive/ocpi-tariffs/test_data"
CORRECT = {
    "simple_025kwh/cdr1": ("5.0000", "5.5000"),
    "025kwh_min_price/cdr1": ("5.0000", "5.5000"),
    "025kwh_start/cdr1": ("5.5000", "6.1000"),
    "simple_3hour_5parking/cdr1": ("11.2500", "12.7500"),
    "grace_period_parking_time/cdr": ("3.2500", "3.5000"),
    "multiple_flat_fees/cdr": ("1.0000", "1.0000"),
    "step_size/cdr1": ("0.5502", "0.5502"),
    "step_size_energy/cdr1": ("30.0000", "30.0000"),
    "025kwh_min_price/cdr2_less_than_2kWh": ("0.5000", "0.5500"),
}
Change = Callable[[dict[str, Any]], object]


@pytest.mark.parametrize("name", CORRECT)
def test_the_published_cdrs_are_checked_right(name: str, reference_file: Callable[[str], Path]) -> None:
    """All are right but one, which ignores the minimum price of its tariff."""
    path = reference_file(f"{VECTORS}/{name}.json")
    tariffs = decode_tariffs((path.parent / "tariff.json").read_bytes(), "tariff.json")
    verdict = verify(decode_cdr(path.read_bytes(), path.name), Basis(tariffs=tariffs, zone="UTC"))
    assert verdict.bill is not None
    assert (verdict.bill.total_excl, verdict.bill.total_incl) == CORRECT[name]
    if name.endswith("less_than_2kWh"):
        assert codes(verdict) == ["TOTAL_EXCL", "TOTAL_INCL", "LIMIT_IGNORED"]
        assert verdict.verdict == "MISMATCH"
    else:
        assert (verdict.verdict, codes(verdict)) == ("OK", [])


def as_211(document: dict[str, Any]) -> None:
    document["stop_date_time"] = document.pop("end_date_time")
    for name in [name for name in document if name.endswith("_cost")]:
        document[name] = document[name]["excl_vat"]


def as_credit(document: dict[str, Any]) -> None:
    document |= {"credit": True, "credit_reference_id": "CDR-0"}
    document["total_cost"] = {name: -value for name, value in document["total_cost"].items()}


def as_full_credit(document: dict[str, Any]) -> None:
    document |= {"credit": True, "credit_reference_id": "CDR-0"}
    for name in [name for name in document if name.endswith("_cost")]:
        document[name] = {part: -value for part, value in document[name].items()}


@pytest.mark.parametrize("change", [as_211, as_credit, as_full_credit])
@pytest.mark.parametrize("name", CORRECT)
def test_the_published_cdrs_are_checked_alike_in_other_shapes(
    name: str, change: Change, reference_file: Callable[[str], Path]
) -> None:
    """As OCPI 2.1.1, as the credit of itself, and as a credit whose parts are negated as well."""
    path = reference_file(f"{VECTORS}/{name}.json")
    tariffs = decode_tariffs((path.parent / "tariff.json").read_bytes(), "tariff.json")
    document = json.loads(path.read_bytes())
    basis = Basis(tariffs=tariffs, zone="UTC")
    before = verify(decode_cdr(json.dumps(document).encode(), path.name), basis)
    change(document)
    after = verify(decode_cdr(json.dumps(document).encode(), path.name), basis)
    assert (after.verdict, after.bill) == (before.verdict, before.bill)
    without_tax = [code for code in codes(before) if change is not as_211 or code != "TOTAL_INCL"]
    assert codes(after) == without_tax


def test_the_truncated_cdr_is_found_out(reference_file: Callable[[str], Path]) -> None:
    data = reference_file("ocpi/cdr_nl_hourly/cdr.json").read_bytes()
    verdict = verify(decode_cdr(data, "cdr.json"), Basis(zone="Europe/Amsterdam"))
    assert verdict.verdict == "MISMATCH"
    assert codes(verdict) == ["PERIOD_OUTSIDE_SESSION", "TOTAL_EXCL", "TOTAL_INCL", "TRUNCATED", "TAX_ON_ROUNDED"]
    assert verdict.bill is not None
    assert (verdict.bill.total_excl, verdict.bill.total_incl) == ("1.8370", "2.2228")
    assert (verdict.bill.payable_excl, verdict.bill.payable_incl) == ("1.84", "2.22")


def energy(price: float = 0.30, **fields: Any) -> dict[str, Any]:
    return {"type": "ENERGY", "price": price, "vat": 20, "step_size": 1, **fields}


TARIFF: dict[str, Any] = {"id": "V1", "currency": "EUR", "elements": [{"price_components": [energy()]}]}
# Friday 23:00 to Saturday 01:00 in Berlin; 10 kWh in each hour.
CDR: dict[str, Any] = {
    "start_date_time": "2025-06-13T21:00:00Z",
    "end_date_time": "2025-06-13T23:00:00Z",
    "currency": "EUR",
    "tariffs": [TARIFF],
    "charging_periods": [
        {"start_date_time": f"2025-06-13T{hour}:00:00Z", "dimensions": [{"type": "ENERGY", "volume": 10}]}
        for hour in (21, 22)
    ],
    "total_cost": {"excl_vat": 6.0, "incl_vat": 7.2},
    "total_energy": 20,
    "total_energy_cost": {"excl_vat": 6.0, "incl_vat": 7.2},
    "total_time": 2,
}


def check(*changes: Change, zone: str | None = "Europe/Berlin", tolerance: str | None = None) -> Verdict:
    document: dict[str, Any] = json.loads(json.dumps(CDR))
    for change in changes:
        change(document)
    basis = Basis(zone=zone, tolerance=None if tolerance is None else Decimal(tolerance))
    return verify(decode_cdr(json.dumps(document).encode(), "cdr.json"), basis)


def codes(verdict: Verdict) -> list[str]:
    return [finding.code for finding in verdict.findings]


def elements(*found: dict[str, Any]) -> Change:
    return lambda cdr: cdr["tariffs"][0].update(elements=list(found))


def cost(excl: float, incl: float) -> Change:
    def change(cdr: dict[str, Any]) -> None:
        cdr["total_cost"] = cdr["total_energy_cost"] = {"excl_vat": excl, "incl_vat": incl}

    return change


def test_a_right_cdr_is_ok_with_and_without_zone() -> None:
    """D6: the zone matters only where the tariff has a local restriction."""
    assert (check().verdict, codes(check())) == ("OK", [])
    assert check(zone=None).verdict == "OK"


CONTRADICTIONS: dict[str, Change] = {
    "PERIOD_OUTSIDE_SESSION": lambda cdr: cdr.update(start_date_time="2025-06-13T21:30:00Z", total_time=1.5),
    "PERIODS_OUT_OF_ORDER": lambda cdr: cdr["charging_periods"].reverse(),
    "VOLUMES_DO_NOT_ADD_UP": lambda cdr: cdr.update(total_energy=20.1),
    "COSTS_DO_NOT_ADD_UP": lambda cdr: cdr.update(total_energy_cost={"excl_vat": 5.0, "incl_vat": 6.0}),
    "TAX_NEGATIVE": lambda cdr: cdr.update(total_cost={"excl_vat": 6.0, "incl_vat": 5.0}),
    "CURRENCY_DIFFERS": lambda cdr: cdr.update(currency="DKK"),
    "UNKNOWN_TARIFF_ID": lambda cdr: cdr["charging_periods"][0].update(tariff_id="other"),
    "TARIFF_NOT_VALID_AT_START": lambda cdr: cdr["tariffs"][0].update(end_date_time="2025-06-13T21:00:00Z"),
}


@pytest.mark.parametrize("code", CONTRADICTIONS)
def test_a_record_that_disagrees_with_itself_is_a_mismatch(code: str) -> None:
    verdict = check(CONTRADICTIONS[code])
    assert code in codes(verdict)
    assert verdict.verdict == "MISMATCH"


def test_time_that_does_not_add_up_is_a_contradiction() -> None:
    def state_time(cdr: dict[str, Any]) -> None:
        for period in cdr["charging_periods"]:
            period["dimensions"].append({"type": "TIME", "volume": 0.9})

    verdict = check(state_time)
    assert (verdict.verdict, codes(verdict)[0]) == ("MISMATCH", "TIME_DOES_NOT_ADD_UP")


def test_a_figure_that_is_not_stated_is_not_checked() -> None:
    verdict = check(lambda cdr: [cdr.pop(name) for name in ("total_energy", "total_energy_cost", "total_time")])
    assert verdict.verdict == "OK"


def test_amounts_are_compared_to_half_of_their_last_place() -> None:
    """With our 4-decimal amount, not with the payable one; the number of decimals stated counts."""

    def one_kwh_more(cdr: dict[str, Any]) -> None:
        cdr["charging_periods"][0]["dimensions"][0]["volume"] = 10.012
        cdr["total_energy"] = 20.012

    assert check(one_kwh_more, cost(6.0, 7.2)).verdict == "OK", "6.0036 is 6.00 to two decimals"
    assert check(one_kwh_more, cost(6.0036, 7.2043)).verdict == "OK"
    assert check(one_kwh_more, cost(6.0030, 7.2043)).verdict == "MISMATCH"
    assert check(one_kwh_more, cost(6.0030, 7.2043), tolerance="0.001").verdict == "OK"


NIGHT = {"price_components": [energy(0.20)], "restrictions": {
    "start_time": "22:00", "end_time": "06:00", "day_of_week": ["FRIDAY"]}}  # fmt: skip
REST = {"price_components": [energy(0.40)]}


def test_an_admitted_reading_of_the_spec_is_ok_with_a_note() -> None:
    """D3: Friday's night ends at midnight for some: 10 x 0.20 + 10 x 0.40 instead of 20 x 0.20."""
    ours, theirs = check(elements(NIGHT, REST), cost(4.0, 4.8)), check(elements(NIGHT, REST), cost(6.0, 7.2))
    assert (ours.verdict, ours.notes) == ("OK", ())
    assert theirs.verdict == "OK"
    assert theirs.notes[0].startswith("OTHER_READING D3")


def test_pricing_in_utc_is_a_mismatch_with_a_hint() -> None:
    """23:00 in Berlin is 21:00 in UTC: outside of the window."""
    window = {"price_components": [energy(0.20)], "restrictions": {"start_time": "22:00", "end_time": "06:00"}}
    verdict = check(elements(window, REST), cost(6.0, 7.2))
    assert verdict.verdict == "MISMATCH"
    assert "PRICED_IN_UTC" in codes(verdict)


def test_without_the_zone_it_needs_a_cdr_is_not_verifiable() -> None:
    verdict = check(elements(NIGHT, REST), cost(4.0, 4.8), zone=None)
    assert (verdict.verdict, codes(verdict)) == ("NOT_VERIFIABLE", ["TIME_ZONE_MISSING"])
    assert verdict.bill is None


def test_what_is_wrong_in_every_zone_is_a_mismatch_without_one() -> None:
    verdict = check(elements(NIGHT, REST), cost(40.0, 48.0), zone=None)
    assert verdict.verdict == "MISMATCH"


def test_a_period_that_spans_a_price_change_cannot_be_verified_within_its_bounds() -> None:
    """20 kWh in one period over midnight: anything from 20 x 0.20 to 20 x 0.40 can be right, 9.00 cannot."""
    saturday = {"price_components": [energy(0.40)], "restrictions": {"day_of_week": ["SATURDAY"]}}
    friday = {"price_components": [energy(0.20)]}

    def one_period(cdr: dict[str, Any]) -> None:
        cdr["charging_periods"] = cdr["charging_periods"][:1]
        cdr["charging_periods"][0]["dimensions"][0]["volume"] = 20

    assert check(one_period, elements(saturday, friday), cost(6.0, 7.2)).verdict == "OK", "split in proportion to time"
    verdict = check(one_period, elements(saturday, friday), cost(5.0, 6.0))
    assert (verdict.verdict, codes(verdict)[0]) == ("NOT_VERIFIABLE", "PERIOD_SPANS_PRICE_CHANGE")
    assert check(one_period, elements(saturday, friday), cost(9.0, 10.8)).verdict == "MISMATCH"


def test_missing_power_and_missing_tariff_are_not_verifiable() -> None:
    by_current = {"price_components": [energy(0.20)], "restrictions": {"max_current": 32}}
    assert codes(check(elements(by_current, REST))) == ["CURRENT_UNKNOWN"]
    verdict = check(lambda cdr: cdr.update(tariffs=[]))
    assert (verdict.verdict, codes(verdict)) == ("NOT_VERIFIABLE", ["TARIFF_MISSING"])


def test_stated_power_decides() -> None:
    by_power = {"price_components": [energy(0.20)], "restrictions": {"max_power": 16}}

    def state_power(cdr: dict[str, Any]) -> None:
        for period, least in zip(cdr["charging_periods"], (5, 20), strict=True):
            period["dimensions"] += [{"type": "MIN_POWER", "volume": least}, {"type": "MAX_POWER", "volume": least + 9}]

    assert check(state_power, elements(by_power, REST), cost(6.0, 7.2)).verdict == "OK"


HINTS: dict[str, tuple[tuple[Change, ...], tuple[float, float]]] = {
    "STEP_IGNORED": ((elements({"price_components": [energy(step_size=7000)]}),), (6.0, 7.2)),
    "FLAT_REPEATED": (
        (elements({"price_components": [energy(), {"type": "FLAT", "price": 1.0, "vat": 20}]}),),
        (8.0, 9.6),
    ),
    "LIMIT_IGNORED": ((lambda cdr: cdr["tariffs"][0].update(max_price={"excl_vat": 5, "incl_vat": 6}),), (6.0, 7.2)),
    "TRUNCATED": ((elements({"price_components": [energy(0.3004)]}),), (6.0, 7.2)),
    "TAX_ON_ROUNDED": ((elements({"price_components": [energy(0.3004)]}),), (6.0, 7.2)),
}


@pytest.mark.parametrize("code", HINTS)
def test_a_likely_cause_is_hinted_at(code: str) -> None:
    changes, (excl, incl) = HINTS[code]

    def state(cdr: dict[str, Any]) -> None:
        cdr["total_cost"] = {"excl_vat": excl, "incl_vat": incl}
        cdr.pop("total_energy_cost")

    verdict = check(*changes, state)
    assert code in codes(verdict)


def test_a_total_of_components_that_were_rounded_one_by_one_is_accepted() -> None:
    """2 x 10.01 kWh x 0.3004 = 6.0140 and FLAT 0.2040: 6.01 + 0.20 = 6.21, but the total is 6.2180."""
    flat = {"type": "FLAT", "price": 0.204, "vat": 20}

    def state(cdr: dict[str, Any]) -> None:
        for period in cdr["charging_periods"]:
            period["dimensions"][0]["volume"] = 10.01
        cdr["total_energy"] = 20.02
        cdr["total_energy_cost"] = {"excl_vat": 6.01}
        cdr["total_fixed_cost"] = {"excl_vat": 0.20}
        cdr["total_cost"] = {"excl_vat": 6.21}

    verdict = check(elements({"price_components": [energy(0.3004), flat]}), state)
    assert verdict.verdict == "OK"
    assert verdict.notes[0].startswith("ROUNDED_PER_COMPONENT")


def test_periods_without_tariff_are_unpriced_where_others_name_one() -> None:
    """D26, and one tariff per distinct price: how dynamic prices are exported."""

    def name_tariffs(cdr: dict[str, Any]) -> None:
        cdr["tariffs"].append({**TARIFF, "id": "V2", "elements": [{"price_components": [energy(0.123)]}]})
        cdr["charging_periods"][0]["tariff_id"] = "V2"
        cdr["charging_periods"][1]["tariff_id"] = "V1"
        cdr["charging_periods"].append({**cdr["charging_periods"][0], "start_date_time": "2025-06-13T22:30:00Z"})
        cdr["charging_periods"][2].pop("tariff_id")
        cdr["total_energy"] = 30

    verdict = check(name_tariffs, cost(4.23, 5.076))
    assert verdict.verdict == "OK"
    assert verdict.bill is not None
    assert [(line.kind, line.tariff_id) for line in verdict.bill.lines if line.dimension == "ENERGY"] == [
        ("USAGE", "V2"), ("USAGE", "V1"), ("UNPRICED", "V2"),
    ]  # fmt: skip


def test_a_reservation_in_a_cdr_is_priced_from_its_stated_time() -> None:
    """Worked example 8a of the reference as a CDR."""
    reserved = {"price_components": [
        {"type": "FLAT", "price": 1.00, "vat": 21}, {"type": "TIME", "price": 4.20, "vat": 21, "step_size": 300},
    ], "restrictions": {"reservation": "RESERVATION"}}  # fmt: skip
    used = {"price_components": [{"type": "FLAT", "price": 0.50, "vat": 21}, energy(0.35, vat=21)]}
    document = {
        **CDR,
        "tariffs": [{**TARIFF, "elements": [reserved, used]}],
        "start_date_time": "2025-06-13T20:43:00Z",
        "charging_periods": [
            {"start_date_time": "2025-06-13T20:43:00Z", "dimensions": [{"type": "RESERVATION_TIME", "volume": 0.2833}]},
            {"start_date_time": "2025-06-13T21:00:00Z", "dimensions": [{"type": "ENERGY", "volume": 12}]},
        ],
    }
    cdr = decode_cdr(json.dumps(document).encode(), "cdr.json")
    bill = price_cdr(cdr, tariff_of(cdr, cdr.tariffs), cdr.tariffs, Basis()).bill
    assert (bill.total_excl, bill.total_incl) == ("7.1000", "8.5910")
