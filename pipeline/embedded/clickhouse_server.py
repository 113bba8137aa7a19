"""The process behind embedded/clickhouse.py: chDB, the ClickHouse engine as a library, served over HTTP on 127.0.0.1.

    python -m pipeline.embedded.clickhouse_server FOLDER PORT [--owned]

The rule of the file: one process owns a data folder, and each request has an engine connection of its own (110 us,
measured), so that settings and databases never leak between requests and a reader never waits behind a writer. The one
user is `default` with the password of the folder, no statement leaves the folder (clickhouse_policy.py), and web pages
are refused. Sessions are accepted and not kept, results are held in memory whole.
With --owned the process ends when its standard input does, that is, when its owner dies, however it dies.
"""

from __future__ import annotations

import argparse
import asyncio
import fcntl
import hmac
import json
import os
import re
import shutil
import socket
import sys
import threading
import time
from collections.abc import Mapping
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any, BinaryIO

import chdb
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from pipeline.embedded import clickhouse_protocol as protocol
from pipeline.embedded.clickhouse_policy import SETTINGS, Ask, Policy, Refused

HOST = "127.0.0.1"
PASSWORD = "password"  # noqa: S105 - the name of its file
QUERIES_AT_ONCE = 8
INSERTS_AT_ONCE = 4
"""Inserts have threads of their own: slow reads never keep a writer waiting."""
KEEP_FREE = 32 * 1024 * 1024
"""Bytes that an insert leaves on the disk."""
ORPHANED_S = 10.0
"""How long statements may still run when the owner has died."""
_ESCAPED = str.maketrans({"\\": r"\\", "\t": r"\t", "\n": r"\n"})
"""Values of parameters are read as TabSeparated."""
_STREAM_PREFIX = re.compile(r"^Streaming insert \w+ failed: ")


@dataclass(frozen=True, slots=True)
class Answer:
    """What a statement gave; rows and bytes are the server's summary of it."""

    body: bytes
    encoding: str
    format: str
    summary: Mapping[str, str]


class Engine:
    """chDB on one folder. The first connection stays open, because the engine stops with its last one."""

    def __init__(self, folder: Path) -> None:
        self._folder = str(folder)
        self._first = self._connect()
        self._policy = Policy(_asking(self._first))

    def _connect(self) -> Any:
        return chdb.connect(self._folder)  # type: ignore[no-untyped-call]  # chdb has no annotations here

    def close(self) -> None:
        self._first.close()

    def run(self, parameters: Mapping[str, str], asked: protocol.Statement, accepted: str, read_only: bool) -> Answer:
        """One statement on a connection of its own. Raises RuntimeError with ClickHouse's message."""
        connection = self._connect()
        try:
            settings, bindings = protocol.settings(parameters), protocol.bindings(parameters)
            self._policy.check_settings(settings)
            _prepare(connection, parameters.get("database", ""), settings, read_only)
            whole = f"{asked.sql} FORMAT {asked.input_format}" if asked.input_format else asked.sql
            self._policy.check(
                _asking(connection), whole, bindings, with_data=bool(asked.input_format), read_only=read_only
            )
            if asked.input_format:
                self._reserve(len(asked.data))
                return _insert(connection, asked)
            format_name = protocol.output_format(asked.sql, parameters.get("default_format"))
            result = connection.query(asked.sql, format_name, params=bindings)
            body, encoding = protocol.compressed(result.bytes() or b"", accepted)
            summary = {
                "read_rows": str(result.rows_read()),
                "read_bytes": str(result.bytes_read()),
                "written_rows": str(result.rows_written()),
                "written_bytes": str(result.bytes_written()),
                "elapsed_ns": str(int(result.elapsed() * 1e9)),
            }
            return Answer(body, encoding, format_name if protocol.answers_rows(asked.sql) else "", summary)
        finally:
            connection.close()

    def _reserve(self, size: int) -> None:
        """As a server does before it writes: chDB 4.4 says OK to a streamed insert that did not fit on the disk."""
        free = shutil.disk_usage(self._folder).free
        if free < size + KEEP_FREE:
            text = f"Cannot reserve {size} bytes, not enough space: {free} are free. (NOT_ENOUGH_SPACE)"
            raise protocol.BadRequest(text, 243, HTTPStatus.INTERNAL_SERVER_ERROR)


