"""Whatever is repeated, cut into other batches or sent in another order: the views show the highest version once."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.domain.outputs import StrippedSession
from tests.storage.conftest import Database
from tests.storage.samples import NOON_US, QUARTER_US, a_session, an_alert


@pytest.fixture(params=["nothing merged", "all merged"])
def optimized(request: pytest.FixtureRequest, database: Database) -> bool:
    """Views must not depend on what was merged."""
    if request.param == "nothing merged":
        for table in ("sessions", "anomalies"):
            database.client.command(f"SYSTEM STOP MERGES {table}")
    return str(request.param) == "all merged"


def settle(database: Database, optimized: bool) -> None:
    if optimized:
        database.client.command("OPTIMIZE TABLE sessions FINAL")
        database.client.command("OPTIMIZE TABLE anomalies FINAL")


def insert_in_batches(database: Database, sessions: list[StrippedSession], size: int) -> None:
    for start in range(0, len(sessions), size):
        database.writer.insert_sessions(sessions[start : start + size])


def test_repeats_and_shifted_batches_count_once(database: Database, optimized: bool) -> None:
    sessions = [a_session(number) for number in range(100)]
    for size in (100, 7, 13):
        insert_in_batches(database, sessions, size)
    settle(database, optimized)
    assert database.value("SELECT count() FROM sessions") == (100 if optimized else 300)
    assert database.rows("SELECT count(), sum(energy_wh), sum(total_excl_vat) FROM sessions_current") == [
        (100, 2_000_000, Decimal("400.0000"))
    ]
    assert database.rows("SELECT sum(quantity), sum(excl_vat), sum(incl_vat) FROM revenue_by_window") == [
        (Decimal("2000"), Decimal("400"), Decimal("476"))
    ]
    assert database.value("SELECT sum(energy_kwh) FROM station_demand_hourly") == 2000


def test_the_higher_revision_wins_in_any_order(database: Database, optimized: bool) -> None:
    first, second = a_session(1, energy_wh=1), a_session(1, revision=2, energy_wh=2)
    rebuilt = a_session(2, generation=2, revision=1, energy_wh=4)
    for batch in ([second], [first], [rebuilt], [a_session(2, revision=9, energy_wh=8)], [first]):
        database.writer.insert_sessions(batch)
    settle(database, optimized)
    assert database.rows("SELECT session_id, energy_wh FROM sessions_current ORDER BY session_id") == [
        ("s00001", 2),
        ("s00002", 4),
    ]


def test_a_revision_with_fewer_lines_and_slots_leaves_none_standing(database: Database, optimized: bool) -> None:
    database.writer.insert_sessions([a_session(1, lines=6, slots=8), a_session(2, lines=3, slots=3)])
    database.writer.insert_sessions([a_session(1, lines=2, slots=5, revision=2)])
    settle(database, optimized)
    lines = database.rows("SELECT session_id, position, excl FROM (SELECT *, amount_excl AS excl FROM session_lines)")
    assert sorted((session, position) for session, position, _ in lines) == [
        ("s00001", 1), ("s00001", 2), ("s00002", 1), ("s00002", 2), ("s00002", 3)
    ]  # fmt: skip
    assert database.rows("SELECT session_id, count() FROM session_slots GROUP BY 1 ORDER BY 1") == [
        ("s00001", 5),
        ("s00002", 3),
    ]


def test_a_void_revision_removes_its_session(database: Database, optimized: bool) -> None:
    database.writer.insert_sessions([a_session(1), a_session(2)])
    void = a_session(
        1, lines=0, slots=0, revision=2, status="void", started_at_us=None, ended_at_us=None, superseded_by="s00003"
    )
    database.writer.insert_sessions([void])
    settle(database, optimized)
    assert database.rows("SELECT session_id FROM sessions_current") == [("s00002",)]
    assert database.value("SELECT uniqExact(session_id) FROM session_slots") == 1


def test_a_revision_may_move_a_session_to_another_month(database: Database, optimized: bool) -> None:
    """Versions in different partitions would never be merged, and the old one would stay until its own TTL."""
    database.writer.insert_sessions([a_session(1)])
    late = NOON_US - 3000 * QUARTER_US
    database.writer.insert_sessions([a_session(1, revision=2, started_at_us=late, ended_at_us=late + QUARTER_US)])
    settle(database, optimized)
    assert database.value("SELECT count() FROM sessions_current") == 1
    assert database.value("SELECT count() FROM sessions") == (1 if optimized else 2)


def test_an_alert_is_one_row_from_raised_to_cleared(database: Database, optimized: bool) -> None:
    cleared = an_alert(1, state="cleared", at_us=NOON_US + 10 * QUARTER_US, value="0")
    for batch in ([an_alert(1)], [cleared, an_alert(2)], [an_alert(1), cleared]):
        database.writer.insert_anomalies(batch)
    settle(database, optimized)
    found = database.rows(
        "SELECT alert_id, value, toUnixTimestamp64Micro(raised_at), toUnixTimestamp64Micro(cleared_at)"
        " FROM anomalies_current ORDER BY alert_id"
    )
    raised = NOON_US + 4 * QUARTER_US
    assert found == [("a00001", "3600", raised, NOON_US + 10 * QUARTER_US), ("a00002", "3600", raised, None)]


VERSIONS = st.tuples(st.integers(0, 3), st.integers(1, 2), st.integers(1, 3))


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(history=st.lists(st.lists(VERSIONS, min_size=1, max_size=6), min_size=1, max_size=5), optimize=st.booleans())
def test_any_history_shows_each_highest_version(
    database: Database, history: list[list[tuple[int, int, int]]], optimize: bool
) -> None:
    database.client.command("TRUNCATE TABLE sessions")
    for batch in history:
        database.writer.insert_sessions(
            [
                a_session(number, lines=revision, generation=generation, revision=revision)
                for number, generation, revision in batch
            ]
        )
    settle(database, optimize)
    highest: dict[int, tuple[int, int]] = {}
    for number, generation, revision in (each for batch in history for each in batch):
        highest[number] = max(highest.get(number, (0, 0)), (generation, revision))
    found = database.rows(
        "SELECT session_id, generation, revision, length(lines.kind) FROM sessions_current ORDER BY session_id"
    )
    assert found == [(f"s{number:05d}", *version, version[1]) for number, version in sorted(highest.items())]
