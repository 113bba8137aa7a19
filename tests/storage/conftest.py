"""A migrated database of its own for each test, on the embedded server and, where there is one, on a real server."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from clickhouse_connect.driver.client import Client

from pipeline.storage import migrate
from pipeline.storage.connection import connect
from pipeline.storage.writer import ClickHouseWriter

MIGRATIONS = Path(__file__).parents[2] / "schemas" / "clickhouse"
_numbers = itertools.count(1)


@dataclass(frozen=True, slots=True)
class Database:
    url: str
    name: str
    client: Client
    writer: ClickHouseWriter

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        return [tuple(row) for row in self.client.query(query).result_rows]

    def value(self, query: str) -> Any:
        return self.rows(query)[0][0]


@pytest.fixture
def database(any_clickhouse: str) -> Iterator[Database]:
    """An empty database at the newest migration."""
    name = f"charging_{next(_numbers)}"
    client = connect(any_clickhouse, "default", "")
    migrate.migrate(client, name, migrate.read(MIGRATIONS))
    writer = ClickHouseWriter(any_clickhouse, "default", "", name)
    yield Database(any_clickhouse, name, client, writer)
    client.command(f"DROP DATABASE {name}")
    writer.close()
    client.close()
