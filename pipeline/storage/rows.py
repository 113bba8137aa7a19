"""The columns of each ClickHouse table, and the field that each shows. Pure.

The rule of the file: a column exists because it is named here; a new field of StrippedSession stays out until then.
Batches become Arrow tables without an object per value: times stay integers of microseconds, decimals stay text until
Arrow parses them (exactly, or it raises).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import accumulate, chain
from operator import attrgetter
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.domain.outputs import Alert, StrippedSession

TEXT, FLAG = pa.string(), pa.bool_()
TEXTS = pa.list_(TEXT)
TIME, MILLIS = pa.timestamp("us", "UTC"), pa.timestamp("ms", "UTC")
INT32, INT64, UINT32, UINT64 = pa.int32(), pa.int64(), pa.uint32(), pa.uint64()
MONEY, QUANTITY, PRICE, RATE = pa.decimal128(18, 4), pa.decimal128(18, 6), pa.decimal128(18, 8), pa.decimal128(9, 4)
PARTS = pa.list_(pa.struct([("part", TEXT), ("price", TEXT)]))


class Column(NamedTuple):
    """A column of a table and the field of the value that it shows."""

    name: str
    type: pa.DataType
    field: str = ""
    """Where the field is called otherwise: times say their unit in the field's name, ClickHouse in the type."""


class Rejection(NamedTuple):
    """Where a record of topic `rejections` stands, where its cause was read, and why."""

    partition: int
    offset: int
    source_topic: str
    source_partition: int
    source_offset: int
    reason: str
    sent_at_ms: int


_LINES = (
    Column("kind", TEXT),
    Column("dimension", TEXT),
    Column("from_at", TIME, "from_us"),
    Column("to_at", TIME, "to_us"),
    Column("local_from", TEXT),
    Column("local_to", TEXT),
    Column("quantity", QUANTITY),
    Column("billed_quantity", QUANTITY),
    Column("unit", TEXT),
    Column("unit_price", PRICE),
    Column("amount_excl", MONEY),
    Column("tax_rate", RATE),
    Column("tax_amount", MONEY),
    Column("amount_incl", MONEY),
    Column("tariff_id", TEXT),
    Column("tariff_version", TEXT),
    Column("element_index", INT32),
    Column("component_index", INT32),
    Column("window", TEXT),
    Column("reason", TEXT),
    Column("assumptions", TEXTS),
    Column("evidence", TEXTS),
    Column("price_parts", PARTS),
)
_SLOTS = (
    Column("start_at", TIME, "start_us"),
    Column("energy_wh", INT64),
    Column("occupied_s", INT32),
    Column("charging_s", INT32),
)
_SESSIONS = (
    Column("session_id", TEXT),
    Column("generation", UINT32),
    Column("revision", UINT32),
    Column("station_id", TEXT),
    Column("connector_id", INT32),
    Column("site_id", TEXT),
    Column("time_zone", TEXT),
    Column("power_type", TEXT),
    Column("started_at", TIME, "started_at_us"),
    Column("ended_at", TIME, "ended_at_us"),
    Column("duration_s", INT64),
    Column("charging_s", INT64),
    Column("idle_s", INT64),
    Column("energy_wh", INT64),
    Column("energy_low_wh", INT64),
    Column("energy_high_wh", INT64),
    Column("unobserved_s", INT64),
    Column("estimated_wh", INT64),
    Column("unattributed_wh", INT64),
    Column("start_register_wh", INT64),
    Column("stop_register_wh", INT64),
    Column("max_power_w", INT64),
    Column("status", TEXT),
    Column("evidence", TEXT),
    Column("quality", TEXTS),
    Column("flags", TEXTS),
    Column("billable", FLAG),
    Column("stop_reason", TEXT),
    Column("driver", TEXT),
    Column("bill_state", TEXT),
    Column("held_reason", TEXT),
    Column("currency", TEXT),
    Column("total_excl_vat", MONEY),
    Column("total_incl_vat", MONEY),
    Column("payable_excl_vat", MONEY),
    Column("payable_incl_vat", MONEY),
    Column("tariff_id", TEXT),
    Column("tariff_version", TEXT),
    Column("revision_reason", TEXT),
    Column("superseded_by", TEXT),
    Column("clock", TEXT),
    Column("content_hash", TEXT),
)
_ANOMALIES = (
    Column("alert_id", TEXT),
    Column("rule", TEXT),
    Column("state", TEXT),
    Column("severity", TEXT),
    Column("station_id", TEXT),
    Column("connector_id", INT32),
    Column("site_id", TEXT),
    Column("session_id", TEXT),
    Column("at", TIME, "at_us"),
    Column("raised_at", TIME, "raised_at_us"),
    Column("value", TEXT),
    Column("threshold", TEXT),
    Column("detail", TEXT),
    Column("evidence", TEXTS),
    Column("clock", TEXT),
)
_REJECTIONS = (
    Column("partition", INT32),
    Column("offset", INT64),
    Column("source_topic", TEXT),
    Column("source_partition", INT32),
    Column("source_offset", INT64),
    Column("reason", TEXT),
    Column("sent_at", MILLIS, "sent_at_ms"),
)

