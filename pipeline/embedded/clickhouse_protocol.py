"""ClickHouse's HTTP interface as pure functions: what a request asks for, and how an answer or an error is said.

No engine and no socket in this file: clickhouse_server.py carries bytes between these functions and chDB. Rules are
those of the server's HTTPHandler: parameters that are not reserved are settings, `param_x` is `{x:Type}`, the
statement may be split between URL and body, and a failed statement names its code in a header.
"""

from __future__ import annotations

import base64
import email
import email.policy
import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from urllib.parse import urlsplit

import pyarrow as pa

RESERVED = frozenset({
    "query", "database", "default_format", "user", "password", "quota_key", "session_id", "session_timeout",
    "session_check", "query_id", "stacktrace", "wait_end_of_query", "buffer_size", "client_protocol_version",
    "role", "compress", "decompress", "close_session", "send_progress_in_http_headers",
    "http_headers_progress_interval_ms", "cancel_http_readonly_queries_on_client_close",
})  # fmt: skip
"""Parameters that speak to the HTTP layer of a server; everything else but `param_*` is a setting of the query."""

_STATUS_OF_CODES: Mapping[HTTPStatus, frozenset[int]] = {
    HTTPStatus.BAD_REQUEST: frozenset(
        {6, 15, 25, 26, 27, 36, 38, 41, 44, 53, 62, 69, 72, 117, 130, 131, 167, 168, 386, 427, 456, 457}
    ),
    HTTPStatus.FORBIDDEN: frozenset({497, 516}),
    HTTPStatus.NOT_FOUND: frozenset({10, 46, 47, 50, 56, 60, 63, 73, 78, 81, 115}),
    HTTPStatus.REQUEST_TIMEOUT: frozenset({159}),
    HTTPStatus.NOT_IMPLEMENTED: frozenset({48}),
    HTTPStatus.SERVICE_UNAVAILABLE: frozenset({209, 439}),
}
_QUOTED = rb"""'(?>[^'\\]|\\.)*+'|`[^`]*`|"[^"]*\""""
_INSERT = re.compile(
    rb"(?is)(\s*insert\s+into\s(?>"
    + _QUOTED
    + rb"|(?!\b(?:select|values|with|format)\b)[^'`\"])*+)\b(?:format\s+(\w+)[ \t\r]*;?[ \t\r]*\n?|(values)\b)"
)
_FORMAT = re.compile(r"(?is)\bformat\s+(\w+)(?:\s+settings\s+[^()]*)?\s*;?\s*$")
_ANSWERS_ROWS = re.compile(
    r"(?is)(?:\s|--[^\n]*\n|/\*.*?\*/|\()*(?:select|with|show|desc|describe|explain|exists|check|values|from)\b"
)
_ERROR_CODE = re.compile(r"\bCode: (\d+)\.")
_LONGEST_INSERT_STATEMENT = 1 << 18


class BadRequest(Exception):
    """The request cannot be understood; the text says what to send instead."""

    def __init__(self, message: str, code: int = 36, status: HTTPStatus = HTTPStatus.BAD_REQUEST) -> None:
        super().__init__(message)
        self.code = code
        self.status = status


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """What to run: `sql`, and for an INSERT with data the data's format and bytes (`sql` is then without FORMAT)."""

    sql: str
    input_format: str = ""
    data: bytes = b""


def statement(in_url: bytes, body: bytes) -> Statement:
    """Statement and data from the URL's `query` and the body; clients put both in either."""
    head = in_url or body
    found = _INSERT.match(head, 0, _LONGEST_INSERT_STATEMENT)
    if found:
        data = head[found.end() :]
        if in_url:
            data = data + b"\n" + body if data.strip() else body
        return Statement(sql=_text(found[1]).rstrip(), input_format=_text(found[2] or b"Values"), data=data)
    sql = _text(in_url + b"\n" + body if in_url and body else head)
    if not sql.strip():
        raise BadRequest("Empty query: send a statement as the body or as ?query=", 62)
    return Statement(sql=sql)


def from_elsewhere(headers: Mapping[str, str]) -> bool:
    """Whether a web page sent the request, or a name that is not this machine's led here (DNS rebinding).

    The port of Host is free, so that a tunnel may have another one. Browsers say Origin or, for links and images,
    Sec-Fetch-Site; "none" is an address that the user typed.
    """
    named = urlsplit(f"//{headers.get('host', '')}").hostname
    return (
        named not in ("127.0.0.1", "localhost")
        or "origin" in headers
        or headers.get("sec-fetch-site", "none") != "none"
    )


