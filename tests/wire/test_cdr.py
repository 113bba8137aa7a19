"""CDRs of OCPI 2.1.1, 2.2.1 and 2.3.0 are the same Cdr; `--tariff` replaces what stands inside, however broken."""

from __future__ import annotations

import json
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from pipeline.cli import run
from pipeline.domain.checking.cdr import Amount
from pipeline.errors import InvalidMessage
from pipeline.wire.cdr import decode_cdr
from pipeline.wire.json_values import parse

TARIFF_211: dict[str, Any] = {
    "id": "12",
    "currency": "EUR",
    "tariff_alt_text": [{"language": "en", "text": "2.00 p/hour"}],
    "tariff_alt_url": "https://example.com/tariff/12",
    "elements": [
        {
            "price_components": [{"type": "TIME", "price": 2.0, "step_size": 300}],
            "restrictions": {"start_time": "08:00", "end_time": "20:00", "day_of_week": ["MONDAY", "TUESDAY"]},
        },
        {"price_components": [{"type": "FLAT", "price": 0.5, "step_size": 1}]},
        {"price_components": [{"type": "ENERGY", "price": 0.25, "step_size": 1}]},
    ],
    "energy_mix": {"is_green_energy": True},
    "last_updated": "2015-06-29T20:39:09Z",
}
CDR_211: dict[str, Any] = {
    "id": "12345",
    "start_date_time": "2026-03-02T08:00:00Z",
    "stop_date_time": "2026-03-02T10:00:00Z",
    "auth_id": "DE8ACC12E46L89",
    "auth_method": "WHITELIST",
    "location": {
        "id": "LOC1", "type": "ON_STREET", "name": "Gent Zuid", "address": "F.Rooseveltlaan 3A", "city": "Gent",
        "postal_code": "9000", "country": "BEL", "coordinates": {"latitude": "3.729944", "longitude": "51.047599"},
        "evses": [{"uid": "3256", "connectors": [{"id": "1", "tariff_id": "12"}]}],
    },
    "meter_id": "M-1",
    "currency": "EUR",
    "tariffs": [TARIFF_211],
    "charging_periods": [
        {
            "start_date_time": "2026-03-02T08:00:00Z",
            "dimensions": [
                {"type": "TIME", "volume": 1.5}, {"type": "ENERGY", "volume": 15.342}, {"type": "FLAT", "volume": 1},
                {"type": "MAX_CURRENT", "volume": 32},
            ],
        },
        {"start_date_time": "2026-03-02T09:30:00Z", "dimensions": [{"type": "PARKING_TIME", "volume": 0.5}]},
    ],
    "total_cost": 7.34,
    "total_energy": 15.342,
    "total_time": 2,
    "total_parking_time": 0.5,
    "remark": "thank you",
    "last_updated": "2026-03-02T10:01:00Z",
}  # fmt: skip


def decode(document: object) -> Any:
    return decode_cdr(json.dumps(document).encode(), "cdr.json")


def as_221(document: dict[str, Any]) -> dict[str, Any]:
    """The same record as OCPI 2.2.1 writes it."""
    moved = {"stop_date_time": "end_date_time", "location": "cdr_location"}
    found = {moved.get(name, name): value for name, value in document.items() if name != "auth_id"}
    return found | {
        "country_code": "BE",
        "party_id": "BEC",
        "cdr_token": {"uid": "0000", "type": "RFID", "contract_id": "X"},
        "total_cost": {"excl_vat": document["total_cost"]},
    }


def test_a_record_of_211_is_the_same_as_that_of_221() -> None:
    old, new = decode(CDR_211), decode(as_221(CDR_211))
    for name in ("claim", "currency", "costs", "volumes", "credit"):
        assert getattr(old, name) == getattr(new, name), name
    assert [tariff.content_hash for tariff in old.tariffs] == [tariff.content_hash for tariff in new.tariffs]
    assert old.claim.end_us - old.claim.start_us == 7_200_000_000
    assert old.costs == {"total_cost": Amount(excl=Decimal("7.34"))}


def test_a_record_of_211_is_verified_like_any_other(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """3.00 for 90 minutes, 0.50 flat, 3.8355 for the energy."""
    file = tmp_path / "cdr.json"
    for cost, code, verdict in ((7.34, 0, "OK"), (7.3355, 0, "OK"), (8.34, 1, "MISMATCH")):
        file.write_text(json.dumps(CDR_211 | {"total_cost": cost}))
        assert run(["verify", str(file), "--time-zone", "Europe/Brussels"]) == code
        assert capsys.readouterr().out.startswith(verdict)
    assert run(["price", str(file), "--time-zone", "Europe/Brussels"]) == 0
    assert json.loads(capsys.readouterr().out)["total"]["excl_vat"] == "7.3355"
    (tmp_path / "tariff.json").write_text(json.dumps(TARIFF_211))
    assert run(["lint", str(tmp_path / "tariff.json"), "--time-zone", "Europe/Brussels"]) == 0


def test_a_tariff_of_211_prices_a_record_that_holds_none(tmp_path: Path) -> None:
    """`tariffs` is optional in 2.1.1."""
    bare = {name: value for name, value in CDR_211.items() if name != "tariffs"}
    (tmp_path / "cdr.json").write_text(json.dumps(bare))
    (tmp_path / "tariff.json").write_text(json.dumps([TARIFF_211]))
    assert run(["verify", str(tmp_path / "cdr.json"), "--time-zone", "Europe/Brussels"]) == 3
    given = ["--tariff", str(tmp_path / "tariff.json")]
    assert run(["verify", str(tmp_path / "cdr.json"), "--time-zone", "Europe/Brussels", *given]) == 0


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"stop_date_time": "2026-03-02T07:00:00Z"}, "stop_date_time: is before start_date_time"),
        ({"stop_date_time": "soon"}, "stop_date_time: 'soon' is not a time"),
        ({"end_date_time": "2026-03-02T10:00:01Z"}, "stop_date_time: is not end_date_time"),
        ({"total_cost": "7.34"}, "total_cost: '7.34' is not an object"),
        ({"total_cost": [7.34], "currency": "XXX"}, "and 1 more)"),
        ({"credit": "true"}, "credit: 'true' is not true or false"),
    ],
)
def test_what_is_wrong_is_named(change: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidMessage) as refused:
        decode(CDR_211 | change)
    assert said in str(refused.value)
    assert "lint" not in str(refused.value), "that is for tariffs"
    assert "DE8ACC12E46L89" not in str(refused.value)


