"""The process: one owner per folder, data outlive it, nothing outlives its owner, one sentence when it cannot start."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from pipeline.embedded.clickhouse import EmbeddedClickHouse
from pipeline.errors import Unavailable
from tests.chaos.disks import mounted
from tests.endpoint import owner_url, request


def ask(server: EmbeddedClickHouse, sql: str) -> str:
    with urllib.request.urlopen(request(owner_url(server), sql.encode()), timeout=30) as answer:  # noqa: S310 - our own http:// address
        return bytes(answer.read()).decode()


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/ping", timeout=2) as answer:  # noqa: S310 - our own http:// address
            return bytes(answer.read()) == b"Ok.\n"
    except (urllib.error.URLError, ConnectionError):
        return False


def test_data_outlive_stop_kill_and_the_object(tmp_path: Path) -> None:
    with EmbeddedClickHouse(tmp_path, port=0) as server:
        first_port = server.port
        ask(server, "CREATE DATABASE charging")
        ask(server, "CREATE TABLE charging.t (a UInt32) ENGINE = MergeTree ORDER BY a")
        ask(server, "INSERT INTO charging.t VALUES (1)")
        server.restart()
        ask(server, "INSERT INTO charging.t VALUES (2)")
        server.kill()
        assert not answers(server.url)
        server.start()
        assert server.port == first_port
        ask(server, "INSERT INTO charging.t VALUES (3)")
    with EmbeddedClickHouse(tmp_path, port=0) as other:
        assert ask(other, "SELECT a FROM charging.t ORDER BY a") == "1\n2\n3\n"


def test_sigterm_leaves_data_and_no_lock(tmp_path: Path) -> None:
    server = EmbeddedClickHouse(tmp_path, port=0)
    server.start()
    ask(server, "CREATE TABLE t (a UInt8) ENGINE = MergeTree ORDER BY a")
    assert server.pid is not None
    os.kill(server.pid, signal.SIGTERM)
    server.stop()
    with EmbeddedClickHouse(tmp_path, port=0) as again:
        assert ask(again, "EXISTS t") == "1\n"


def test_a_second_owner_of_the_folder_is_told_who_has_it(tmp_path: Path) -> None:
    with EmbeddedClickHouse(tmp_path, port=0) as server:
        with pytest.raises(Unavailable, match=f"{tmp_path} is in use by process {server.pid}; stop it or choose"):
            EmbeddedClickHouse(tmp_path, port=0).start()
        assert ask(server, "SELECT 1") == "1\n"


def test_a_taken_port_is_named(tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(
            Unavailable, match=rf"port {port} on 127\.0\.0\.1 cannot be used \(Address already in use\)"
        ):
            EmbeddedClickHouse(tmp_path, port=port).start()
    with EmbeddedClickHouse(tmp_path, port=port) as server:
        assert ask(server, "SELECT 1") == "1\n"


def test_only_the_loopback_listens(tmp_path: Path) -> None:
    with EmbeddedClickHouse(tmp_path, port=0) as server, socket.socket() as elsewhere:
        elsewhere.bind(("127.0.0.2", server.port))  # possible only if nobody listens on all addresses
        assert answers(server.url)


def test_a_web_page_cannot_reach_it(tmp_path: Path) -> None:
    """Browsers name the page's origin with every POST to another site; the loopback is no protection against them."""
    with EmbeddedClickHouse(tmp_path, port=0) as server:
        ask(server, "CREATE TABLE t (a UInt8) ENGINE = MergeTree ORDER BY a")
        page = urllib.request.Request(server.url, b"DROP TABLE t", {"Origin": "https://example.org"})  # noqa: S310 - ours
        with pytest.raises(urllib.error.HTTPError, match="403") as refused:
            urllib.request.urlopen(page)  # noqa: S310 - our own http:// address
        refused.value.close()
        assert ask(server, "EXISTS t") == "1\n"


OWNER = """
import signal, sys, time
from pathlib import Path
signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background inherits that it is ignored
from pipeline.embedded.clickhouse import EmbeddedClickHouse
server = EmbeddedClickHouse(Path(sys.argv[1]), port=0)
server.start()
print(server.url, flush=True)
time.sleep(600)
"""


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_the_server_ends_with_its_owner(tmp_path: Path, how: signal.Signals) -> None:
    owner = subprocess.Popen(  # noqa: S603 - our own command
        [sys.executable, "-c", OWNER, str(tmp_path)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    assert owner.stdout is not None
    with owner.stdout:
        url = owner.stdout.readline().decode().strip()
    assert answers(url)
    owner.send_signal(how)
    owner.wait(30)
    deadline = time.monotonic() + 30
    while answers(url) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not answers(url)
    with EmbeddedClickHouse(tmp_path, port=0) as server:
        assert ask(server, "SELECT 1") == "1\n"


def test_an_insert_without_space_is_refused_and_nothing_of_it_is_said_to_be_stored(tmp_path: Path) -> None:
    try:
        with mounted(tmp_path / "small") as disk, EmbeddedClickHouse(tmp_path / "small", port=0) as server:
            ask(server, "CREATE TABLE t (a UInt32) ENGINE = MergeTree ORDER BY a")
            disk.fill()
            with pytest.raises(urllib.error.HTTPError) as refused:
                ask(server, "INSERT INTO t FORMAT CSV\n1\n2\n")
            assert refused.value.headers["X-ClickHouse-Exception-Code"] == "243"
            assert refused.value.code == 500
            disk.free()
            ask(server, "INSERT INTO t FORMAT CSV\n3\n")
            assert ask(server, "SELECT a FROM t") == "3\n"
    except PermissionError as refusal:
        pytest.skip(str(refusal))