def credentials(headers: Mapping[str, str], parameters: Mapping[str, str]) -> tuple[str, str]:
    """User and password, from where ClickHouse takes them: its own headers, Basic, or the address."""
    scheme, _, encoded = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "basic":
        try:
            user, _, password = base64.b64decode(encoded, validate=True).decode().partition(":")
        except ValueError:
            return "", ""
        return user, password
    user = headers.get("x-clickhouse-user", parameters.get("user", "default"))
    return user, headers.get("x-clickhouse-key", parameters.get("password", ""))


def _text(raw: bytes) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        raise BadRequest(
            f"The statement is not UTF-8 at byte {error.start}; send binary data after INSERT ... FORMAT"
        ) from None


def output_format(sql: str, asked: str | None) -> str:
    """The format of the answer: the statement's own FORMAT, else what the request asks for, else TabSeparated."""
    found = _FORMAT.search(sql)
    return found[1] if found else asked or "TabSeparated"


def answers_rows(sql: str) -> bool:
    """Whether the statement has a result (the server names its format then), even an empty one."""
    return bool(_ANSWERS_ROWS.match(sql))


def settings(parameters: Mapping[str, str]) -> dict[str, str]:
    """The settings of the query among the parameters of a request."""
    chosen = {
        name: value for name, value in parameters.items() if name not in RESERVED and not name.startswith("param_")
    }
    for name in chosen:
        if not name.isidentifier():
            raise BadRequest(f"Unknown setting {name!r}", 115, HTTPStatus.NOT_FOUND)
    return chosen


def bindings(parameters: Mapping[str, str]) -> dict[str, str]:
    """Values of `{name:Type}` placeholders, sent as `param_name`."""
    return {name[6:]: value for name, value in parameters.items() if name.startswith("param_")}


def form_fields(content_type: str, body: bytes) -> dict[str, str]:
    """Fields of a multipart form. Files (external tables) are refused: chDB cannot attach them to a query."""
    message = email.message_from_bytes(
        b"Content-Type: " + content_type.encode() + b"\r\n\r\n" + body, policy=email.policy.HTTP
    )
    if not message.is_multipart():
        raise BadRequest("The multipart form has no parts")
    fields: dict[str, str] = {}
    for part in message.iter_parts():
        name = part.get_param("name", header="content-disposition")
        if part.get_filename() is not None:
            raise BadRequest(
                "External data is not supported by the embedded ClickHouse", 48, HTTPStatus.NOT_IMPLEMENTED
            )
        content = part.get_payload(decode=True)
        fields[str(name)] = _text(content if isinstance(content, bytes) else b"")
    return fields


def decompressed(body: bytes, encoding: str) -> bytes:
    """The body without its content encoding."""
    try:
        match encoding:
            case "" | "identity":
                return body
            case "lz4" | "zstd" | "gzip":  # several frames in a row, as clickhouse-connect sends them, are one body
                return bytes(pa.input_stream(pa.BufferReader(body), compression=encoding).read())
            case "deflate":
                return zlib.decompress(body)
    except (OSError, zlib.error) as error:
        raise BadRequest(f"The body is not valid {encoding}: {error}") from None
    raise BadRequest(
        f"Content-Encoding {encoding!r} is not supported; use lz4, zstd, gzip or deflate",
        48,
        HTTPStatus.NOT_IMPLEMENTED,
    )


def compressed(answer: bytes, accepted: str) -> tuple[bytes, str]:
    """The answer in the first accepted encoding that we know, and that encoding's name ("" = as it is)."""
    for name in (each.split(";")[0].strip() for each in accepted.split(",")):
        match name:
            case "lz4" | "zstd":
                return pa.compress(answer, name, asbytes=True), name
            case "gzip":
                return zlib.compress(answer, 1, wbits=31), name
            case "deflate":
                return zlib.compress(answer, 1), name
    return answer, ""


def error_code(text: str) -> int:
    """The ClickHouse code in an engine's message; 1002 (unknown exception) if it has none."""
    found = _ERROR_CODE.search(text)
    return int(found[1]) if found else 1002


def status_of(code: int) -> HTTPStatus:
    """The HTTP status that a server answers with for an exception code."""
    for status, codes in _STATUS_OF_CODES.items():
        if code in codes:
            return status
    return HTTPStatus.INTERNAL_SERVER_ERROR
