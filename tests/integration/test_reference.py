"""Sites, tariffs and prices through their topics: a bill waits for them, a crash forgets nothing, a version is one."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer

from pipeline.topics import METER_EVENTS, SESSIONS
from tests.integration.stack import Stack, started

SITE = {
    "site_id": "S1", "name": "Harbour", "time_zone": "Europe/Berlin", "country": "DE", "tariff_ids": ["T"],
    "stations": [{"station_id": "CP-1", "connectors": [
        {"connector_id": 1, "power_type": "AC", "max_power_w": 22000, "expected_duration_s": 36000}]}],
}  # fmt: skip
TARIFF = {
    "id": "T", "currency": "EUR", "last_updated": "2026-01-01T00:00:00Z",
    "elements": [{"price_components": [{"type": "ENERGY", "price": 0.5, "vat": 19, "step_size": 1,
                                        "x_dynamic": {"signal": "spot", "fee": 0.1, "on_missing": "HOLD"}}]}],
}  # fmt: skip


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with started(tmp_path_factory.mktemp("reference")) as stack:
        yield stack


def hour_of(us: int) -> int:
    return us // 3_600_000_000 * 3600


def charge(stack: Stack, transaction: str, start_us: int, kwh: int = 10) -> None:
    """An hour's session."""
    producer = Producer({"bootstrap.servers": stack.settings.kafka, "partitioner": "murmur2_random"})
    base = {"station_id": "CP-1", "transaction_id": transaction}
    register = 0 if transaction == "1" else 10_000
    for kind, after, wh in (
        ("session_started", 0, 0), ("meter_read", 1200, kwh * 333), ("meter_read", 2400, kwh * 667),
        ("session_ended", 3600, kwh * 1000),
    ):  # fmt: skip
        at = start_us + after * 1_000_000
        event = base | {"type": kind, "connector_id": 1, "event_time_us": at, "received_time_us": at}
        producer.produce(METER_EVENTS.name, json.dumps(event | {"register_wh": register + wh}).encode(), b"CP-1")
    assert producer.flush(10) == 0


def revisions(stack: Stack, wanted: int) -> list[dict[str, Any]]:
    deadline = time.monotonic() + 30
    while True:
        found = [json.loads(message.value() or b"") for message in stack.records(SESSIONS.name)]
        if len(found) >= wanted:
            return found
        assert time.monotonic() < deadline, [(each["revision"], each["held_reason"]) for each in found]
        time.sleep(0.3)


def publish(stack: Stack, what: str, file: Path, document: object, *options: str) -> dict[str, Any]:
    file.write_text(document if isinstance(document, str) else json.dumps(document))
    done = stack.chargeline(what, "publish", file, *options, "--json")
    assert (done.returncode, done.stderr) == (0, "")
    report: dict[str, Any] = json.loads(done.stdout)
    return report


def test_a_bill_waits_for_site_tariff_and_price_and_survives_a_crash(stack: Stack, tmp_path: Path) -> None:
    began_us = time.time_ns() // 1000 - 3 * 3_600_000_000
    charge(stack, "1", began_us)
    revisions(stack, 1)
    assert publish(stack, "sites", tmp_path / "sites.json", SITE)["published"] == 1
    revisions(stack, 2)
    stack.kill("assemble")
    assert publish(stack, "tariffs", tmp_path / "tariffs.json", [TARIFF])["published"] == 1
    stack.start("assemble")
    revisions(stack, 3)
    hours = [hour_of(began_us) + 3600 * number for number in range(5)]
    prices = "unix_seconds,price_eur\n" + "".join(f"{hour},200\n" for hour in hours)
    options = ("--series", "spot", "--minutes", "60", "--currency", "EUR")
    assert publish(stack, "prices", tmp_path / "p.csv", prices, *options) == {
        "topic": "price-signals", "published": 5, "already_there": 0,
    }  # fmt: skip
    found = revisions(stack, 4)
    assert [(each["revision"], each["bill_state"], each["held_reason"]) for each in found] == [
        (1, "HELD", "SITE_MISSING"), (2, "HELD", "TARIFF_MISSING"), (3, "HELD", "SIGNAL_MISSING"), (4, "FINAL", None),
    ]  # fmt: skip
    assert found[-1]["total_excl_vat"] == "3.0000", "(0.20 + 0.10) * 10 kWh"
    charge(stack, "2", began_us + 3_600_000_000)
    assert [each["bill_state"] for each in revisions(stack, 5)[4:]] == ["FINAL"]


