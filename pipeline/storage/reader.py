"""The named queries behind the report and the dashboard; nothing else asks ClickHouse for figures.

The rule of the file: queries read views that show the highest version of each session, never the tables; a session
belongs to the period in which it started (or ended, where its start is unknown). Energy is Wh, money Decimal in the
currency named beside it, times aware UTC.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

from clickhouse_connect.driver.client import Client

from pipeline.storage.connection import connect, failures

QUERIES: Mapping[str, str] = {
    "totals": """
        SELECT count() AS sessions, countIf(status = 'open') AS open, ifNull(sum(session.energy_wh), 0) AS energy_wh,
               sum(session.estimated_wh) AS estimated_wh, countIf(session.energy_wh IS NULL) AS energy_unknown,
               countIf(bill_state = 'HELD') AS held
        FROM sessions_current AS session
        WHERE placed_at >= fromUnixTimestamp64Micro({from_us:Int64})
          AND placed_at < fromUnixTimestamp64Micro({to_us:Int64})""",
    "revenue": """
        SELECT currency, count() AS bills, sum(total_excl_vat) AS excl_vat, sum(total_incl_vat) AS incl_vat,
               sum(payable_excl_vat) AS payable_excl_vat, sum(payable_incl_vat) AS payable_incl_vat
        FROM sessions_current
        WHERE bill_state = 'FINAL'
          AND placed_at >= fromUnixTimestamp64Micro({from_us:Int64})
          AND placed_at < fromUnixTimestamp64Micro({to_us:Int64})
        GROUP BY currency ORDER BY currency""",
    "revenue_by_window": """
        SELECT currency, if(line.window = '', kind, line.window) AS window, dimension, unit,
               sum(billed_quantity) AS quantity, sum(amount_excl) AS excl_vat, sum(amount_incl) AS incl_vat
        FROM session_lines AS line
        WHERE bill_state = 'FINAL'
          AND placed_at >= fromUnixTimestamp64Micro({from_us:Int64})
          AND placed_at < fromUnixTimestamp64Micro({to_us:Int64})
        GROUP BY currency, window, dimension, unit
        ORDER BY currency, excl_vat DESC, window, dimension""",
    "station_demand": """
        SELECT station_id, toHour(start_at, {zone:String}) AS hour, sum(slot.energy_wh) AS energy_wh,
               sum(occupied_s) / 60 AS occupied_minutes
        FROM session_slots AS slot
        WHERE placed_at >= fromUnixTimestamp64Micro({from_us:Int64})
          AND placed_at < fromUnixTimestamp64Micro({to_us:Int64})
        GROUP BY station_id, hour ORDER BY station_id, hour""",
    "longest_sessions": """
        SELECT session_id, station_id, connector_id, started_at, ended_at, duration_s, charging_s, idle_s, energy_wh,
               status, flags
        FROM sessions_current
        WHERE placed_at >= fromUnixTimestamp64Micro({from_us:Int64})
          AND placed_at < fromUnixTimestamp64Micro({to_us:Int64})
        ORDER BY duration_s DESC, session_id LIMIT {limit:UInt32}""",
    "anomalies": """
        SELECT rule, severity, count() AS raised, countIf(cleared_at IS NULL) AS open,
               uniqExact(station_id) AS stations
        FROM (SELECT *, raised_at AS placed_at FROM anomalies_current)
        WHERE placed_at >= fromUnixTimestamp64Micro({from_us:Int64})
          AND placed_at < fromUnixTimestamp64Micro({to_us:Int64})
        GROUP BY rule, severity ORDER BY raised DESC, rule, severity""",
    "dead_letters": """
        SELECT source_topic, reason, dead_letters, first_at, last_at FROM dead_letters_by_reason
        ORDER BY dead_letters DESC, reason""",
    "held_bills": """
        SELECT session_id, revision, station_id, connector_id, site_id, held_reason, started_at, ended_at, clock,
               session.energy_wh AS energy_wh,
               dateDiff('second', coalesce(ended_at, started_at), now64(6, 'UTC')) AS age_s
        FROM sessions_current AS session
        WHERE bill_state = 'HELD'
          AND placed_at >= fromUnixTimestamp64Micro({from_us:Int64})
          AND placed_at < fromUnixTimestamp64Micro({to_us:Int64})
        ORDER BY placed_at, session_id""",
    "recorded": """
        SELECT ifNull(site_id, '') AS site_id, toUnixTimestamp64Micro(assumeNotNull(started_at)) AS start_us,
               toUnixTimestamp64Micro(assumeNotNull(ended_at)) AS end_us,
               if(bill_state = 'FINAL', total_excl_vat, NULL) AS billed_excl,
               arrayMap(at -> toUnixTimestamp64Micro(at), slots.start_at) AS slot_starts,
               slots.energy_wh AS slot_energies, slots.occupied_s AS slot_occupied, slots.charging_s AS slot_charging,
               lines.kind AS kinds, lines.dimension AS dimensions, lines.reason AS reasons,
               arrayMap(at -> toUnixTimestamp64Micro(ifNull(at, toDateTime64(0, 6, 'UTC'))), lines.from_at) AS froms,
               arrayMap(at -> toUnixTimestamp64Micro(ifNull(at, toDateTime64(0, 6, 'UTC'))), lines.to_at) AS tos,
               lines.quantity AS quantities
        FROM sessions_current
        WHERE status = 'completed' AND billable AND notEmpty(slots.start_at)
          AND started_at IS NOT NULL AND ended_at IS NOT NULL
          AND placed_at >= fromUnixTimestamp64Micro({from_us:Int64})
          AND placed_at < fromUnixTimestamp64Micro({to_us:Int64})
        ORDER BY placed_at, session_id""",
}
"""Parameters: from_us (inclusive) and to_us (exclusive), microseconds UTC; zone and limit where named."""
ALWAYS = (-2_208_988_800_000_000, 10_413_791_999_999_999)
"""All that DateTime64 can hold, from 1900 to 2299, microseconds UTC, so that a wrong clock hides no session."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """Which sessions the figures are about, and in which zone an hour of the day is meant."""

    zone: str
    """An IANA name, for "hour of the day"."""
    from_us: int = ALWAYS[0]
    to_us: int = ALWAYS[1]
    limit: int = 10
    """How many of the longest sessions."""


class Answer(NamedTuple):
    """Columns by name, even without rows, and the rows as column: value."""

    columns: tuple[str, ...]
    rows: list[dict[str, Any]]


class Reader:
    """Answers named queries. Raises Unavailable, or NotMigrated where the tables are missing."""

    def __init__(self, url: str, user: str, password: str, database: str) -> None:
        self._url = url
        self._client: Client = connect(url, user, password, database)

    def close(self) -> None:
        self._client.close()

    def answer(self, name: str, question: Question) -> Answer:
        """The answer of QUERIES[name]."""
        sql = QUERIES[name]
        with failures(self._url):
            found = self._client.query(sql, parameters=asdict(question))
            if not found.result_rows:  # the Native format names no columns then
                found = self._client.query(f"SELECT * FROM ({sql}) LIMIT 0", parameters=asdict(question))  # noqa: S608 - our own query
        return Answer(tuple(found.column_names), list(found.named_results()))
