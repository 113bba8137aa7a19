"""A receipt is checked from its own bytes: no altered byte and no altered amount passes."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec import UNSET
from msgspec.structs import replace

from pipeline.domain.checking.receipts import check, check_credit
from pipeline.domain.checking.verify import Verdict
from pipeline.domain.receipts import Credit, Receipt, claims_of
from pipeline.errors import InvalidMessage
from pipeline.runtime.logic import Output
from pipeline.wire.receipts import content_hash, decode_receipt, facts_of, is_receipt, signals_of, tariff_of
from tests.receipts import TARIFF, TOKEN, TRANSACTION, rating, receipts, story
from tests.schemas.declarations import example_faults, schema_of

EXAMPLES = Path(__file__).parents[2] / "schemas" / "examples" / "receipts" / "v1"
BILL = (EXAMPLES / "bill.json").read_bytes()
POWER_BILL = (EXAMPLES / "bill-with-powers.json").read_bytes()
CREDIT = (EXAMPLES / "credit.json").read_bytes()


def bill_of(data: bytes) -> Receipt:
    found = decode_receipt(data, "r.json")
    assert isinstance(found, Receipt)
    return found


def credit_of(data: bytes) -> Credit:
    found = decode_receipt(data, "r.json")
    assert isinstance(found, Credit)
    return found


def verdict(data: bytes) -> Verdict:
    receipt = bill_of(data)
    return check(receipt, content_hash(data), facts_of(receipt), tariff_of(receipt), signals_of(receipt))


def codes(found: Verdict) -> set[str]:
    return {finding.code for finding in found.findings}


def resealed(data: bytes, old: str, new: str) -> bytes:
    """Altered by somebody who knows how the hash is made."""
    text = data.decode()
    assert old in text
    altered = text.replace(old, new, 1).encode()
    return re.sub(rb'"hash":"[0-9a-f]{64}"}\n?$', b'"hash":"%s"}' % content_hash(altered).encode(), altered)


@pytest.mark.parametrize("name", ["bill", "corrected-bill", "bill-with-powers", "decided-bill"])
def test_a_receipt_that_was_written_long_ago_is_right(name: str) -> None:
    found = verdict((EXAMPLES / f"{name}.json").read_bytes())
    assert (found.verdict, found.findings) == ("OK", ())
    assert found.bill is not None
    assert found.bill.lines


def test_the_pipeline_writes_the_very_bytes_of_the_examples() -> None:
    written = receipts(story())
    assert list(written) == ["1:BILL", "1:CREDIT", "2:BILL"]
    for key, name in {"1:BILL": "bill", "1:CREDIT": "credit", "2:BILL": "corrected-bill"}.items():
        assert written[key] + b"\n" == (EXAMPLES / f"{name}.json").read_bytes(), key
    (with_powers,) = receipts(powered()).values()
    assert with_powers + b"\n" == POWER_BILL


def powered() -> Iterator[Output]:
    """The story's mean is 10.8 kW throughout, and once the charger states less; nothing is stated with two readings."""
    tier = {"price_components": [{"type": "ENERGY", "price": 0.79, "vat": 19}], "restrictions": {"min_power": 10.5}}
    tariff = TARIFF | {"elements": [TARIFF["elements"][0], tier, TARIFF["elements"][2]]}
    stated = {5: 10_900, 10: 10_499, 15: 10_500, 30: 0, 35: 11_000}
    return story(late={}, rated=rating(tariff), powers=stated)


def test_a_receipt_says_what_the_charger_stated_and_its_bill_rests_on_it() -> None:
    receipt = bill_of(POWER_BILL)
    assert receipt.powers_w == [None, 10_900, 10_499, 10_500, None, 0, 11_000, None]
    prices = [(line.quantity, line.unit_price) for line in receipt.lines if line.dimension == "ENERGY"]
    assert prices == [
        ("1.800000", "0.79"), ("0.900000", "0.49"), ("2.700000", "0.79"), ("0.900000", "0.49"), ("0.900000", "0.79"),
    ]  # fmt: skip
    altered = verdict(resealed(POWER_BILL, "10499", "10500"))
    assert "TOTAL_EXCL" in codes(altered)
    forgotten = verdict(resealed(POWER_BILL, "10499", "null"))
    assert "TOTAL_EXCL" in codes(forgotten), "the mean is another one"


def test_a_receipt_in_which_nothing_is_stated_has_no_powers() -> None:
    """As those that were written before there was such a field; nothing of them is another byte."""
    (value,) = receipts(story(late={})).values()
    assert bill_of(value).powers_w is UNSET
    assert "powers_w" not in json.loads(value)
    assert [reading.power_w for reading in facts_of(bill_of(value)).readings] == [None] * len(bill_of(value).times_us)


def test_what_was_stated_between_two_readings_decides_from_then_on() -> None:
    """No more than 10.5 kW for the last 100 s of the first interval."""
    value = resealed(POWER_BILL, ',"hash":', ',"powers_between":[[1750103000000000,10499]],"hash":')
    assert example_faults(schema_of("receipts"), json.loads(value)) == []
    found = verdict(value)
    assert found.bill is not None
    first, second, *_ = [line.quantity for line in found.bill.lines if line.dimension == "ENERGY"]
    assert (first, second) == ("0.600000", "0.300000")
    assert "TOTAL_EXCL" in codes(found), "that is not what was billed"


