"""Columns and the migrated tables are the same list; every value comes back as it was."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

import msgspec
import pyarrow as pa
import pytest

from pipeline.domain.outputs import Alert, Line, SessionSlot, StrippedSession
from pipeline.storage import rows
from tests.storage.conftest import Database
from tests.storage.samples import NOON_US, a_line, a_session, an_alert

NOON = datetime(2026, 9, 22, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize("table", rows.COLUMNS)
def test_the_columns_written_are_those_of_the_table(database: Database, table: str) -> None:
    found = database.rows(
        f"SELECT name FROM system.columns WHERE database = '{database.name}' AND table = '{table}'"  # noqa: S608 - ours
        " AND name != 'inserted_at'"
    )
    assert {name for (name,) in found} == rows.COLUMNS[table]


@pytest.mark.parametrize(
    ("columns", "struct", "elsewhere"),
    [
        (rows._SESSIONS, StrippedSession, {"lines", "slots"}),
        (rows._LINES, Line, set()),
        (rows._SLOTS, SessionSlot, set()),
        (rows._ANOMALIES, Alert, set()),
    ],
)
def test_every_field_has_its_column(
    columns: tuple[rows.Column, ...], struct: type[msgspec.Struct], elsewhere: set[str]
) -> None:
    """A field that is to stay out of ClickHouse is named in `elsewhere`, with the reason for it."""
    assert {column.field or column.name for column in columns} == set(struct.__struct_fields__) - elsewhere


def test_a_session_comes_back_as_it_was(database: Database) -> None:
    sent = a_session(1, lines=2, slots=3)
    database.writer.insert_sessions([sent])
    found = next(iter(database.client.query("SELECT * FROM sessions").named_results()))
    times = {"started_at": "started_at_us", "ended_at": "ended_at_us"}
    for column in rows._SESSIONS:
        expected = getattr(sent, times.get(column.name, column.name))
        if column.name in times:
            expected = datetime.fromtimestamp(expected / 1e6, UTC)
        elif pa.types.is_decimal(column.type):
            expected = Decimal(expected)
        elif isinstance(expected, tuple):
            expected = list(expected)
        assert found[column.name] == expected, column.name
    assert found["version"] == 2**32 + 1
    assert found["lines.from_at"] == [NOON, NOON.replace(minute=15)]
    assert found["lines.unit_price"] == [Decimal("0.2")] * 2
    assert found["lines.evidence"] == [["r1", "r2"]] * 2
    assert [[tuple(part.values()) for part in parts] for parts in found["lines.price_parts"]] == [
        [("spot", "0.15"), ("fee", "0.05")]
    ] * 2
    assert found["slots.energy_wh"] == [10_000] * 3


def test_absent_values_are_null_and_not_zero(database: Database) -> None:
    absent = dict.fromkeys(
        [
            "site_id", "time_zone", "power_type", "started_at_us", "ended_at_us", "energy_wh", "start_register_wh",
            "stop_register_wh", "max_power_w", "stop_reason", "driver", "held_reason", "currency", "total_excl_vat",
            "total_incl_vat", "payable_excl_vat", "payable_incl_vat", "tariff_id", "tariff_version", "superseded_by",
        ]
    )  # fmt: skip
    line = a_line(from_us=0, to_us=0, unit_price=None, amount_excl=None, tax_rate=None, element_index=None)
    database.writer.insert_sessions([msgspec.structs.replace(a_session(1), **absent, lines=(line,), slots=())])
    found = next(iter(database.client.query("SELECT * FROM sessions").named_results()))
    names = {"started_at_us": "started_at", "ended_at_us": "ended_at"}
    assert [name for name in absent if found[names.get(name, name)] is not None] == []
    for column in ("from_at", "to_at", "unit_price", "amount_excl", "tax_rate", "element_index"):
        assert found[f"lines.{column}"] == [None], column
    assert found["slots.start_at"] == []


def test_decimals_are_exact_or_refused() -> None:
    table = rows.sessions_table([a_session(1, total_excl_vat="12345678901234.5678")])
    assert table["total_excl_vat"][0].as_py() == Decimal("12345678901234.5678")
    with pytest.raises(pa.ArrowInvalid):
        rows.sessions_table([a_session(1, total_excl_vat="0.00001")])


def test_versions_order_generations_before_revisions() -> None:
    assert rows.version(1, 2**32 - 1) < rows.version(2, 1) < rows.version(2, 2)


def test_an_alert_and_a_rejection_come_back_as_they_were(database: Database) -> None:
    database.writer.insert_anomalies([an_alert(1)])
    database.writer.insert_rejections([rows.Rejection(2, 77, "meter-events", 3, 99, "malformed", NOON_US // 1000)])
    alert = next(iter(database.client.query("SELECT * EXCEPT inserted_at FROM anomalies").named_results()))
    assert alert == {
        "alert_id": "a00001", "rule": "overstayed", "state": "raised", "severity": "warning", "station_id": "ST-1",
        "connector_id": 1, "site_id": "SITE-1", "session_id": "s00001", "at": NOON.replace(hour=13),
        "raised_at": NOON.replace(hour=13), "value": "3600", "threshold": "1800", "detail": "idle for 60 min",
        "evidence": ["r1"], "clock": "live",
    }  # fmt: skip
    assert database.rows("SELECT * EXCEPT inserted_at FROM rejections") == [
        (2, 77, "meter-events", 3, 99, "malformed", NOON)
    ]
