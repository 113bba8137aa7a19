"""`chargeline bills list`, and `what-if` over a period: ClickHouse says what a file of the same sessions says."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline import cli
from pipeline.agents.records import RECEIPTS, SESSIONS
from pipeline.domain.outputs import StrippedSession
from pipeline.edge.fleet import fleet_documents
from pipeline.edge.simulator import simulate
from pipeline.storage.connection import connect
from pipeline.storage.writer import ClickHouseWriter
from pipeline.wire.sessions import decode_session
from tests.agents.test_assembly_laws import FLEET
from tests.agents.test_receipts import assembled
from tests.storage.samples import HOUR_US, NOON_US, a_session


@pytest.fixture
def database(clickhouse: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A migrated database; the settings of this process point to it."""
    name = f"bills_{uuid.uuid4().hex[:8]}"
    monkeypatch.setenv("CHARGELINE_CLICKHOUSE_URL", clickhouse)
    monkeypatch.setenv("CHARGELINE_CLICKHOUSE_DATABASE", name)
    assert cli.run(["migrate"]) == 0
    yield name
    client = connect(clickhouse, "default", "")
    client.command(f"DROP DATABASE IF EXISTS {name}")
    client.close()


def store(url: str, database: str, sessions: list[StrippedSession]) -> None:
    writer = ClickHouseWriter(url, "default", "", database)
    writer.insert_sessions(sessions)
    writer.close()


def lines(capsys: pytest.CaptureFixture[str], *arguments: str) -> list[Any]:
    capsys.readouterr()
    assert cli.run([*arguments, "--json"]) == 0
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_held_bills_have_a_reason_an_age_and_no_amount(
    clickhouse: str, database: str, capsys: pytest.CaptureFixture[str]
) -> None:
    amounts = ("currency", "total_excl_vat", "total_incl_vat", "payable_excl_vat", "payable_incl_vat")
    unknown: dict[str, Any] = dict.fromkeys(amounts)
    early = NOON_US - 100 * 24 * HOUR_US
    times: dict[str, Any] = {"started_at_us": early, "ended_at_us": early}
    held = [
        a_session(1, bill_state="HELD", held_reason="TARIFF_MISSING", **times, **unknown),
        a_session(2, bill_state="HELD", held_reason="SITE_MISSING", site_id=None, **unknown),
        a_session(3, bill_state="HELD", held_reason="ENERGY_UNKNOWN", energy_wh=None, **unknown),
    ]
    released = a_session(4, bill_state="HELD", held_reason="SITE_MISSING", **unknown), a_session(4, revision=2)
    store(clickhouse, database, [*held, *released, a_session(5)])
    found = lines(capsys, "bills", "list")
    assert [bill["session_id"] for bill in found] == ["s00001", "s00002", "s00003"]
    assert [bill["reason"] for bill in found] == ["TARIFF_MISSING", "SITE_MISSING", "ENERGY_UNKNOWN"]
    assert [bill["amount"] for bill in found] == [None] * 3
    assert found[0]["age_s"] - found[1]["age_s"] in range(100 * 86_400 + 1700, 100 * 86_400 + 1900)
    assert [bill["energy_wh"] for bill in found] == [20_000, 20_000, None]
    assert [bill["session_id"] for bill in lines(capsys, "bills", "list", "--reason", "SITE_MISSING")] == ["s00002"]
    assert len(lines(capsys, "bills", "list", "--site", "SITE-1")) == 2
    assert len(lines(capsys, "bills", "list", "--from", "2026-09-22")) == 2
    assert cli.run(["bills", "list"]) == 0
    shown = capsys.readouterr()
    assert "s00002  no known site" in shown.out
    assert "amount unknown" in shown.out
    assert "3 held" in shown.err


@pytest.fixture(scope="module")
def records() -> dict[str, list[bytes]]:
    """Sessions and receipts of a simulated fleet with every fault."""
    outputs = assembled([(key, value) for _, key, value in simulate(FLEET)])
    return {
        topic: [each.value for each in outputs if each.topic == topic and each.value is not None]
        for topic in (SESSIONS, RECEIPTS)
    }


@pytest.fixture
def documents(tmp_path: Path) -> list[str]:
    """Options of what-if: the fleet's sites, and its tariffs with every price a tenth higher."""
    sites, tariffs = fleet_documents(FLEET.seed, FLEET.stations, FLEET.sites)
    for tariff in tariffs:
        for element in tariff["elements"]:
            for component in element["price_components"]:
                component["price"] = round(component["price"] * 1.1, 4)
    (tmp_path / "sites.json").write_text(json.dumps(sites))
    (tmp_path / "tariffs.json").write_text(json.dumps(tariffs))
    return ["--sites", str(tmp_path / "sites.json"), "--tariffs", str(tmp_path / "tariffs.json")]


def test_what_if_says_the_same_from_clickhouse_and_from_a_file(
    clickhouse: str,
    database: str,
    records: dict[str, list[bytes]],
    documents: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    store(clickhouse, database, [decode_session(value) for value in records[SESSIONS]])
    file = tmp_path / "sessions.jsonl"
    file.write_bytes(b"\n".join(records[SESSIONS]))
    (from_file,) = lines(capsys, "what-if", str(file), *documents)
    (stored,) = lines(capsys, "what-if", *documents)
    assert stored == from_file
    assert sum(site["compared"] for site in from_file) > 300
    assert cli.run(["what-if", str(file), "--from", "2026-01-01", *documents]) == 2
    (none,) = lines(capsys, "what-if", "--to", "2001-01-01", *documents)
    assert none == []


def test_what_if_takes_the_readings_of_receipts(
    records: dict[str, list[bytes]], documents: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    published, receipts = tmp_path / "sessions.jsonl", tmp_path / "receipts.jsonl"
    published.write_bytes(b"\n".join(records[SESSIONS]))
    receipts.write_bytes(b"\n".join(records[RECEIPTS]))
    (by_slots,) = lines(capsys, "what-if", str(published), *documents)
    (by_readings,) = lines(capsys, "what-if", str(receipts), *documents)
    assert sum(site["compared"] for site in by_readings) > 300
    for one, other in zip(by_slots, by_readings, strict=True):
        for name in ("site_id", "compared", "revenue_before", "winners", "losers"):
            assert one[name] == other[name], name
