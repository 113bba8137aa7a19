"""The ClickHouse client, and which of its failures mean "not available now" and not "wrong".

The rule of the file: a failure is Unavailable only if waiting can cure it. A wrong password, a missing table or a value
that does not fit stays the client's own exception, because no retry makes it right.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

import clickhouse_connect
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import Error, OperationalError, StreamFailureError

from pipeline.errors import Unavailable, WrongUsage

UNAVAILABLE_CODES = frozenset({
    159,  # TIMEOUT_EXCEEDED
    202,  # TOO_MANY_SIMULTANEOUS_QUERIES
    203,  # NO_FREE_CONNECTION
    209,  # SOCKET_TIMEOUT
    210,  # NETWORK_ERROR
    225,  # NO_ZOOKEEPER
    236,  # ABORTED: the server is stopping
    241,  # MEMORY_LIMIT_EXCEEDED
    242,  # TABLE_IS_READ_ONLY: a replica without its keeper
    243,  # NOT_ENOUGH_SPACE
    252,  # TOO_MANY_PARTS: merges must catch up
    279,  # ALL_CONNECTION_TRIES_FAILED
    285,  # TOO_FEW_LIVE_REPLICAS
    286,  # UNSATISFIED_QUORUM_FOR_PREVIOUS_WRITE
    289,  # REPLICA_IS_NOT_IN_QUORUM
    319,  # UNKNOWN_STATUS_OF_INSERT: a repeat is harmless
    394,  # QUERY_WAS_CANCELLED: the server is stopping
    439,  # CANNOT_SCHEDULE_TASK
    999,  # KEEPER_EXCEPTION
})  # fmt: skip
"""Exception codes of a server that is overloaded, starting, stopping or cut off."""
_NOT_MIGRATED_CODES = frozenset({60, 81})  # UNKNOWN_TABLE, UNKNOWN_DATABASE
_FULL = re.compile(r"No space left on device|Disk quota exceeded")  # met while writing, it has a code of any kind
_AVAILABILITY_STATUS = re.compile(r"HTTP status (?:429|5\d\d)\b")  # of a proxy: an answer without ClickHouse's code
_SENTENCE = re.compile(r"DB::Exception: (.+?)\.? \([A-Z_]+\)")


class NotMigrated(Exception):
    """The server answers, and our tables are missing or old."""


def connect(url: str, user: str, password: str, database: str | None = None, timeout_s: int = 30) -> Client:
    """A client of the server at `url`, for any number of threads (no session: a session runs one query at a time).

    Raises Unavailable when the server cannot be reached, NotMigrated when it has no such database, WrongUsage when
    `url` is not an address.
    """
    try:
        if not urlsplit(url).hostname or urlsplit(url).port == 0:
            raise ValueError
    except ValueError:  # its text may hold the password
        raise WrongUsage("CHARGELINE_CLICKHOUSE_URL is no address; write http://HOST:PORT") from None
    logging.getLogger("clickhouse_connect.driver").setLevel(logging.ERROR)  # its warnings are raised as well
    with failures(url):
        return clickhouse_connect.get_client(
            dsn=url, username=user, password=password, database=database or "__default__",
            connect_timeout=5, send_receive_timeout=timeout_s, autogenerate_session_id=False, tz_mode="aware",
        )  # fmt: skip


@contextmanager
def failures(url: str) -> Iterator[None]:
    """Failures inside that waiting can cure are Unavailable, missing tables NotMigrated, others as they are."""
    try:
        yield
    except Error as error:
        shown = without_password(url)
        if error.code in UNAVAILABLE_CODES or _is_about_transport(error) or _FULL.search(str(error)):
            raise Unavailable(f"ClickHouse at {shown} is not available: {reason(error)}") from error
        if error.code in _NOT_MIGRATED_CODES:
            raise NotMigrated(f"ClickHouse at {shown}: {reason(error)}; run `chargeline migrate`") from error
        raise


def without_password(url: str) -> str:
    """`url` as it may be shown: an address may carry a user and a password before its host."""
    found = urlsplit(url)
    return found._replace(netloc=found.netloc.rpartition("@")[2]).geturl()


def _is_about_transport(error: Error) -> bool:
    """The client raises OperationalError for broken connections and for answers 429, 503 and 504."""
    if isinstance(error, OperationalError):
        return not isinstance(error, StreamFailureError) or error.code is None
    return error.code is None and bool(_AVAILABILITY_STATUS.search(str(error)))


def reason(error: Error) -> str:
    """ClickHouse's own sentence, or what the operating system said, without the client's wrapping."""
    if said := _SENTENCE.search(str(error)):
        return said[1]
    cause: BaseException = error
    while (deeper := cause.__cause__ or cause.__context__) is not None:
        cause = deeper
    return str(cause).split("\n", 1)[0][:300]