def test_what_was_stated_is_a_fact_and_no_claim() -> None:
    bill = bill_of(POWER_BILL)
    assert claims_of(replace(bill, powers_w=UNSET, powers_between=[(1, 1)])) == claims_of(bill)


ACCOUNT = {
    "used": 8,
    "repeated": 1,
    "left_out": [
        {"reason": "OTHER_PHASE", "count": 12, "first": [{"at_us": 1750103100000000, "value": "33.5 kWh L1"}],
         "from_us": 1750103100000000, "to_us": 1750103700000000}
    ],
    "facts": [{"fact": "baseline", "from": "meterStart 100000 Wh"}],
    "hypotheses": [{"name": "REGISTER_WRAPPED", "energy_wh": 7200}],
}  # fmt: skip


def test_an_account_of_the_evidence_is_carried_and_not_judged() -> None:
    (written,) = re.findall(r',"account":.*(?=,"hash":)', BILL.decode())
    value = resealed(BILL, written, f',"account":{json.dumps(ACCOUNT, separators=(",", ":"))}')
    assert verdict(value).verdict == "OK"
    receipt = bill_of(value)
    assert json.loads(msgspec.json.encode(receipt.account)) == ACCOUNT
    assert msgspec.json.encode(receipt) == value, "written as it was read"
    assert claims_of(receipt) == claims_of(bill_of(BILL))
    assert example_faults(schema_of("receipts"), json.loads(value)) == []
    assert example_faults(schema_of("receipts"), json.loads(value.replace(b'to_us":17', b'until_us":17', 2)))


def test_no_identifier_is_in_a_receipt() -> None:
    for value in receipts(story()).values():
        assert TOKEN.encode() not in value
        assert TRANSACTION.encode() not in value


