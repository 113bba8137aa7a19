"""Two real charger logs through Kafka give the rows that `assemble` gives; twice changes nothing; no identifier stays.

Nothing of the logs is printed: assertions are about facts and counts.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from confluent_kafka import Message, Producer

from pipeline.cli import run
from pipeline.topics import TOPICS
from tests.integration.identifiers import Scanner, of_log
from tests.integration.stack import Stack, json_lines, started

WH = {
    "CP-A": [6_991, 11_532, 13_965, 20_288, 24_889, 26_959, 27_099],
    "CP-B": [0, 7_690, 12_430, 20_510, 24_110, 31_520],
}
SITES = [
    {
        "site_id": "SITE-1", "name": "Two fast chargers", "time_zone": "Asia/Kolkata", "country": "IND",
        "tariff_ids": ["T-1"],
        "stations": [
            {"station_id": station, "connectors": [
                {"connector_id": number, "power_type": "DC", "max_power_w": 120_000, "expected_duration_s": 5400}
                for number in (1, 2)
            ]}
            for station in WH
        ],
    }
]  # fmt: skip
TARIFFS = [
    {
        "country_code": "IN", "party_id": "CHL", "id": "T-1", "currency": "INR",
        "elements": [
            {
                "price_components": [{"type": "ENERGY", "price": 21.5, "vat": 18.0, "step_size": 1}],
                "restrictions": {"start_time": "18:00", "end_time": "22:00"},
            },
            {"price_components": [{"type": "ENERGY", "price": 17.25, "vat": 18.0, "step_size": 1}]},
        ],
        "last_updated": "2026-01-01T00:00:00Z",
    }
]  # fmt: skip
CLEAN = [name for name, topic in TOPICS.items() if not topic.holds_identifiers]
"""sessions, anomalies, session-updates, receipts, station-state."""

TEXT_COLUMNS = """
    SELECT table, any(name) AS name FROM system.columns
    WHERE database = currentDatabase() AND match(type, '^(LowCardinality\\\\()?(Nullable\\\\()?String')
      AND table IN (SELECT name FROM system.tables WHERE database = currentDatabase() AND engine LIKE '%MergeTree')
    GROUP BY table
"""
"""A column of each table that takes any text."""


@pytest.fixture(scope="module")
def logs(reference_file: Callable[[str], Path]) -> list[Path]:
    return [reference_file(f"ocpp16/dc-fast-{name}.ndjson.gz") for name in "ab"]


@pytest.fixture(scope="module")
def stack(logs: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A pipeline of these tests alone, in which both logs were replayed."""
    folder = tmp_path_factory.mktemp("replay")
    documents = {"sites_file": folder / "sites.json", "tariffs_file": folder / "tariffs.json"}
    documents["sites_file"].write_text(json.dumps(SITES))
    documents["tariffs_file"].write_text(json.dumps(TARIFFS))
    with started(folder, **{name: str(file) for name, file in documents.items()}) as stack:
        replay(stack, logs)
        yield stack


@pytest.fixture(scope="module")
def offline(stack: Stack, logs: list[Path]) -> list[dict[str, Any]]:
    done = stack.chargeline("assemble", *logs, "--final-ticks")
    assert (done.returncode, done.stderr) == (0, "")
    return list(json_lines(done.stdout))


@pytest.fixture(scope="module")
def scanner(logs: list[Path]) -> Scanner:
    scanner = Scanner(identifier for log in logs for identifier in of_log(log))
    assert len(scanner.identifiers) > 5_000, "the search must have something to find"
    return scanner


