"""Tariff documents: what is decoded, and that bad ones give one clear error that names the element, never a price."""

from __future__ import annotations

import json
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from pipeline.domain.pricing.restrictions import Calendar, EnergyUsed
from pipeline.domain.pricing.tariff import CannotPrice, Dimension, choose
from pipeline.errors import InvalidMessage
from pipeline.wire.json_values import instant
from pipeline.wire.tariffs import decode_tariffs

SCHEMA = Path(__file__).parents[2] / "schemas" / "messages" / "tariffs.v1.schema.json"
GOLDEN = sorted((Path(__file__).parents[1] / "golden" / "pricing").glob("*/tariff.json"))

Change = Callable[[dict[str, Any]], object]


def good() -> dict[str, Any]:
    restrictions = {"start_time": "22:00", "end_time": "06:00", "day_of_week": ["FRIDAY"], "min_kwh": 1.5}
    component = {"type": "ENERGY", "price": 0.36, "vat": 21, "step_size": 1}
    return {
        "id": "A1",
        "currency": "EUR",
        "elements": [{"price_components": [component], "restrictions": restrictions}],
    }


def element(tariff: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = tariff["elements"][0]
    return found


def component(tariff: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = element(tariff)["price_components"][0]
    return found


def test_a_tariff_is_decoded_exactly() -> None:
    """Numbers stay decimal: 0.36 is never a binary fraction."""
    (tariff,) = decode_tariffs(json.dumps(good()).encode(), "t.json")
    (found,) = tariff.elements
    assert found.calendar == Calendar(start=22 * 60, end=6 * 60, days=frozenset({4}))
    assert found.conditions == (EnergyUsed(1_500_000, None),)
    assert found.components[0].price == Decimal("0.36")
    assert found.components[0].dimension is Dimension.ENERGY
    assert found.words() == "22:00-06:00 FRI, from 1.5 kWh"


def test_one_object_a_list_and_json_lines_are_the_same() -> None:
    one = json.dumps(good()).encode()
    forms = (one, b"[" + one + b"]", one + b"\n" + one)
    assert [len(decode_tariffs(form, "t")) for form in forms] == [1, 1, 2]
    assert len({tariff.content_hash for form in forms for tariff in decode_tariffs(form, "t")}) == 1


def test_the_hash_depends_on_content_only() -> None:
    """Order of fields and trailing zeros do not make another version; a changed price does."""
    reordered = dict(reversed(list(good().items())))
    same = json.dumps(reordered).replace("0.36", "0.360").encode()
    other = json.dumps(good()).replace("0.36", "0.37").encode()
    hashes = [decode_tariffs(data, "t")[0].content_hash for data in (json.dumps(good()).encode(), same, other)]
    assert hashes[0] == hashes[1] != hashes[2]


BAD: dict[str, tuple[Change, str, str]] = {
    "a clock that does not exist": (
        lambda t: element(t)["restrictions"].update(start_time="25:00"),
        "bad_clock_or_date",
        "elements[0].restrictions.start_time: '25:00' is not HH:MM; use 00:00-23:59",
    ),
    "a clock without leading zero": (
        lambda t: element(t)["restrictions"].update(end_time="6:00"),
        "bad_clock_or_date",
        "elements[0].restrictions.end_time: '6:00' is not HH:MM",
    ),
    "a date that does not exist": (
        lambda t: element(t)["restrictions"].update(start_date="2025-02-30"),
        "bad_clock_or_date",
        "elements[0].restrictions.start_date: '2025-02-30' is not YYYY-MM-DD",
    ),
    "a weekday that does not exist": (
        lambda t: element(t)["restrictions"].update(day_of_week=["FUNDAY"]),
        "bad_clock_or_date",
        "elements[0].restrictions.day_of_week: 'FUNDAY'",
    ),
    "bounds that exclude each other": (
        lambda t: element(t)["restrictions"].update(max_kwh=1.5),
        "impossible_restriction",
        "elements[0].restrictions.max_kwh: 1.5 is not above min_kwh 1.5",
    ),
    "an upper bound of zero": (
        lambda t: element(t)["restrictions"].update(max_power=0),
        "impossible_restriction",
        "elements[0].restrictions.max_power: 0 is not above min_power 0",
    ),
    "dates that exclude each other": (
        lambda t: element(t)["restrictions"].update(start_date="2025-05-02", end_date="2025-05-02"),
        "impossible_restriction",
        "elements[0].restrictions.end_date",
    ),
    "a restriction that nobody knows": (
        lambda t: element(t)["restrictions"].update(max_soc=80),
        "unknown_restriction",
        "elements[0].restrictions.max_soc",
    ),
    "an extension that nobody knows": (
        lambda t: component(t).update(x_loyalty=1),
        "unknown_extension",
        "elements[0].price_components[0].x_loyalty",
    ),
    "a currency that does not exist": (lambda t: t.update(currency="EUX"), "currency_unknown", "currency: 'EUX'"),
    "no currency": (lambda t: t.pop("currency"), "currency_unknown", "currency: is missing"),
    "no elements": (lambda t: t.update(elements=[]), "no_elements", "elements: is empty"),
    "no components": (
        lambda t: element(t).update(price_components=[]),
        "no_elements",
        "elements[0].price_components",
    ),
    "a price as text": (
        lambda t: component(t).update(price="0.36"),
        "bad_value",
        "elements[0].price_components[0].price: '0.36' is not a number",
    ),
    "no price": (lambda t: component(t).pop("price"), "bad_value", "elements[0].price_components[0].price: is missing"),
    "an unknown dimension": (
        lambda t: component(t).update(type="POWER"),
        "bad_value",
        "elements[0].price_components[0].type: 'POWER'",
    ),
    "a step that is no whole number": (
        lambda t: component(t).update(step_size=1.5),
        "bad_value",
        "elements[0].price_components[0].step_size: 1.5",
    ),
    "limits that cross": (
        lambda t: t.update(min_price={"excl_vat": 2}, max_price={"excl_vat": 1}),
        "limits_cross",
        "min_price",
    ),
    "energy in a reservation": (
        lambda t: element(t)["restrictions"].update(reservation="RESERVATION"),
        "reservation_dimension",
        "elements[0].price_components[0].type",
    ),
    "a negative duration": (
        lambda t: element(t)["restrictions"].update(min_duration=-1),
        "bad_value",
        "elements[0].restrictions.min_duration: -1 must not be below 0",
    ),
    "a validity that is no time": (
        lambda t: t.update(start_date_time="2025-05-02"),
        "bad_value",
        "start_date_time: '2025-05-02' is not a time",
    ),
    "a floor above the cap": (
        lambda t: component(t).update(x_dynamic={"floor": 2, "cap": 1}),
        "limits_cross",
        "elements[0].price_components[0].x_dynamic.floor",
    ),
    "a name written wrong": (
        lambda t: component(t).update(vatt=19),
        "unknown_field",
        "elements[0].price_components[0].vatt: is not a field known here",
    ),
    "an unknown field of an element": (
        lambda t: element(t).update(restriction={}),
        "unknown_field",
        "elements[0].restriction: ",
    ),
    "an unknown field of a limit": (
        lambda t: t.update(min_price={"excl_vat": 1, "vat": 19}),
        "unknown_field",
        "min_price.vat: ",
    ),
    "an unknown field of the tariff": (lambda t: t.update(currencies=["EUR"]), "unknown_field", "currencies: "),
    "an unknown field of a dynamic price": (
        lambda t: component(t).update(x_dynamic={"spot": "s"}),
        "unknown_extension",
        "elements[0].price_components[0].x_dynamic.spot",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_tariff_names_its_element(name: str) -> None:
    change, code, where = BAD[name]
    tariff = good()
    change(tariff)
    with pytest.raises(InvalidMessage) as caught:
        decode_tariffs(json.dumps(tariff).encode(), "night.json")
    assert caught.value.reason == code
    assert caught.value.detail.startswith("night.json: ")
    assert where in caught.value.detail


@pytest.mark.parametrize(
    ("data", "where"),
    [
        (b'{"id": "A1",', "not JSON at line 1 column 13"),
        (b'{"id": NaN}', "NaN is not a JSON number"),
        (b'{"id": "A1", "id": "A2"}', "field 'id' occurs twice"),
        (b"\xff\xfe", "not UTF-8 at byte 0"),
        (b"[" * 100_000, "t.json"),
        (b"[]", "holds no tariff"),
        (b"7", "tariff: is not an object"),
    ],
)
def test_bytes_that_are_no_tariff_are_refused(data: bytes, where: str) -> None:
    with pytest.raises(InvalidMessage, match=r"t\.json") as caught:
        decode_tariffs(data, "t.json")
    assert where in caught.value.detail


def test_several_faults_are_counted() -> None:
    tariff = good()
    tariff["currency"] = "EUX"
    component(tariff)["price"] = None
    with pytest.raises(InvalidMessage, match=r"and 1 more"):
        decode_tariffs(json.dumps(tariff).encode(), "t.json")


def test_the_schema_accepts_every_golden_tariff_and_refuses_a_bad_one() -> None:
    schema = json.loads(SCHEMA.read_bytes())
    Draft202012Validator.check_schema(schema)
    validator = Draft202012Validator(schema)
    assert GOLDEN
    assert [path.parent.name for path in GOLDEN if not validator.is_valid(json.loads(path.read_bytes()))] == []
    for name in ("a restriction that nobody knows", "an extension that nobody knows", "a price as text", "no elements"):
        tariff = good()
        BAD[name][0](tariff)
        assert not validator.is_valid(tariff), name


def tariffs(*changes: dict[str, Any]) -> list[Any]:
    return [decode_tariffs(json.dumps(good() | change).encode(), "t")[0] for change in changes]


def test_the_tariff_valid_at_the_start_is_chosen() -> None:
    """D19: the end of validity is exclusive; the latest start of validity wins; a type before no type."""
    may, june = "2025-05-01T00:00:00Z", "2025-06-01T00:00:00Z"
    known = tariffs({"end_date_time": june}, {"start_date_time": june}, {"start_date_time": may, "end_date_time": june})
    assert choose(known, ["A1"], instant(june) - 1) is known[2]
    assert choose(known, ["A1"], instant(june)) is known[1]
    typed = tariffs({}, {"type": "AD_HOC_PAYMENT"}, {"type": "REGULAR"})
    assert choose(typed, ["A1"], 0, "AD_HOC_PAYMENT") is typed[1]
    assert choose(typed[:2], ["A1"], 0, "REGULAR") is typed[0]


def test_among_versions_the_one_in_force_is_chosen() -> None:
    versions = tariffs({"last_updated": "2025-05-01T00:00:00Z"}, {"last_updated": "2025-06-01T00:00:00Z"})
    assert choose(versions, ["A1"], instant("2025-05-15T00:00:00Z")) is versions[0]
    assert choose(versions, ["A1"], instant("2025-07-15T00:00:00Z")) is versions[1]
    assert choose(versions, ["A1"], instant("2025-01-15T00:00:00Z")) is versions[0], "the oldest, where all are younger"


def test_no_tariff_or_a_tie_is_an_error_not_a_guess() -> None:
    with pytest.raises(CannotPrice, match="TARIFF_MISSING"):
        choose(tariffs({}), ["other"], 0)
    with pytest.raises(CannotPrice, match="TARIFF_AMBIGUOUS"):
        choose(tariffs({}, {"id": "A2"}), ["A1", "A2"], 0)
    with pytest.raises(CannotPrice, match="TARIFF_AMBIGUOUS"):
        choose(tariffs({}, {"currency": "DKK"}), ["A1"], 0)