def test_a_record_without_an_end_is_told_both_names() -> None:
    with pytest.raises(InvalidMessage, match=r"end_date_time: is missing \(in OCPI 2\.1\.1: stop_date_time\)"):
        decode({name: value for name, value in CDR_211.items() if name != "stop_date_time"})
    same = decode(CDR_211 | {"end_date_time": "2026-03-02T11:00:00+01:00"})
    assert same.claim == decode(CDR_211).claim


def test_a_tariff_that_the_record_names_and_nobody_gave_is_missing_and_no_contradiction(tmp_path: Path) -> None:
    """The record is not wrong because another tariff was given."""
    periods = [each | {"tariff_id": "12"} for each in CDR_211["charging_periods"]]
    (tmp_path / "cdr.json").write_text(json.dumps(CDR_211 | {"charging_periods": periods}))
    (tmp_path / "tariff.json").write_text(json.dumps(TARIFF_211 | {"id": "13"}))
    given = ["--time-zone", "Europe/Brussels"]
    assert run(["verify", str(tmp_path / "cdr.json"), *given]) == 0
    assert run(["verify", str(tmp_path / "cdr.json"), *given, "--tariff", str(tmp_path / "tariff.json")]) == 3


BROKEN = {
    "no list": '"none"',
    "null": "null",
    "an object": '{"id": "12"}',
    "no object inside": "[7]",
    "no elements": '[{"id": "12", "currency": "EUR"}]',
    "a bad price": '[{"id": "12", "currency": "EUR", "elements": [{"price_components": [{"price": "x"}]}]}]',
    "an unknown field": '[{"id": "12", "currency": "EUR", "elements": [], "colour": "red"}]',
    "a field twice": '[{"id": "12", "id": "13"}]',
    "not a number": '[{"id": "12", "price": NaN}]',
    "an impossible window": '[{"elements": [{"restrictions": {"start_time": "25:00"}}]}]',
}


@pytest.mark.parametrize("broken", BROKEN.values(), ids=BROKEN)
@pytest.mark.parametrize("shape", [CDR_211, as_221(CDR_211)], ids=["2.1.1", "2.2.1"])
def test_a_given_tariff_replaces_a_broken_one(
    broken: str, shape: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also inside a list of one CDR."""
    text = json.dumps(shape | {"tariffs": "HERE"}).replace('"HERE"', broken)
    (tmp_path / "tariff.json").write_text(json.dumps(TARIFF_211))
    given = ["--time-zone", "Europe/Brussels", "--tariff", str(tmp_path / "tariff.json")]
    for written in (text, f"[{text}]"):
        (tmp_path / "cdr.json").write_text(written)
        assert run(["verify", str(tmp_path / "cdr.json"), *given]) == 0
        assert capsys.readouterr().out.startswith("OK")
        assert run(["price", str(tmp_path / "cdr.json"), *given]) == 0
        assert json.loads(capsys.readouterr().out)["total"]["excl_vat"] == "7.3355"
    if broken != "null":
        assert run(["verify", str(tmp_path / "cdr.json"), *given[:2]]) == 2
        said = capsys.readouterr().err
        assert "cdr.json: tariffs" in said or "twice" in said or "not a JSON number" in said
        assert ("--tariff FILE replaces" in said) is ("cdr.json: tariffs" in said)


@pytest.mark.parametrize("text", ['{"a": 1, "a": 2}', '{"a": [{"b": 1, "b": 2}]}', "[NaN]", '{"a": {"b": -Infinity}}'])
def test_what_is_not_clear_json_is_refused_outside_of_what_is_replaced(text: str) -> None:
    for without in (None, "tariffs"):
        with pytest.raises(InvalidMessage, match=r"twice|not a JSON number"):
            parse(text.encode(), "f", without=without)
    with pytest.raises(InvalidMessage, match=r"twice|not a JSON number"):
        parse(f'{{"tariffs": {text}}}'.encode(), "f")
    assert parse(f'{{"tariffs": {text}, "b": 1}}'.encode(), "f", without="tariffs") == {"b": 1}


def test_a_given_tariff_replaces_that_of_a_real_record(
    reference_file: Callable[[str], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    document = json.loads(reference_file("ocpi/cdr_nl_hourly/cdr.json").read_bytes())
    (tmp_path / "tariff.json").write_text(json.dumps(document["tariffs"]))
    document["tariffs"] = [{"id": document["tariffs"][0]["id"], "elements": "lost"}]
    (tmp_path / "cdr.json").write_text(json.dumps(document))
    given = ["--time-zone", "Europe/Amsterdam", "--tariff", str(tmp_path / "tariff.json")]
    assert run(["price", str(tmp_path / "cdr.json"), *given]) == 0
    assert json.loads(capsys.readouterr().out)["total"] == {"excl_vat": "1.8370", "incl_vat": "2.2228"}