def test_no_altered_byte_passes() -> None:
    content = BILL.rstrip()
    assert verdict(content).verdict == "OK"
    refused = 0
    for place in range(0, len(content), 2):
        altered = bytearray(content)
        altered[place] ^= 1 << (place // 2 % 7)
        try:
            found = verdict(bytes(altered))
        except InvalidMessage:
            refused += 1
            continue
        assert found.verdict == "MISMATCH", place
    assert 0 < refused < len(content) / 2


def test_a_receipt_that_was_laid_out_anew_is_told_apart() -> None:
    pretty = json.dumps(json.loads(BILL), indent=2).encode()
    assert is_receipt(pretty)
    assert codes(verdict(pretty)) == {"HASH"}


@pytest.mark.parametrize(
    ("old", "new", "code"),
    [
        ('"total_excl_vat":"3.3080"', '"total_excl_vat":"3.3180"', "TOTAL_EXCL"),
        ('"payable_incl_vat":"3.94"', '"payable_incl_vat":"3.95"', "PAYABLE_INCL"),
        ('"payable":"0.63"', '"payable":"0.64"', "TAX"),
        ('"amount_excl":"1.7640"', '"amount_excl":"1.7641"', "LINE"),
        ('"registers_wh":[100000,100900', '"registers_wh":[100000,100901', ""),
        ('"registers_wh":[100000,', '"registers_wh":[100001,', "ENERGY"),
        ('"price":0.49', '"price":0.48', "TARIFF_HASH"),
        ('"time_zone":"Europe/Berlin"', '"time_zone":"Europe/London"', "LINE"),
        ('"billable":true', '"billable":false', "TOTAL_EXCL"),
        ('"notes":[]', '"notes":["paid"]', "NOTES"),
    ],
)  # fmt: skip
def test_an_altered_amount_is_found_although_the_hash_fits(old: str, new: str, code: str) -> None:
    found = verdict(resealed(BILL, old, new))
    assert "HASH" not in codes(found)
    if code:
        assert found.verdict == "MISMATCH"
        assert code in codes(found)
    else:  # a reading inside one price moves no money: only the hash guards it
        assert found.verdict == "OK"


def test_what_cannot_be_repeated_is_not_called_wrong() -> None:
    other = verdict(resealed(BILL, "minor unit; version 1", "minor unit; version 9"))
    assert (other.verdict, codes(other)) == ("NOT_VERIFIABLE", {"ROUNDING_POLICY_UNKNOWN"})
    nowhere = verdict(resealed(BILL, '"time_zone":"Europe/Berlin"', '"time_zone":null'))
    assert (nowhere.verdict, codes(nowhere)) == ("NOT_VERIFIABLE", {"TIME_ZONE_MISSING"})


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"times_us":[1750102800000000,', '"times_us":['),
        ('"times_us":[1750102800000000,', '"times_us":[1850102800000000,'),
        ('"format":', '"extra":1,"format":'),
        ('"type":"ENERGY"', '"type":"ENERGIE"'),
        (',"hash":', ',"powers_w":[1],"hash":'),
        (',"hash":', ',"powers_w":[1,2,3,4,5,6,7,-8],"hash":'),
        (',"hash":', ',"powers_between":[[1750103200000000,-1]],"hash":'),
        (',"hash":', ',"powers_between":[[1750102800000000,1]],"hash":'),
        (',"hash":', ',"powers_between":[[1750103200000000,1],[1750103200000000,2]],"hash":'),
        (',"hash":', ',"account":{"used":1},"hash":'),
    ],
)
def test_what_is_no_receipt_is_refused(old: str, new: str) -> None:
    with pytest.raises(InvalidMessage):
        verdict(resealed(BILL, old, new))


def test_a_credit_takes_back_just_its_bill() -> None:
    credit, bill = credit_of(CREDIT), bill_of(BILL)
    assert check_credit(credit, content_hash(CREDIT), bill).verdict == "OK"
    alone = check_credit(credit, content_hash(CREDIT), None)
    assert (alone.verdict, codes(alone)) == ("NOT_VERIFIABLE", {"BILL_MISSING"})
    other = check_credit(credit, content_hash(CREDIT), bill_of((EXAMPLES / "corrected-bill.json").read_bytes()))
    assert {"BILL_DIFFERS", "TOTAL_EXCL"} <= codes(other)
    altered = resealed(CREDIT, '"payable_incl_vat":"-3.94"', '"payable_incl_vat":"-3.84"')
    assert codes(check_credit(credit_of(altered), content_hash(altered), bill)) == {"PAYABLE_INCL"}
    assert codes(check_credit(credit, "0" * 64, bill)) == {"HASH"}


def test_a_session_that_is_not_billable_is_billed_nothing_and_says_so() -> None:
    (value,) = receipts(story(stop_after_min=1, late={})).values()
    receipt, found = bill_of(value), verdict(value)
    assert found.verdict == "OK"
    assert (receipt.billable, receipt.total_excl_vat, receipt.payable_incl_vat) == (False, "0.0000", "0.00")
    waiver = receipt.lines[-1]
    assert (waiver.kind, waiver.reason) == ("WAIVER", "NOT_BILLABLE")
    assert sum(round(float(line.amount_excl or 0) * 10_000) for line in receipt.lines) == 0


def dynamic(**more: object) -> dict[str, Any]:
    """The story's tariff, following the spot price (in quarters of an hour) and the availability of the site."""
    steps = [{"from_share": 0.5, "factor": 1}, {"from_share": 0, "factor": 1.2}]
    follows = {"signal": "spot", "fee": 0.05, "availability": {"signal": "availability", "factors": steps}}
    component = {"type": "ENERGY", "price": 0.6, "vat": 19, "x_dynamic": follows | more}
    return {**TARIFF, "elements": [{"price_components": [component]}]}


def quarter(series: str, number: int, **value: object) -> dict[str, Any]:
    """The `number`th quarter of an hour from 19:30 UTC on."""
    minute = 30 + 15 * number
    start = f"2025-06-16T{19 + minute // 60}:{minute % 60:02d}:00Z"
    return {"series": series, "start": start, "minutes": 15, **value}


def spot(number: int, price: float) -> dict[str, Any]:
    return quarter("spot", number, price=price, unit="MWh", currency="EUR")


SLOTS = [spot(number, 200 + 10.5 * number) for number in range(-3, 8)] + [
    quarter("availability:SITE-1", number, free=number % 2, total=2) for number in range(-3, 8)
]
"""Of the ten quarters the session meets those that begin at 19:30, 19:45, 20:00 and 20:15 UTC."""


@pytest.mark.parametrize(
    ("tariff", "slots", "used"),
    [
        (dynamic(), SLOTS, 8),
        (dynamic() | {"x_price_mode": "LOCKED"}, SLOTS, 2),
        (dynamic(on_missing="FALLBACK"), [each for each in SLOTS if "19:45" not in each["start"]], 6),
        (dynamic(on_missing="FALLBACK"), [], 0),
    ],
    ids=["follows", "locked", "one quarter missing", "all missing"],
)
def test_a_receipt_holds_the_signals_that_it_was_priced_by_and_no_others(
    tariff: dict[str, Any], slots: list[dict[str, Any]], used: int
) -> None:
    written = receipts(story(rated=rating(tariff, slots)))
    assert "1:BILL" in written
    for key, value in written.items():
        if key.endswith("CREDIT"):
            continue
        assert len(bill_of(value).signals) == used
        found = verdict(value)
        assert (found.verdict, found.findings) == ("OK", ()), key
        if used:
            wrong = verdict(resealed(value, '"price":200', '"price":201'))
            assert "TOTAL_EXCL" in codes(wrong)
    if used:
        without = re.sub(
            r'"signals":\[.*?\],"currency"', '"signals":[],"currency"', written["1:BILL"].decode()
        ).encode()
        assert verdict(resealed(without, '"notes":[]', '"notes":[]')).verdict != "OK"


def test_a_bill_that_is_held_has_no_receipt() -> None:
    """Without its signals: the price is not known (on_missing HOLD)."""
    assert receipts(story(rated=rating(dynamic(), []))) == {}