def replay(stack: Stack, logs: list[Path]) -> None:
    done = stack.chargeline("replay", *logs, "--format", "ocpp16", "--json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["failed"] == 0
    assert report["events"] == 5_716 + 6_503
    stack.wait()


def stored(stack: Stack) -> list[dict[str, Any]]:
    """All revisions as they stand in ClickHouse, in the order of `assemble`."""
    return stack.rows("SELECT * EXCEPT inserted_at FROM sessions FINAL ORDER BY started_at, session_id")


def plain(value: Any) -> Any:
    """A value of ClickHouse in the types in which `as_typed` gives those of `assemble`."""
    return [plain(each) for each in value] if isinstance(value, list | tuple) else value


def as_typed(row: dict[str, Any]) -> dict[str, Any]:
    """A line of `assemble` with its times and amounts as such."""
    times = {name: row[name] and datetime.fromisoformat(row[name]) for name in ("started_at", "ended_at")}
    amounts = {name: value and Decimal(value) for name, value in row.items() if name.endswith("_vat")}
    return row | times | amounts


def test_the_rows_are_those_of_assemble(stack: Stack, offline: list[dict[str, Any]]) -> None:
    rows = stored(stack)
    assert [row["session_id"] for row in rows] == [row["session_id"] for row in offline]
    for row, expected in zip(rows, map(as_typed, offline), strict=True):
        shared = row.keys() & expected.keys()
        assert len(shared) > 35
        assert {name: plain(row[name]) for name in shared} == {name: expected[name] for name in shared}
        assert list(row["slots.energy_wh"]) == [slot["energy_wh"] for slot in expected["slots"]]
        assert list(row["lines.amount_excl"]) == [Decimal(line["amount_excl"]) for line in expected["lines"]]


def test_each_transaction_has_its_energy_and_a_final_bill(stack: Stack) -> None:
    rows = [row for row in stored(stack) if row["status"] != "void"]
    assert {station: sorted(row["energy_wh"] for row in rows if row["station_id"] == station) for station in WH} == WH
    assert {row["bill_state"] for row in rows} == {"FINAL"}
    assert sum(row["total_excl_vat"] for row in rows) > 131 * Decimal("17.25")


def test_every_final_bill_is_exported_and_can_be_repeated_from_its_file(stack: Stack, tmp_path: Path) -> None:
    done = stack.chargeline("receipts", "export", "--out", tmp_path, "--json")
    assert done.returncode == 0, done.stderr
    paid: dict[str, Decimal] = {}
    for file in tmp_path.rglob("*.json"):
        assert run(["verify", str(file)]) == 0, "verify repeats what the stream wrote"
        receipt = json.loads(file.read_bytes())
        paid[receipt["session_id"]] = paid.get(receipt["session_id"], Decimal(0)) + Decimal(receipt["payable_incl_vat"])
    rows = [row for row in stored(stack) if row["bill_state"] == "FINAL" and row["status"] != "void"]
    assert paid == {row["session_id"]: row["payable_incl_vat"] for row in rows}
    assert len(paid) >= 13


def test_replaying_again_changes_nothing(stack: Stack, logs: list[Path]) -> None:
    rows, told = stored(stack), values(stack.records("sessions"))
    assert len(rows) == len(told) >= 13
    receipts = values(stack.records("receipts"))
    assert len(receipts) >= 13
    alerts = stack.rows("SELECT * EXCEPT inserted_at FROM anomalies FINAL ORDER BY ALL")
    replay(stack, logs)
    assert stored(stack) == rows
    assert values(stack.records("sessions")) == told, "no revision was told again"
    assert values(stack.records("receipts")) == receipts
    assert stack.rows("SELECT * EXCEPT inserted_at FROM anomalies FINAL ORDER BY ALL") == alerts
    assert stack.records("dead-letters") == []


def values(records: Iterable[Message]) -> list[bytes]:
    return sorted(record.value() or b"" for record in records)


def content(records: Iterable[Message]) -> bytes:
    """Keys, values and headers, each kind of record once."""
    parts = {b"\n".join([r.key() or b"", r.value() or b"", repr(r.headers()).encode()]) for r in records}
    return b"\n".join(parts)


def tables(stack: Stack) -> dict[str, bytes]:
    """The whole content of every table and view, as JSON."""
    found = stack.rows("SELECT name FROM system.tables WHERE database = currentDatabase()")
    names = [row["name"] for row in found]
    return {name: stack.text(f"SELECT * FROM `{name}` FORMAT JSONEachRow") for name in names}  # noqa: S608 - our tables


def test_no_identifier_is_in_any_sink(stack: Stack, scanner: Scanner) -> None:
    assert scanner.found(content(stack.records("meter-events"))) == scanner.identifiers, "the search finds them"
    for topic in CLEAN:
        assert len(scanner.found(content(stack.records(topic, "read_uncommitted")))) == 0, topic
    read = tables(stack)
    assert {"sessions", "anomalies", "rejections", "sessions_current"} <= read.keys()
    assert len(read["sessions"]) > 10_000
    for table, rows in read.items():
        assert len(scanner.found(rows)) == 0, table


def test_the_search_finds_an_identifier_that_was_planted(stack: Stack) -> None:
    """In the key, the value and a header of each topic, in aborted transactions, in every table. Ends the workers."""
    assert set(stack.stop_workers()) == {0}
    planted = [f"VID:{uuid4().hex[:12].upper()}" for _ in range(3)]
    scanner = Scanner(planted)
    for topic in CLEAN:
        producer = Producer({"bootstrap.servers": stack.settings.kafka, "transactional.id": uuid4().hex})
        producer.init_transactions(20)
        producer.begin_transaction()
        producer.produce(topic, planted[0].encode(), planted[1].encode(), headers={"of": planted[2].encode()})
        producer.flush(20)
        producer.abort_transaction(20)
        assert scanner.found(content(stack.records(topic, "read_uncommitted"))) == set(planted), topic
    columns = {row["table"]: row["name"] for row in stack.rows(TEXT_COLUMNS)}
    assert {"sessions", "anomalies", "rejections"} <= columns.keys()
    for table, column in columns.items():
        stack.text(f"INSERT INTO `{table}` (`{column}`) VALUES ('{planted[0]}')")  # noqa: S608 - our tables
    read = tables(stack)
    for table in columns:
        assert scanner.found(read[table]) == {planted[0]}, table
