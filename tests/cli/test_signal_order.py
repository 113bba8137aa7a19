"""No command lets the order of lines in a signals file decide a price."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pipeline.cli import run

TARIFF = {
    "id": "T",
    "currency": "EUR",
    "elements": [{"price_components": [
        {"type": "ENERGY", "price": 0.3, "step_size": 1, "x_dynamic": {"signal": "spot", "on_missing": "HOLD"}}]}],
}  # fmt: skip
SESSION = {
    "start": "2025-09-30T22:00:00Z", "end": "2025-09-30T23:00:00Z",
    "readings": [["2025-09-30T22:00:00Z", "0"], ["2025-09-30T23:00:00Z", "10"]],
}  # fmt: skip
CDR = {
    "start_date_time": "2025-09-30T22:00:00Z", "end_date_time": "2025-09-30T23:00:00Z", "currency": "EUR",
    "charging_periods": [
        {"start_date_time": "2025-09-30T22:00:00Z", "dimensions": [{"type": "ENERGY", "volume": 10}]}],
    "total_cost": {"excl_vat": 0.95},
}  # fmt: skip
START_US = 1_759_269_600_000_000
RECORDED = {
    "session_id": "A", "revision": 1, "site_id": "S1", "status": "completed", "bill_state": "FINAL",
    "started_at_us": START_US, "ended_at_us": START_US + 3_600_000_000, "total_excl_vat": "1.0000",
    "slots": [{"start_us": START_US, "energy_wh": 10_000, "occupied_s": 3600, "charging_s": 3600}],
}  # fmt: skip
SITE = {
    "site_id": "S1",
    "name": "S1",
    "time_zone": "Europe/Berlin",
    "country": "DE",
    "tariff_ids": ["T"],
    "stations": [],
}
WITH = ["--signals", "signals.json"]
COMMANDS = {
    "price": ["price", "session.json", "--tariff", "tariff.json", *WITH],
    "verify": ["verify", "cdr.json", "--tariff", "tariff.json", "--json", *WITH],
    "preview": ["preview", "--tariff", "tariff.json", "--from", "2025-09-30T22:00:00Z", "--to", "2025-09-30T23:00:00Z",
                "--energy", "10", "--json", *WITH],
    "what-if": ["what-if", "recorded.jsonl", "--sites", "sites.json", "--tariffs", "tariff.json", "--json", *WITH],
}  # fmt: skip


def slot(at: str, minutes: int, price: float, **more: Any) -> dict[str, Any]:
    start = f"2025-09-30T{at}:00Z"
    return {
        "series": "spot",
        "start": start,
        "minutes": minutes,
        "price": price,
        "unit": "MWh",
        "currency": "EUR",
        **more,
    }


def quarters(**more: Any) -> list[dict[str, Any]]:
    return [slot(f"22:{minute:02d}", 15, price, **more) for minute, price in ((0, 80), (15, -20), (30, 120), (45, 200))]


HOUR = slot("22:00", 60, 95)
FILES: dict[str, tuple[list[dict[str, Any]], bool]] = {
    "two auctions": ([HOUR, *quarters()], True),
    "one start, two prices": ([HOUR, slot("22:00", 60, 96)], True),
    "a shorter slot inside": ([HOUR, slot("22:15", 15, 80)], True),
    "the quarters are revisions": ([HOUR, *quarters(revision=2)], False),
    "the hour is a revision": ([slot("22:00", 60, 95, revision=2), *quarters()], False),
    "each a series of its own": ([HOUR, *(each | {"series": "intraday"} for each in quarters())], False),
    "the quarters were published later": (
        [HOUR | {"published_at": "2025-09-29T10:45:00Z"}, *quarters(published_at="2025-09-29T13:00:00Z")], False),
    "the same slot twice": ([HOUR, HOUR], False),
}  # fmt: skip


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("name", FILES)
def test_every_order_of_lines_has_the_same_answer(
    name: str,
    command: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    for file, content in (
        ("tariff.json", TARIFF), ("session.json", SESSION), ("cdr.json", CDR), ("recorded.jsonl", RECORDED),
        ("sites.json", SITE),
    ):  # fmt: skip
        Path(file).write_text(json.dumps(content))
    slots, is_refused = FILES[name]
    answers = []
    for order in (slots, slots[::-1], slots[1:] + slots[:1]):
        Path("signals.json").write_text(json.dumps(order))
        code = run(COMMANDS[command])
        said = capsys.readouterr()
        assert ("hold at the same time" in said.err) is is_refused
        answers.append((code, said.out))
    assert answers[0] == answers[1] == answers[2]
    assert (answers[0][1] == "") is is_refused
