"""What any ClickHouse endpoint must do for our writer, for clickhouse-connect as it comes, and for curl.

The same tests run against the embedded server and, where Docker can pull it, against the real one.
"""

from __future__ import annotations

import json
import math
import statistics
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from email.message import Message
from typing import Any

import clickhouse_connect
import pandas as pd  # type: ignore[import-untyped]  # comes with chdb, without annotations
import pyarrow as pa
import pytest
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import DatabaseError

from tests.containers import why_not
from tests.endpoint import request


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    text: str
    headers: Message


def http(url: str, body: bytes | None = None, headers: Mapping[str, str] | None = None, **parameters: str) -> Answer:
    """A plain request, as curl makes it: GET without a body, POST with one."""
    address = f"{url}/?{urllib.parse.urlencode(parameters)}"
    try:
        with urllib.request.urlopen(request(address, body, headers), timeout=30) as answer:  # noqa: S310 - our own http:// address
            return Answer(answer.status, answer.read().decode(), answer.headers)
    except urllib.error.HTTPError as error:
        with error:
            return Answer(error.code, error.read().decode(), error.headers)


def client_of(url: str, **options: Any) -> Client:
    return clickhouse_connect.get_client(dsn=url, **options)


@pytest.fixture
def client(any_clickhouse: str) -> Iterator[Client]:
    """clickhouse-connect with its defaults, in an empty database of its own."""
    client = client_of(any_clickhouse)
    client.command("DROP DATABASE IF EXISTS contract")
    client.command("CREATE DATABASE contract")
    client.database = "contract"
    yield client
    client.command("DROP DATABASE contract")
    client.close()


def test_the_suite_ran_against_a_real_server_too() -> None:
    if reason := why_not():
        pytest.skip(f"only the embedded server was tested: {reason}")
    assert not reason


def test_ping_and_version(any_clickhouse: str, client: Client) -> None:
    assert client.ping()
    assert http(any_clickhouse).text == "Ok.\n"
    assert int(str(client.server_version).split(".")[0]) >= 25
    assert client.server_tz.utcoffset(None) == UTC.utcoffset(None)


VALUES: list[tuple[str, Any]] = [
    ("UInt64", 2**64 - 1),
    ("Int32", -5),
    ("Float64", math.pi),
    ("Bool", True),
    ("String", "zß水\U0001f50c\t\n'\\ \x00"),
    ("LowCardinality(String)", "low"),
    ("LowCardinality(Nullable(String))", None),
    ("Nullable(Int64)", None),
    ("Decimal(18, 4)", Decimal("12345678901234.5678")),
    ("Date", date(2026, 3, 29)),
    ("DateTime64(6, 'UTC')", datetime(2026, 3, 29, 1, 0, 0, 123456, tzinfo=UTC)),
    ("Array(LowCardinality(String))", ["a", "b"]),
    ("Array(Tuple(part String, price String))", [{"part": "a", "price": "1"}]),
    ("Map(String, UInt8)", {"k": 1}),
]


@pytest.mark.parametrize("compress", [True, "lz4", "zstd", "gzip", False])
def test_values_come_back_through_every_encoding(any_clickhouse: str, client: Client, compress: bool | str) -> None:
    columns = ", ".join(f"c{number} {kind}" for number, (kind, _) in enumerate(VALUES))
    client.command(f"CREATE TABLE t (n UInt32, {columns}) ENGINE = MergeTree ORDER BY n")
    own = client_of(any_clickhouse, database="contract", compress=compress, tz_mode="aware")
    row = [value for _, value in VALUES]
    assert own.insert("t", [[number, *row] for number in range(3)]).written_rows == 3
    found = own.query("SELECT * FROM t ORDER BY n").result_rows
    assert [list(each) for each in found] == [[number, *row] for number in range(3)]