def _prepare(connection: Any, database: str, settings: Mapping[str, str], read_only: bool) -> None:
    chosen = {**settings, **SETTINGS}
    if read_only:
        chosen["readonly"] = "1"  # stricter than a server, whose 2 lets a GET change settings
    if database:
        connection.query("USE `" + database.replace("\\", "\\\\").replace("`", "\\`") + "`")
    connection.query("SET " + ", ".join(f"{name} = {_literal(value)}" for name, value in chosen.items()))


def _asking(connection: Any) -> Ask:
    def ask(sql: str, parameters: Mapping[str, str]) -> str:
        escaped = {name: value.translate(_ESCAPED) for name, value in parameters.items()}
        return bytes(connection.query(sql, "TSVRaw", params=escaped).bytes() or b"").decode()

    return ask


def _literal(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def _insert(connection: Any, asked: protocol.Statement) -> Answer:
    with connection.send_insert(asked.sql, asked.input_format) as stream:
        if asked.data:
            stream.append(asked.data)
        done = stream.finish()
    summary = {"written_rows": str(done.rows_written), "written_bytes": str(done.bytes_written), "read_rows": "0"}
    return Answer(b"", "", "", summary)


class Endpoint:
    """ClickHouse's `/` and `/ping`; statements run in two bounded pools of threads."""

    def __init__(self, engine: Engine, password: str) -> None:
        self._engine = engine
        self._password = password.encode()
        self._queries: Executor = ThreadPoolExecutor(QUERIES_AT_ONCE, "query")
        self._inserts: Executor = ThreadPoolExecutor(INSERTS_AT_ONCE, "insert")

    def app(self) -> Starlette:
        return Starlette(routes=[Route("/ping", self.ping), Route("/", self.execute, methods=["GET", "POST"])])

    async def ping(self, request: Request) -> Response:
        if protocol.from_elsewhere(request.headers):
            return _refusal("Code: 516. DB::Exception: Requests from web pages are refused", 516, HTTPStatus.FORBIDDEN)
        return PlainTextResponse("Ok.\n")

    async def execute(self, request: Request) -> Response:
        parameters = dict(request.query_params)
        if protocol.from_elsewhere(request.headers) or (request.method != "POST" and "query" not in parameters):
            return await self.ping(request)
        user, password = protocol.credentials(request.headers, parameters)
        if user != "default" or not hmac.compare_digest(password.encode(), self._password):
            return _refusal(_NOT_THE_OWNER, 516, HTTPStatus.FORBIDDEN)
        try:
            body = protocol.decompressed(await request.body(), request.headers.get("content-encoding", ""))
            content_type = request.headers.get("content-type", "")
            if content_type.startswith("multipart/form-data"):
                fields = protocol.form_fields(content_type, body)
                # The form's statement follows the URL's, as on a server; the other fields are parameters.
                body = fields.pop("query", "").encode()
                parameters.update(fields)
            parameters.setdefault("default_format", request.headers.get("x-clickhouse-format", ""))
            parameters.setdefault("database", request.headers.get("x-clickhouse-database", ""))
            accepted = request.headers.get("accept-encoding", "") if _wants_compression(parameters) else ""
            asked = protocol.statement(parameters.get("query", "").encode(), body)
            answer = await asyncio.get_running_loop().run_in_executor(
                self._inserts if asked.input_format else self._queries,
                self._engine.run, parameters, asked, accepted, request.method != "POST",
            )  # fmt: skip
        except protocol.BadRequest as error:
            return _refusal(f"Code: {error.code}. DB::Exception: {error}", error.code, error.status)
        except Refused as error:
            text = f"Code: {error.code}. DB::Exception: {error} refused by the embedded ClickHouse"
            return _refusal(text, error.code, protocol.status_of(error.code))
        except RuntimeError as error:  # chDB's only exception: ClickHouse's message, with its code inside
            text = _STREAM_PREFIX.sub("", str(error))
            code = protocol.error_code(text)
            return _refusal(text, code, protocol.status_of(code))
        headers = {
            "X-ClickHouse-Query-Id": parameters.get("query_id", ""),
            "X-ClickHouse-Timezone": "UTC",
            "X-ClickHouse-Summary": json.dumps(answer.summary),
        }
        if answer.format:
            headers["X-ClickHouse-Format"] = answer.format
        if answer.encoding:
            headers["Content-Encoding"] = answer.encoding
        return Response(answer.body, headers=headers, media_type="text/plain" if answer.format else None)


def _wants_compression(parameters: Mapping[str, str]) -> bool:
    return parameters.get("enable_http_compression", "1") not in ("0", "false")  # on by default, as in servers of 2026


def _refusal(text: str, code: int, status: HTTPStatus) -> Response:
    return PlainTextResponse(text + "\n", status, {"X-ClickHouse-Exception-Code": str(code)})


_NOT_THE_OWNER = (
    "Code: 516. DB::Exception: default: Authentication failed: password is incorrect, or there is no user with such "
    "name. (AUTHENTICATION_FAILED)"
)


def own(folder: Path) -> BinaryIO:
    """The lock of `folder`, held until this process ends; a predecessor that is just dying is given three seconds."""
    folder.mkdir(parents=True, exist_ok=True)
    file = (folder / "clickhouse.lock").open("a+b")
    deadline = time.monotonic() + 3
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() < deadline:
                time.sleep(0.05)
                continue
            file.seek(0)
            owner = file.read(20).decode("ascii", errors="replace").strip()
            sys.exit(f"{folder} is in use by process {owner}; stop it or choose another data folder")
        file.truncate(0)
        file.write(f"{os.getpid()}\n".encode())
        file.flush()
        return file


def listen(port: int) -> socket.socket:
    """A listening socket on the loopback; port 0 picks a free one."""
    server = socket.socket()
    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        server.bind((HOST, port))
        server.listen(128)
    except OSError as error:
        sys.exit(f"ClickHouse's port {port} on {HOST} cannot be used ({error.strerror}); choose another")
    return server


def main(arguments: list[str] | None = None) -> None:
    """Serve until SIGTERM; prints the port as its only line of output once requests are accepted."""
    parser = argparse.ArgumentParser(prog="clickhouse_server", description=__doc__.split("\n", 1)[0] if __doc__ else "")
    parser.add_argument("folder", type=Path)
    parser.add_argument("port", type=int)
    parser.add_argument("--owned", action="store_true", help="end when standard input does")
    asked = parser.parse_args(arguments)
    folder = asked.folder.resolve()
    with own(folder), listen(asked.port) as server_socket:
        (folder / "empty").mkdir(exist_ok=True)
        os.chdir(folder / "empty")  # an unknown table of the database `default` is looked for as a file
        engine = Engine(folder / "engine")
        app = Endpoint(engine, (folder / PASSWORD).read_text("utf-8").strip()).app()
        config = uvicorn.Config(
            app, log_level="warning", access_log=False, timeout_keep_alive=60, timeout_graceful_shutdown=5
        )  # fmt: skip
        server = uvicorn.Server(config)
        if asked.owned:
            threading.Thread(target=_end_with_owner, args=(server,), daemon=True).start()
        print(server_socket.getsockname()[1], flush=True)
        server.run(sockets=[server_socket])
        engine.close()


def _end_with_owner(server: uvicorn.Server) -> None:
    sys.stdin.buffer.read()
    server.should_exit = True
    time.sleep(ORPHANED_S)
    os._exit(1)  # a statement that nobody waits for any more; the engine recovers as after SIGKILL


if __name__ == "__main__":
    main()
