"""Rows go in: the only file that writes to ClickHouse's tables.

The rule of the file: an insert returns when the rows are stored, and may be repeated. Repeats and shifted batches are
harmless because every table keeps one row per identity and version. The settings below therefore switch off whatever
answers early (async inserts) or drops rows silently (block deduplication, NULLs turned into defaults).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import pyarrow as pa
from clickhouse_connect.driver.client import Client

from pipeline.domain.outputs import Alert, StrippedSession
from pipeline.storage.connection import connect, failures
from pipeline.storage.rows import Rejection, anomalies_table, rejections_table, sessions_table

INSERT_SETTINGS: Mapping[str, int] = {
    "async_insert": 0,  # on by default in servers since 26.2
    "wait_end_of_query": 1,
    "insert_deduplicate": 0,  # a rebuilt table must take a block that it had before
    "input_format_null_as_default": 0,
}


class Writer(Protocol):
    """The target of finished batches. Each method returns when all rows are stored, and repeats are harmless.

    Raises Unavailable when waiting may help; anything else is a defect in the rows, the tables or the settings.
    """

    def insert_sessions(self, sessions: Sequence[StrippedSession]) -> None: ...
    def insert_anomalies(self, alerts: Sequence[Alert]) -> None: ...
    def insert_rejections(self, rejections: Sequence[Rejection]) -> None: ...


class ClickHouseWriter:
    """Writer to the tables of `database` at `url`. Connects at the first insert and again after a failure.

    An insert without an answer after `timeout_s` is Unavailable: it is repeated, although it may have been stored.
    """

    def __init__(self, url: str, user: str, password: str, database: str, timeout_s: int = 30) -> None:
        self._url, self._user, self._password, self._database = url, user, password, database
        self._timeout_s = timeout_s
        self._client: Client | None = None

    def insert_sessions(self, sessions: Sequence[StrippedSession]) -> None:
        if sessions:
            self._insert("sessions", sessions_table(sessions))

    def insert_anomalies(self, alerts: Sequence[Alert]) -> None:
        if alerts:
            self._insert("anomalies", anomalies_table(alerts))

    def insert_rejections(self, rejections: Sequence[Rejection]) -> None:
        if rejections:
            self._insert("rejections", rejections_table(rejections))

    def close(self) -> None:
        if self._client is not None:
            self._client.close()
            self._client = None

    def _insert(self, table: str, rows: pa.Table) -> None:
        with failures(self._url):
            if self._client is None:
                self._client = connect(self._url, self._user, self._password, self._database, self._timeout_s)
            self._client.insert_arrow(table, rows, settings=dict(INSERT_SETTINGS))