def test_a_big_column_oriented_insert_is_cut_into_blocks_and_arrives_whole(client: Client) -> None:
    client.command("CREATE TABLE t (a UInt64, s String) ENGINE = MergeTree ORDER BY a")
    numbers = list(range(200_000))
    texts = [f"text {number} " * 5 for number in numbers]
    context = client.create_insert_context("t", ["a", "s"], column_oriented=True, settings={"async_insert": 0})
    context.block_row_count = 30_000  # several compressed frames in one body
    client.insert(data=[numbers, texts], context=context)
    assert client.query("SELECT count(), sum(a), uniqExact(s) FROM t").result_rows == [(200_000, sum(numbers), 200_000)]


def test_arrow_and_data_frames_go_in_and_out(client: Client) -> None:
    client.command("CREATE TABLE t (a UInt32, s String, x Nullable(Float64)) ENGINE = MergeTree ORDER BY a")
    assert client.insert_arrow("t", pa.table({"a": [1, 2], "s": ["x", "y"], "x": [0.5, None]})).written_rows == 2
    client.insert_df("t", pd.DataFrame({"a": [3], "s": ["z"], "x": [1.5]}))
    assert client.query_arrow("SELECT * FROM t ORDER BY a").to_pydict()["x"] == [0.5, None, 1.5]
    assert list(client.query_df("SELECT s FROM t ORDER BY a")["s"]) == ["x", "y", "z"]
    with client.query_row_block_stream("SELECT a FROM t ORDER BY a") as blocks:
        assert [row for block in blocks for row in block] == [(1,), (2,), (3,)]


@pytest.mark.parametrize("form", [False, True])
def test_parameters_in_the_url_and_as_form(any_clickhouse: str, client: Client, form: bool) -> None:
    own = client_of(any_clickhouse, form_encode_query_params=form)
    text = "é '\"\\ \t\r\n end "
    given = {"text": text, "numbers": [1, 2], "at": datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC), "none": None}
    query = "SELECT {text:String}, {numbers:Array(UInt8)}, toUnixTimestamp({at:DateTime('UTC')}), {none:Nullable(Int8)}"
    assert own.query(query, parameters=given).result_rows == [(text, [1, 2], 1767323045, None)]


def test_long_parameters_are_sent_as_form_by_themselves(client: Client) -> None:
    many = [f"session-{number:08d}" for number in range(20_000)]
    assert client.query("SELECT length({many:Array(String)})", parameters={"many": many}).first_row == (20_000,)


@pytest.mark.parametrize(
    ("sql", "code"),
    [
        ("SELEC 1", 62),
        ("SELECT nothing", 47),
        ("SELECT * FROM nothing", 60),
        ("SELECT * FROM nowhere.nothing", 81),
        ("SELECT throwIf(1)", 395),
        ("SELECT toUInt8('x')", 6),
    ],
)
def test_errors_carry_their_code(any_clickhouse: str, client: Client, sql: str, code: int) -> None:
    with pytest.raises(DatabaseError) as refused:
        client.query(sql)
    assert refused.value.code == code
    plain = http(any_clickhouse, sql.encode())
    assert plain.status >= 400
    assert plain.headers["X-ClickHouse-Exception-Code"] == str(code)
    assert f"Code: {code}" in plain.text


def test_a_refused_insert_leaves_nothing_and_harms_nobody(any_clickhouse: str, client: Client) -> None:
    client.command("CREATE TABLE t (a UInt8) ENGINE = MergeTree ORDER BY a")
    bad = http(any_clickhouse, b"1\nnot a number\n", query="INSERT INTO contract.t FORMAT TSV")
    assert bad.status == 400
    assert http(any_clickhouse, b"7\n", query="INSERT INTO contract.t FORMAT TSV").status == 200
    assert client.query("SELECT a FROM t").result_rows == [(7,)]


