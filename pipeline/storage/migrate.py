"""Brings a database to the state that schemas/clickhouse/NNNN_<change>.sql describe: each file once, in order.

The rule of the file: an applied file never changes. Its checksum is kept in `schema_migrations`; a difference stops
everything before anything runs. ClickHouse has no transactions for statements that change tables, so each statement
is written with IF NOT EXISTS or the like, and a file that failed halfway is run again from its beginning.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

from clickhouse_connect.driver.client import Client

FILE_NAME = re.compile(r"(\d{4})_[a-z0-9_]+\.sql")
_PIECES = re.compile(r"""'(?:[^'\\]|\\.|'')*'|`[^`]*`|"[^"]*"|--[^\n]*|/\*.*?\*/|;|[^'"`;/-]+|.""", re.DOTALL)
_JOURNAL = """
CREATE TABLE IF NOT EXISTS {database}.schema_migrations
(number UInt32, name String, checksum String, applied_at DateTime DEFAULT now())
ENGINE = ReplacingMergeTree ORDER BY number
"""


class MigrationError(Exception):
    """The migration files differ from the applied ones, or have a gap; the text names the file and what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Migration:
    number: int
    name: str
    sql: str

    @property
    def checksum(self) -> str:
        return hashlib.sha256(self.sql.encode()).hexdigest()

    @property
    def statements(self) -> list[str]:
        """The statements of the file: cut at semicolons outside quotes and comments, comments left out."""
        found: list[str] = [""]
        for piece in _PIECES.findall(self.sql):
            if piece == ";":
                found.append("")
            elif not piece.startswith(("--", "/*")):
                found[-1] += piece
        return [each.strip() for each in found if each.strip()]


def read(folder: Path) -> list[Migration]:
    """The migrations in `folder`, in order. Raises MigrationError on a gap, a repeat or a name that does not fit."""
    migrations = []
    for path in sorted(folder.glob("*.sql")):
        matched = FILE_NAME.fullmatch(path.name)
        if not matched:
            raise MigrationError(f"{path.name}: name it NNNN_<change>.sql, lower case")
        migrations.append(Migration(number=int(matched[1]), name=path.name, sql=path.read_text("utf-8")))
    for expected, migration in enumerate(migrations, start=1):
        if migration.number != expected:
            raise MigrationError(f"{migration.name}: expected number {expected:04d}; numbers start at 1 without gaps")
    if not migrations:
        raise MigrationError(f"{folder}: no migrations found")
    return migrations


def migrate(client: Client, database: str, migrations: list[Migration]) -> list[str]:
    """Applies to `database` what it does not have yet; returns the names of the files that were applied.

    `client` needs no default database: this creates it. Raises MigrationError if an applied file has changed.
    """
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", database):
        raise MigrationError(f"database name {database!r}: use letters, digits and underscores")
    client.command(f"CREATE DATABASE IF NOT EXISTS {database}")
    client.command(_JOURNAL.format(database=database))
    applied = _applied(client, database)
    _check(applied, migrations)
    new = [migration for migration in migrations if migration.number not in applied]
    client.database = database  # unqualified names in the files mean this database
    for migration in new:
        for statement in migration.statements:
            client.command(statement)
        row = [migration.number, migration.name, migration.checksum]
        client.insert(
            "schema_migrations", [row], column_names=["number", "name", "checksum"], settings={"async_insert": 0}
        )  # fmt: skip
    return [migration.name for migration in new]


def _applied(client: Client, database: str) -> dict[int, tuple[str, str]]:
    query = f"SELECT number, name, checksum FROM {database}.schema_migrations FINAL"  # noqa: S608 - checked above
    return {number: (name, checksum) for number, name, checksum in client.query(query).result_rows}


def _check(applied: dict[int, tuple[str, str]], migrations: list[Migration]) -> None:
    files = {migration.number: migration for migration in migrations}
    for number, (name, checksum) in sorted(applied.items()):
        if number not in files:
            raise MigrationError(f"{name} was applied and is no longer here; this program is older than the database")
        if files[number].checksum != checksum:
            raise MigrationError(
                f"{files[number].name} was changed after it was applied; restore it and put the change into a new file"
            )
