"""ops/clickhouse/grants.sql is read by ClickHouse's own parser, and the tables that it names exist."""

from __future__ import annotations

import re
from pathlib import Path

from pipeline.storage.migrate import Migration
from tests.storage.conftest import Database

FILE = Path(__file__).parents[2] / "ops" / "clickhouse" / "grants.sql"


def test_every_statement_parses_and_names_what_exists(database: Database) -> None:
    statements = Migration(number=1, name=FILE.name, sql=FILE.read_text("utf-8")).statements
    assert len(statements) > 5
    tables = {name for (name,) in database.rows("SHOW TABLES")}
    for statement in statements:
        parsed = database.client.query("SELECT formatQuery({sql:String})", parameters={"sql": statement})
        assert parsed.first_row is not None
        assert parsed.first_row[0]
        named = re.search(r"\bON charging\.(\w+)", statement)
        assert named is None or named[1] in tables, statement


def test_only_the_store_writes_and_no_analyst_reads_sessions() -> None:
    grants = re.findall(r"GRANT ([^;]+?) ON charging\.\S+ TO (\w+);", FILE.read_text("utf-8"))
    assert {role for rights, role in grants if "INSERT" in rights} == {"chargeline_store", "chargeline_migrate"}
    assert {role for rights, role in grants if "SELECT" in rights} == {
        "chargeline_migrate", "chargeline_read", "chargeline_privacy",
    }  # fmt: skip
