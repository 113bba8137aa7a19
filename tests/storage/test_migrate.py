"""Each file once, in order; an applied file never changes."""

from __future__ import annotations

from pathlib import Path

import pytest
from clickhouse_connect.driver.exceptions import DatabaseError

from pipeline.storage import migrate
from pipeline.storage.connection import connect
from tests.storage.conftest import MIGRATIONS, Database
from tests.storage.samples import a_session


def write(folder: Path, **files: str) -> list[migrate.Migration]:
    for name, sql in files.items():
        (folder / f"{name.removeprefix('m')}.sql").write_text(sql, "utf-8")
    return migrate.read(folder)


@pytest.fixture
def name(any_clickhouse: str, request: pytest.FixtureRequest) -> str:
    return f"migrate_{abs(hash(request.node.name))}"


def test_ours_apply_once(any_clickhouse: str, name: str) -> None:
    client = connect(any_clickhouse, "default", "")
    ours = migrate.read(MIGRATIONS)
    assert migrate.migrate(client, name, ours) == [each.name for each in ours]
    assert migrate.migrate(connect(any_clickhouse, "default", ""), name, ours) == []
    assert client.query("SELECT number, checksum FROM schema_migrations ORDER BY number").result_rows == [
        (each.number, each.checksum) for each in ours
    ]


def test_a_later_file_is_added_and_a_changed_one_stops_everything(
    any_clickhouse: str, name: str, tmp_path: Path
) -> None:
    client = connect(any_clickhouse, "default", "")
    first = "CREATE TABLE t (a String) ENGINE = MergeTree ORDER BY a; -- with; a comment\nINSERT INTO t VALUES ('x;y')"
    assert migrate.migrate(client, name, write(tmp_path, m0001_t=first)) == ["0001_t.sql"]
    assert client.query("SELECT a FROM t").result_rows == [("x;y",)]
    second = write(tmp_path, m0002_u="ALTER TABLE t ADD COLUMN b UInt8;\n-- done; no more")
    assert migrate.migrate(client, name, second) == ["0002_u.sql"]
    changed = write(tmp_path, m0001_t=first + " ", m0003_v="DROP TABLE t")
    with pytest.raises(migrate.MigrationError, match=r"0001_t\.sql was changed after it was applied"):
        migrate.migrate(client, name, changed)
    assert client.query("SELECT a, b FROM t").result_rows == [("x;y", 0)]


def test_a_file_that_failed_half_way_runs_again(any_clickhouse: str, name: str, tmp_path: Path) -> None:
    client = connect(any_clickhouse, "default", "")
    start = "CREATE TABLE IF NOT EXISTS t (a UInt8) ENGINE = MergeTree ORDER BY a;"
    with pytest.raises(DatabaseError):
        migrate.migrate(client, name, write(tmp_path, m0001_t=start + "SELECT nonsense"))
    assert migrate.migrate(client, name, write(tmp_path, m0001_t=start + "SELECT 1")) == ["0001_t.sql"]


def test_an_older_program_does_not_touch_a_newer_database(any_clickhouse: str, name: str, tmp_path: Path) -> None:
    client = connect(any_clickhouse, "default", "")
    both = write(tmp_path, m0001_t="SELECT 1", m0002_u="SELECT 2")
    migrate.migrate(client, name, both)
    with pytest.raises(migrate.MigrationError, match="older than the database"):
        migrate.migrate(client, name, both[:1])


def test_a_file_is_cut_outside_quotes_and_comments() -> None:
    sql = "/* ; */ SELECT ';', \"a;b\" -- one; two\n, 5 - 3, 6 / 2;\n\nSELECT 'it''s; \\';' ;\n-- the end; really\n"
    cut = migrate.Migration(number=1, name="0001_x.sql", sql=sql).statements
    assert cut == ["SELECT ';', \"a;b\" \n, 5 - 3, 6 / 2", "SELECT 'it''s; \\';'"]


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"m0001_a": "SELECT 1", "m0003_c": "SELECT 1"}, "expected number 0002"),
        ({"m0001_a": "SELECT 1", "m0001_b": "SELECT 1"}, "expected number 0002"),
        ({"m1_a": "SELECT 1"}, "name it NNNN_<change>.sql"),
        ({}, "no migrations found"),
    ],
)
def test_files_that_are_no_sequence_are_refused(tmp_path: Path, files: dict[str, str], said: str) -> None:
    with pytest.raises(migrate.MigrationError, match=said):
        write(tmp_path, **files)


@pytest.mark.parametrize("table", ["sessions", "anomalies", "dead_letters", "rejections"])
def test_rows_are_kept_for_13_months(database: Database, table: str) -> None:
    created = database.value(f"SHOW CREATE TABLE {table}")
    assert "toIntervalMonth(13)" in created
    assert "merge_with_ttl_timeout = 86400" in created


def test_expired_sessions_go_and_replays_of_old_logs_stay(database: Database) -> None:
    old = 1_600_000_000_000_000
    ahead = 4_000_000_000_000_000
    database.writer.insert_sessions(
        [
            a_session(1, started_at_us=old, ended_at_us=old),
            a_session(2, started_at_us=old, ended_at_us=old, clock="replay-1"),
            a_session(3, started_at_us=ahead, ended_at_us=ahead),
        ]
    )
    database.client.command("OPTIMIZE TABLE sessions FINAL")
    assert database.rows("SELECT session_id FROM sessions ORDER BY 1") == [("s00002",), ("s00003",)]
    database.client.command(
        "ALTER TABLE sessions UPDATE inserted_at = inserted_at - INTERVAL 14 MONTH WHERE 1",
        settings={"mutations_sync": 2},
    )
    database.client.command("OPTIMIZE TABLE sessions FINAL")
    assert database.value("SELECT count() FROM sessions") == 0