def test_curl_gets_and_posts(any_clickhouse: str, client: Client) -> None:
    assert http(any_clickhouse, query="SELECT 1 + 1").text == "2\n"
    assert http(any_clickhouse, b"SELECT 1 + 2").text == "3\n"
    found = http(any_clickhouse, query="SELECT 1 AS a FORMAT JSON")
    assert json.loads(found.text)["data"] == [{"a": 1}]
    assert found.headers["X-ClickHouse-Format"] == "JSON"
    assert http(any_clickhouse, b"SELECT 1 AS a", default_format="JSONEachRow").text == '{"a":1}\n'
    assert http(any_clickhouse, b"SELECT 1 AS a", {"X-ClickHouse-Format": "CSVWithNames"}).text == '"a"\n1\n'
    assert http(any_clickhouse, b"SELECT currentDatabase()", database="contract").text == "contract\n"
    assert http(any_clickhouse, b"SELECT currentDatabase()", {"X-ClickHouse-Database": "contract"}).text == "contract\n"


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
def test_answers_are_encoded_as_accepted(any_clickhouse: str, encoding: str) -> None:
    def ask(**parameters: str) -> tuple[str | None, bytes]:
        address = f"{any_clickhouse}/?{urllib.parse.urlencode({'query': 'SELECT 1', **parameters})}"
        asked = request(address, headers={"Accept-Encoding": encoding})
        with urllib.request.urlopen(asked, timeout=30) as answer:  # noqa: S310 - our own http:// address
            return answer.headers["Content-Encoding"], answer.read()

    name, body = ask()
    assert name == encoding
    assert zlib.decompress(body, wbits=47) == b"1\n"
    assert ask(enable_http_compression="0") == (None, b"1\n")


def test_a_get_changes_nothing(any_clickhouse: str, client: Client) -> None:
    refused = http(any_clickhouse, query="CREATE TABLE contract.t (a UInt8) ENGINE = Memory")
    assert refused.headers["X-ClickHouse-Exception-Code"] == "164"
    assert client.query("SHOW TABLES").result_rows == []


def test_settings_hold_for_their_query_only(any_clickhouse: str, client: Client) -> None:
    asked = "SELECT getSetting('max_block_size')"
    assert client.query(asked, settings={"max_block_size": 1234}).first_row == (1234,)
    assert client.query(asked).first_row != (1234,)
    unknown = http(any_clickhouse, b"SELECT 1", max_blok_size="1")
    assert unknown.headers["X-ClickHouse-Exception-Code"] == "115"


def test_settings_of_our_inserts_and_sessions_are_accepted(any_clickhouse: str, client: Client) -> None:
    client.command("CREATE TABLE t (a UInt8) ENGINE = MergeTree ORDER BY a")
    settings = {"async_insert": 0, "wait_end_of_query": 1, "insert_deduplicate": 0, "input_format_null_as_default": 0}
    assert client.insert("t", [[1]], ["a"], settings=settings).written_rows == 1
    with_session = client_of(any_clickhouse, session_id="one", database="contract")
    assert with_session.query("SELECT a FROM t").result_rows == [(1,)]


def test_commands_answer_as_the_client_expects(client: Client) -> None:
    assert client.command("SELECT 'x'") == "x"
    assert client.command("SELECT 1 WHERE 0") == ""
    assert client.command("EXISTS nothing") == 0
    assert client.query("SELECT 1 AS a LIMIT 0").column_names == ("a",)


def test_readers_do_not_wait_for_a_writer(any_clickhouse: str, client: Client) -> None:
    """A point read stays far below the time of one insert while inserts run one after the other."""
    client.command("CREATE TABLE t (a UInt64, s String) ENGINE = MergeTree ORDER BY a")
    rows = pa.table({"a": range(300_000), "s": [f"{number:040d}" for number in range(300_000)]})
    client.insert_arrow("t", rows)
    done = threading.Event()
    inserts: list[float] = []

    def write() -> None:
        own = client_of(any_clickhouse, database="contract", autogenerate_session_id=False)
        for _ in range(4):
            began = time.perf_counter()
            own.insert_arrow("t", rows)
            inserts.append(time.perf_counter() - began)
        done.set()

    writer = threading.Thread(target=write)
    writer.start()
    reads: list[float] = []
    while not done.is_set():
        began = time.perf_counter()
        assert http(any_clickhouse, b"SELECT count() FROM contract.t WHERE a = 7").status == 200
        reads.append(time.perf_counter() - began)
    writer.join()
    assert len(reads) >= 2 * len(inserts)
    assert statistics.median(reads) < statistics.median(inserts) / 2
