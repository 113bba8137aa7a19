"""Analysts read views: a column of a table that none of its views shows is one that nobody finds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import pytest

from pipeline.storage import rows
from tests.schemas.compatibility import column_breaks
from tests.schemas.compatibility import columns as columns_of_all
from tests.storage.conftest import Database


class Shows(NamedTuple):
    """What a view has to show."""

    view: str
    table: str
    nested: str = ""
    """Only these columns of the table, each row an element of them."""
    without: Mapping[str, str] = {}
    """Columns that it does not show, and why."""


VIEWS = (
    Shows("sessions_current", "sessions"),
    Shows(
        "session_lines",
        "sessions",
        "lines.",
        {
            "assumptions": "for whoever explains one bill: sessions_current has them, in `lines.*`",
            "evidence": "as assumptions",
            "price_parts": "as assumptions",
        },
    ),
    Shows("session_slots", "sessions", "slots."),
    Shows(
        "anomalies_current",
        "anomalies",
        without={
            "state": "one row for each alert: cleared_at says it",
            "at": "raised_at and cleared_at",
            "evidence": "for whoever explains one alert: the topic has it",
            "inserted_at": "when the store wrote it says nothing of the alert",
        },
    ),
    Shows(
        "dead_letters_by_reason",
        "rejections",
        without={
            "partition": "counts, not places",
            "offset": "counts, not places",
            "source_partition": "counts, not places",
            "source_offset": "counts, not places",
            "sent_at": "first_at and last_at",
            "inserted_at": "as of anomalies_current",
        },
    ),
)


def columns(database: Database, table: str) -> set[str]:
    query = f"SELECT name FROM system.columns WHERE database = '{database.name}' AND table = '{table}'"  # noqa: S608
    return {name for (name,) in database.rows(query)}


def hidden(database: Database, shows: Shows) -> set[str]:
    """Columns that the view neither shows nor leaves out for a reason, and reasons for columns that are no more."""
    found = columns(database, shows.table)
    if shows.nested:
        found = {name.removeprefix(shows.nested) for name in found if name.startswith(shows.nested)}
    return (found - columns(database, shows.view)) ^ shows.without.keys()


@pytest.mark.parametrize("shows", VIEWS, ids=lambda shows: shows.view)
def test_a_view_shows_every_column_of_its_table(database: Database, shows: Shows) -> None:
    assert columns(database, shows.view)
    assert hidden(database, shows) == set(), "show it in a migration that makes the view again, or say here why not"
    kind = "Array(UInt8)" if shows.nested else "UInt8"
    database.client.command(f"ALTER TABLE {shows.table} ADD COLUMN `{shows.nested}forgotten` {kind}")
    assert hidden(database, shows) == {"forgotten"}


def test_no_published_column_is_lost_or_has_another_type(database: Database) -> None:
    now = columns_of_all(database.client, database.name)
    assert column_breaks(now) == []
    del now["held_bills"]["held_reason"]
    now["sessions_current"]["revision"] = "Int8"
    assert [line.split(":")[0] for line in column_breaks(now)] == [
        "held_bills.held_reason",
        "sessions_current.revision",
    ]


def test_every_table_that_is_written_has_a_view() -> None:
    assert {shows.table for shows in VIEWS} == rows.COLUMNS.keys()