COLUMNS: Mapping[str, frozenset[str]] = {
    "sessions": frozenset({"version"})
    | {column.name for column in _SESSIONS}
    | {f"lines.{column.name}" for column in _LINES}
    | {f"slots.{column.name}" for column in _SLOTS},
    "anomalies": frozenset(column.name for column in _ANOMALIES),
    "rejections": frozenset(column.name for column in _REJECTIONS),
}
"""Every column that we write, per table; a test compares them with the migrated tables."""


def version(generation: int, revision: int) -> int:
    """What orders the revisions of a session; the highest wins."""
    return (generation << 32) + revision


def sessions_table(sessions: Sequence[StrippedSession]) -> pa.Table:
    """One row per session and version. Raises pyarrow.ArrowInvalid if a decimal does not fit its column."""
    columns = _columns(_SESSIONS, sessions)
    columns["version"] = pa.array([version(each.generation, each.revision) for each in sessions], UINT64)
    columns.update(_nested("lines", _LINES, [each.lines for each in sessions]))
    columns.update(_nested("slots", _SLOTS, [each.slots for each in sessions]))
    return pa.table(columns)


def anomalies_table(alerts: Sequence[Alert]) -> pa.Table:
    """One row per alert and state."""
    return pa.table(_columns(_ANOMALIES, alerts))


def rejections_table(rejections: Sequence[Rejection]) -> pa.Table:
    """One row per dead letter."""
    return pa.table(_columns(_REJECTIONS, rejections))


def _columns(columns: Sequence[Column], values: Sequence[object]) -> dict[str, pa.Array]:
    """One Arrow array per column."""
    return {
        column.name: _array(list(map(attrgetter(column.field or column.name), values)), column) for column in columns
    }


def _nested(prefix: str, columns: Sequence[Column], groups: Sequence[Sequence[object]]) -> dict[str, pa.Array]:
    """A ClickHouse Nested: one list column per field, all with the same offsets."""
    arrays, offsets = _columns(columns, list(chain.from_iterable(groups))), _offsets(groups)
    return {f"{prefix}.{name}": pa.ListArray.from_arrays(offsets, each) for name, each in arrays.items()}


def _offsets(groups: Sequence[Sequence[object]]) -> pa.Array:
    return pa.array(accumulate(map(len, groups), initial=0), INT32)


def _array(values: list[Any], column: Column) -> pa.Array:
    if pa.types.is_decimal(column.type):
        return pc.cast(pa.array(values, TEXT), column.type)
    if column.type is PARTS:
        parts = list(chain.from_iterable(values))
        fields = [pa.array([part[position] for part in parts], TEXT) for position in (0, 1)]
        return pa.ListArray.from_arrays(_offsets(values), pa.StructArray.from_arrays(fields, ["part", "price"]))
    if column.field in ("from_us", "to_us"):  # 0: the line is an adjustment and has no period of time
        return pa.array([each or None for each in values], TIME)
    return pa.array(values, column.type)
