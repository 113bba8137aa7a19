"""Commands price, verify, lint and preview: outputs, exit codes, one clear sentence for bad files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pipeline.cli import run

GOLDEN = Path(__file__).parents[1] / "golden" / "pricing"
CASE = GOLDEN / "1-time-of-use-across-midnight"


def cdr(**changes: Any) -> dict[str, Any]:
    component = {"type": "ENERGY", "price": 0.30, "vat": 20, "step_size": 1}
    window = {"start_time": "22:00", "end_time": "06:00"}
    return {
        "start_date_time": "2025-06-13T21:00:00Z",
        "end_date_time": "2025-06-13T22:00:00Z",
        "currency": "EUR",
        "tariffs": [
            {"id": "C1", "currency": "EUR", "elements": [{"price_components": [component], "restrictions": window}]}
        ],
        "charging_periods": [
            {"start_date_time": "2025-06-13T21:00:00Z", "dimensions": [{"type": "ENERGY", "volume": 10}]}
        ],
        "total_cost": {"excl_vat": 3.0, "incl_vat": 3.6},
        "total_energy": 10,
        **changes,
    }


@pytest.fixture
def cdr_file(tmp_path: Path) -> Path:
    path = tmp_path / "cdr.json"
    path.write_text(json.dumps(cdr()))
    return path


def test_price_prints_the_bill_of_a_cdr(cdr_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["price", str(cdr_file), "--time-zone", "Europe/Berlin"]) == 0
    bill = json.loads(capsys.readouterr().out)
    assert bill["total"] == {"excl_vat": "3.0000", "incl_vat": "3.6000"}
    assert bill["payable"] == {"excl_vat": "3.00", "incl_vat": "3.60"}
    assert bill["billed_volumes"]["ENERGY"] == {
        "unit": "kWh", "quantity": "10.000000", "billed_quantity": "10.000000",
    }  # fmt: skip
    assert bill["lines"][0]["from_utc"] == "2025-06-13T21:00:00Z"
    assert bill["lines"][0]["local_from"] == "2025-06-13T23:00:00+02:00"


def test_price_prints_the_bill_of_a_session(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["price", str(CASE / "session.json"), "--tariff", str(CASE / "tariff.json")]) == 0
    assert json.loads(capsys.readouterr().out)["total"] == {"excl_vat": "7.8840", "incl_vat": "9.5396"}


def test_price_takes_the_quote_of_a_session(capsys: pytest.CaptureFixture[str]) -> None:
    case = GOLDEN / "quote-binds-for-300-seconds"
    assert run(["price", str(case / "session.json"), "--tariff", str(case / "tariff.json")]) == 0
    bill = json.loads(capsys.readouterr().out)
    assert bill["quote"] == {"quote_id": "OFFER-1", "shown_at": "2025-07-01T16:27:00Z"}
    assert bill["locked_at"] == "2025-07-01T16:27:00Z"


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ("OFFER-1", "quote: is not an object with quote_id and shown_at"),
        ({"shown_at": "2025-07-01T16:27:00Z"}, "quote.quote_id: is missing"),
        ({"quote_id": "Q" * 65, "shown_at": "2025-07-01T16:27:00Z"}, "quote.quote_id: is longer than 64 characters"),
        ({"quote_id": "Q"}, "quote.shown_at: is missing"),
        ({"quote_id": "Q", "shown_at": "soon"}, "quote.shown_at: 'soon' is not"),
        ({"quote_id": "Q", "shown_at": "2025-07-01T16:27:00Z", "price": 1}, "quote.price: is not a field of a quote"),
    ],
)
def test_price_says_what_is_wrong_with_a_quote(
    given: object, text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    case, file = GOLDEN / "quote-binds-for-300-seconds", tmp_path / "session.json"
    file.write_text(json.dumps(json.loads((case / "session.json").read_text()) | {"quote": given}))
    assert run(["price", str(file), "--tariff", str(case / "tariff.json")]) == 1
    assert text in capsys.readouterr().err


def test_price_never_guesses_the_zone(cdr_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["price", str(cdr_file)]) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert "TIME_ZONE_MISSING" in said.err
    assert run(["price", str(cdr_file), "--time-zone", "Europe/Bonn"]) == 2
    assert "'Europe/Bonn' is not an IANA time zone" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ({"charging_periods": []}, "charging_periods: is empty"),
        ({"start_date_time": "yesterday"}, "start_date_time: 'yesterday' is not a time"),
        ({"currency": "EUX"}, "currency: 'EUX'"),
        ({"tariffs": [{"id": "C1"}]}, "tariffs[0].currency: is missing"),
        ({"end_date_time": "2025-06-13T20:00:00Z"}, "end_date_time: is before"),
    ],
)
def test_a_bad_cdr_is_named_and_never_priced(
    change: dict[str, Any], where: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "cdr.json"
    path.write_text(json.dumps(cdr(**change)))
    for command, code in ((["price"], 1), (["verify"], 2)):
        assert run([*command, str(path), "--time-zone", "UTC"]) == code
        said = capsys.readouterr()
        assert said.out == ""
        assert f"{path}: " in said.err
        assert where in said.err


def test_a_volume_that_is_not_stated_is_told_and_never_priced(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, dimensions = tmp_path / "cdr.json", [{"type": "TIME", "volume": 1}]
    periods = [{"start_date_time": "2025-06-13T21:00:00Z", "dimensions": dimensions}]
    path.write_text(json.dumps(cdr(charging_periods=periods)))
    arguments = [str(path), "--time-zone", "Europe/Berlin"]
    assert run(["verify", *arguments]) == 3
    said = "total_cost, total_energy not known, because a charging period does not state ENERGY"
    assert f"NOT_VERIFIABLE\n  missing ENERGY_UNKNOWN: {said}" in capsys.readouterr().out
    assert run(["price", *arguments]) == 1
    assert "ENERGY_UNKNOWN" in capsys.readouterr().err
    dimensions[0] |= {"type": "ENERGY", "volume": -10}
    path.write_text(json.dumps(cdr(charging_periods=periods)))
    assert run(["price", *arguments]) == 1
    assert "NEGATIVE_VOLUME" in capsys.readouterr().err


def test_verify_answers_with_its_exit_code(cdr_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["verify", str(cdr_file), "--time-zone", "Europe/Berlin"]) == 0
    assert capsys.readouterr().out.startswith("OK\n")
    assert run(["verify", str(cdr_file)]) == 3
    assert capsys.readouterr().out.startswith("NOT_VERIFIABLE\n")
    cdr_file.write_text(json.dumps(cdr(total_cost={"excl_vat": 3.5, "incl_vat": 4.2})))
    assert run(["verify", str(cdr_file), "--time-zone", "Europe/Berlin", "--json"]) == 1
    verdict = json.loads(capsys.readouterr().out)
    assert verdict["verdict"] == "MISMATCH"
    assert [(each["code"], each["difference"]) for each in verdict["findings"]] == [
        ("TOTAL_EXCL", "0.5000"), ("TOTAL_INCL", "0.6000"),
    ]  # fmt: skip
    assert run(["verify", str(cdr_file), "--time-zone", "Europe/Berlin", "--tolerance", "1"]) == 0


def test_a_file_without_a_tariff_is_not_passed_by_lint(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "none.json").write_text("[]")
    assert run(["lint", str(tmp_path / "none.json")]) == 1
    assert "none.json: holds no tariff" in capsys.readouterr().err


def test_lint_says_what_is_wrong_and_where(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good, bad = CASE / "tariff.json", tmp_path / "bad.json"
    assert run(["lint", str(good), "--time-zone", "Europe/Amsterdam"]) == 0
    assert "warning wrapped_window_with_day: elements[0].restrictions" in capsys.readouterr().out
    bad.write_text(json.dumps({"id": "B1", "currency": "EUR", "elements": []}))
    assert run(["lint", str(bad), "--json"]) == 1
    (finding,) = json.loads(capsys.readouterr().out)["findings"]
    assert (finding["code"], finding["severity"], finding["where"]) == ("no_elements", "error", "elements")


def test_preview_ranks_tariffs_by_cost(capsys: pytest.CaptureFixture[str]) -> None:
    dear = GOLDEN / "4-idle-fee-with-grace" / "tariff.json"
    arguments = [
        *("preview", "--tariff", str(dear), "--tariff", str(CASE / "tariff.json"), "--time-zone", "Europe/Amsterdam"),
        *("--from", "2025-06-13T19:30:00Z", "--to", "2025-06-13T22:30:00Z", "--energy", "32.4"),
    ]
    assert run([*arguments, "--json"]) == 0
    bills = json.loads(capsys.readouterr().out)
    assert [(bill["tariff_id"], bill["total"]["excl_vat"]) for bill in bills] == [("T1", "7.8840"), ("T4", "14.5800")]
    assert run(arguments) == 0
    assert "22:00-06:00" in capsys.readouterr().out
    assert run([*arguments[:-1], "much"]) == 2


def test_what_if_shows_the_effect_of_other_tariffs_per_site(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """10 kWh at night, billed 3.00: 4.00 under 0.40 per kWh."""
    begin_us = 1_749_850_200_000_000
    session = {
        "session_id": "A",
        "revision": 1,
        "site_id": "S1",
        "status": "completed",
        "started_at_us": begin_us,
        "ended_at_us": begin_us + 900_000_000,
        "bill_state": "FINAL",
        "total_excl_vat": "3.0000",
        "slots": [{"start_us": begin_us, "energy_wh": 10_000, "occupied_s": 900, "charging_s": 900}],
    }
    site = {
        "site_id": "S1", "name": "S1", "time_zone": "Europe/Berlin", "country": "DE", "tariff_ids": ["T9"],
        "stations": [],
    }  # fmt: skip
    component = {"type": "ENERGY", "price": 0.40, "vat": 19}
    tariff = {"id": "T9", "currency": "EUR", "elements": [{"price_components": [component]}]}
    for name, document in (("sessions.jsonl", session), ("sites.json", [site]), ("tariffs.json", tariff)):
        (tmp_path / name).write_text(json.dumps(document))
    arguments = ["what-if", str(tmp_path / "sessions.jsonl"), "--sites", str(tmp_path / "sites.json")]
    assert run([*arguments, "--tariffs", str(tmp_path / "tariffs.json"), "--json"]) == 0
    (effect,) = json.loads(capsys.readouterr().out)
    assert (effect["revenue_before"], effect["revenue_after"], effect["losers"]) == ("3.0000", "4.0000", 1)
    assert effect["off_peak_share"] == 1.0
    assert run([*arguments, "--tariffs", str(tmp_path / "tariffs.json"), "--off-peak", "night"]) == 2
