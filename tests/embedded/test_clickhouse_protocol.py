"""ClickHouse's HTTP interface without engine and socket: where the statement ends, encodings, forms, codes."""

from __future__ import annotations

import gzip
import zlib
from http import HTTPStatus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.embedded import clickhouse_protocol as protocol


@given(data=st.binary())
def test_inserted_bytes_arrive_as_sent(data: bytes) -> None:
    in_body = protocol.statement(b"", b"INSERT INTO t (`format x`, b) FORMAT Native\n" + data)
    assert (in_body.sql, in_body.input_format, in_body.data) == ("INSERT INTO t (`format x`, b)", "Native", data)
    in_url = protocol.statement(b"insert into t format RowBinary", data)
    assert (in_url.sql, in_url.input_format, in_url.data) == ("insert into t", "RowBinary", data)


@pytest.mark.parametrize(
    ("sql", "head", "input_format", "data"),
    [
        ("INSERT INTO t FORMAT CSV 1,2", "INSERT INTO t", "CSV", b"1,2"),
        ("INSERT INTO t FORMAT CSV;1,2", "INSERT INTO t", "CSV", b"1,2"),
        ("INSERT INTO t FORMAT TSV\r\n1\t2", "INSERT INTO t", "TSV", b"1\t2"),
        ("INSERT INTO t (a) SETTINGS x=0 FORMAT TSV\n1", "INSERT INTO t (a) SETTINGS x=0", "TSV", b"1"),
        ("INSERT INTO `my format CSV` FORMAT TSV\n1", "INSERT INTO `my format CSV`", "TSV", b"1"),
        ("INSERT INTO t FORMAT TSV", "INSERT INTO t", "TSV", b""),
        ("INSERT INTO t VALUES (1, 'FORMAT x'), (2)", "INSERT INTO t", "Values", b" (1, 'FORMAT x'), (2)"),
    ],
)  # fmt: skip
def test_an_insert_with_data_is_cut_after_its_format(sql: str, head: str, input_format: str, data: bytes) -> None:
    found = protocol.statement(b"", sql.encode())
    assert (found.sql, found.input_format, found.data) == (head, input_format, data)


@pytest.mark.parametrize(
    "sql",
    [
        "INSERT INTO t SELECT a AS format FROM u",
        "INSERT INTO t SELECT format('{}', a) FROM u",
        "INSERT INTO t WITH x AS (SELECT 1) SELECT * FROM x",
        "SELECT 'INSERT INTO t FORMAT TSV\n1'",
    ],
)
def test_other_statements_stay_whole(sql: str) -> None:
    assert protocol.statement(b"", sql.encode()) == protocol.Statement(sql=sql)


def test_statement_in_two_places_is_one() -> None:
    assert protocol.statement(b"SELECT 1", b"+ 1").sql == "SELECT 1\n+ 1"


@pytest.mark.parametrize("body", [b"", b"  \n", b"SELECT '\xff'"])
def test_what_is_no_statement_is_refused(body: bytes) -> None:
    with pytest.raises(protocol.BadRequest):
        protocol.statement(b"", body)


@pytest.mark.parametrize(
    ("sql", "asked", "format_name"),
    [
        ("SELECT 1 FORMAT JSON", "Native", "JSON"),
        ("SELECT 1 FORMAT CSV SETTINGS max_threads = 1;", None, "CSV"),
        ("SELECT 1", "Native", "Native"),
        ("SELECT format FROM t", None, "TabSeparated"),
    ],
)
def test_the_format_of_the_answer(sql: str, asked: str | None, format_name: str) -> None:
    assert protocol.output_format(sql, asked) == format_name


@pytest.mark.parametrize(
    ("sql", "rows"),
    [
        ("-- why\n select 1", True), ("/* a */ WITH 1 AS x SELECT x", True), ("(SELECT 1)", True), ("EXISTS t", True),
        ("DESCRIBE TABLE t", True), ("CREATE TABLE selected (a Int8)", False), ("INSERT INTO t SELECT 1", False),
    ],
)  # fmt: skip
def test_statements_that_answer_with_rows(sql: str, rows: bool) -> None:
    assert protocol.answers_rows(sql) is rows


@given(answer=st.binary(), name=st.sampled_from(["lz4", "zstd", "gzip", "deflate"]))
def test_encodings_are_inverse(answer: bytes, name: str) -> None:
    body, encoding = protocol.compressed(answer, f"br;q=1, {name}, gzip")
    assert encoding == name
    assert protocol.decompressed(body, name) == answer


@pytest.mark.parametrize("name", ["lz4", "zstd", "gzip"])
def test_several_frames_are_one_body(name: str) -> None:
    frames = protocol.compressed(b"first ", name)[0] + protocol.compressed(b"second", name)[0]
    assert protocol.decompressed(frames, name) == b"first second"


@pytest.mark.parametrize("encoding", ["lz4", "zstd", "gzip", "deflate"])
def test_a_broken_body_is_a_bad_request(encoding: str) -> None:
    with pytest.raises(protocol.BadRequest, match="not valid"):
        protocol.decompressed(b"not compressed at all", encoding)


def test_the_standard_tools_agree() -> None:
    assert protocol.decompressed(gzip.compress(b"x"), "gzip") == b"x"
    assert protocol.decompressed(zlib.compress(b"x"), "deflate") == b"x"
    with pytest.raises(protocol.BadRequest, match="br"):
        protocol.decompressed(b"x", "br")


def test_form_fields_keep_their_bytes() -> None:
    body = (
        b'--B\r\nContent-Disposition: form-data; name="query"\r\n\r\nSELECT {a:String}\nFORMAT TSV\r\n'
        b'--B\r\nContent-Disposition: form-data; name="param_a"\r\n\r\n\xc3\xa9 \r\n--B--\r\n'
    )
    fields = protocol.form_fields("multipart/form-data; boundary=B", body)
    assert fields == {"query": "SELECT {a:String}\nFORMAT TSV", "param_a": "é "}


def test_external_tables_are_refused_by_name() -> None:
    body = b'--B\r\nContent-Disposition: form-data; name="t"; filename="t"\r\n\r\n1\r\n--B--\r\n'
    with pytest.raises(protocol.BadRequest, match="External data is not supported") as refused:
        protocol.form_fields("multipart/form-data; boundary=B", body)
    assert refused.value.status == HTTPStatus.NOT_IMPLEMENTED


def test_parameters_are_settings_unless_they_speak_to_http() -> None:
    parameters = {"query": "x", "session_id": "s", "param_a": "1", "max_threads": "2", "wait_end_of_query": "1"}
    assert protocol.settings(parameters) == {"max_threads": "2"}
    assert protocol.bindings(parameters) == {"a": "1"}
    with pytest.raises(protocol.BadRequest, match="Unknown setting"):
        protocol.settings({"max_threads = 1, readonly": "0"})


@pytest.mark.parametrize(("code", "status"), [(62, 400), (60, 404), (48, 501), (159, 408), (241, 500)])
def test_codes_have_the_status_of_a_server(code: int, status: int) -> None:
    assert protocol.status_of(code) == status
    assert protocol.error_code(f"Code: {code}. DB::Exception: no") == code