def test_a_held_bill_is_decided_decided_anew_and_given_up_by_command(stack: Stack) -> None:
    known = len(stack.records(SESSIONS.name))
    charge(stack, "3", time.time_ns() // 1000 - 3_600_000_000, kwh=900)
    session_id = revisions(stack, known + 1)[-1]["session_id"]
    stack.wait()
    (held,) = [json.loads(line) for line in stack.chargeline("bills", "list", "--json").stdout.splitlines()]
    assert (held["session_id"], held["reason"]) == (session_id, "IMPOSSIBLE_ENERGY")
    answers = ("--by", "desk-2", "--why", "read off the meter")
    for number, (wh, place) in enumerate({9_000: (), 6_000: ("--station", "CP-1")}.items(), 2):
        done = stack.chargeline("bills", "decide", session_id, "--energy", str(wh), *answers, *place)
        assert (done.returncode, done.stderr) == (0, "")
        decided = revisions(stack, known + number)[-1]
        assert (decided["session_id"], decided["revision_reason"], decided["energy_wh"], decided["bill_state"]) == (
            session_id, "BILL_DECIDED", wh, "FINAL",
        )  # fmt: skip
        stack.wait()
    done = stack.chargeline("bills", "decide", session_id, "--withdraw", *answers, "--station", "CP-1")
    assert (done.returncode, done.stderr) == (0, "")
    assert revisions(stack, known + 4)[-1]["held_reason"] == "IMPOSSIBLE_ENERGY"
    shown = stack.chargeline("receipts", "show", session_id, "--json").stdout.splitlines()
    kinds = sorted((each["revision"], each["kind"]) for each in map(json.loads, shown))
    assert kinds == [(2, "BILL"), (2, "CREDIT"), (3, "BILL"), (3, "CREDIT")]
    stack.wait()
    done = stack.chargeline("bills", "release", session_id)
    assert (done.returncode, done.stderr) == (0, "")
    waived = revisions(stack, known + 5)[-1]
    assert (waived["session_id"], waived["revision_reason"], waived["total_incl_vat"]) == (
        session_id, "BILL_WAIVED", "0.0000",
    )  # fmt: skip
    stack.wait()
    again = stack.chargeline("bills", "release", session_id)
    assert again.returncode == 2
    assert "no bill of this session is held" in again.stderr


def test_a_version_is_published_once_and_never_changed(stack: Stack, tmp_path: Path) -> None:
    publish(stack, "tariffs", tmp_path / "tariffs.json", [TARIFF])
    again = publish(stack, "tariffs", tmp_path / "tariffs.json", [TARIFF])
    assert (again["published"], again["already_there"]) == (0, 1)
    (tmp_path / "changed.json").write_text(json.dumps(TARIFF | {"currency": "SEK"}))
    done = stack.chargeline("tariffs", "publish", tmp_path / "changed.json")
    assert done.returncode == 2
    assert "T@2026-01-01T00:00:00Z is published with other content" in done.stderr


@pytest.mark.parametrize(
    ("what", "name", "content", "says"),
    [
        ("sites", "s.json", "{}", "site_id"),
        ("tariffs", "t.json", json.dumps({**TARIFF, "last_updated": None}), "last_updated"),
        ("tariffs", "t.json", "[", "not JSON at line 1"),
        ("prices", "p.csv", "unix_seconds,price_eur\n1,2\n", "--series, --minutes and --currency"),
        ("prices", "p.json", '[{"series":"s","start":"2026-01-01T00:00:00Z"}]', "minutes"),
    ],
)
def test_what_is_wrong_is_refused_before_anything_is_sent(
    stack: Stack, tmp_path: Path, what: str, name: str, content: str, says: str
) -> None:
    (tmp_path / name).write_text(content)
    done = stack.chargeline(what, "publish", tmp_path / name)
    assert done.returncode == 2 or done.returncode == 1
    assert says in done.stderr
    assert name in done.stderr
