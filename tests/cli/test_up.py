"""`chargeline up` as a process: ready when it says so, gone when asked, clear when it cannot start."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from confluent_kafka.admin import AdminClient

from pipeline.topics import TOPICS
from tests.endpoint import request


def chargeline_up(data: Path, *options: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "pipeline", "up", "--data", str(data), "--json", *options]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)  # noqa: S603 - our own command


@contextmanager
def up(data: Path) -> Iterator[tuple[subprocess.Popen[str], dict[str, str]]]:
    process = chargeline_up(data, "--kafka-port", "0", "--clickhouse-port", "0")
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line, process.communicate()[1]
        yield process, json.loads(line)
    finally:
        process.kill()
        process.communicate()


def query(found: dict[str, str], sql: str) -> str:
    password = Path(found["clickhouse_password_file"]).read_text("utf-8").strip()
    asked = request(found["clickhouse_url"], sql.encode(), {"X-ClickHouse-Key": password})
    with urllib.request.urlopen(asked, timeout=20) as answer:  # noqa: S310 - our own endpoint
        return str(answer.read().decode())


def open_to_others(data: Path) -> list[str]:
    """What of the folder another user of the machine could read; segments hold drivers' tags."""
    mode = {each: each.stat().st_mode for each in data.rglob("*") if not each.is_symlink()}
    return [str(each) for each, bits in mode.items() if bits & (stat.S_IRWXG | stat.S_IRWXO)]


def processes_on(data: Path) -> list[str]:
    """Command lines of what runs with the folder."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            arguments = (entry / "cmdline").read_bytes().decode(errors="replace").replace("\0", " ")
        except OSError:
            continue  # it has just ended
        if str(data) in arguments and int(entry.name) != os.getpid():
            found.append(arguments)
    return found


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
def test_it_is_ready_when_it_says_so_and_leaves_nothing_running(number: signal.Signals, tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    (tmp_path / "kafka").mkdir(mode=0o755)
    with up(tmp_path) as (process, found):
        assert TOPICS.keys() <= AdminClient({"bootstrap.servers": found["kafka"]}).list_topics(timeout=10).topics.keys()
        assert query(found, "SELECT count() FROM charging.sessions") == "0\n"
        assert len(processes_on(tmp_path)) >= 3
        assert open_to_others(tmp_path) == []
        assert tmp_path.stat().st_mode & 0o777 == 0o755, "somebody's own folder stays as it is"
        process.send_signal(number)
        assert process.wait(30) == 0
        assert processes_on(tmp_path) == []


def test_a_taken_port_or_folder_is_one_sentence(tmp_path: Path) -> None:
    with up(tmp_path / "first") as (_, found):
        port = found["kafka"].rpartition(":")[2]
        second = chargeline_up(tmp_path / "second", "--kafka-port", port, "--clickhouse-port", "0")
        out, err = second.communicate(timeout=60)
        assert (second.returncode, out) == (1, "")
        assert err.splitlines()[-1].startswith(f"chargeline: Kafka's port {port} on 127.0.0.1 cannot be used")
        third = chargeline_up(tmp_path / "first", "--kafka-port", "0", "--clickhouse-port", "0")
        out, err = third.communicate(timeout=60)
        assert (third.returncode, out) == (1, "")
        assert "is in use by process" in err.splitlines()[-1]


def test_a_broker_that_dies_ends_the_command(tmp_path: Path) -> None:
    with up(tmp_path) as (process, _):
        java = [line for line in processes_on(tmp_path) if "kafka.Kafka" in line]
        assert len(java) == 1
        os.kill(broker_pid(tmp_path), signal.SIGKILL)
        assert process.wait(30) == 1
        assert process.stderr is not None
        assert "chargeline: Kafka has stopped by itself; see " in process.stderr.read()
    assert processes_on(tmp_path) == []


def broker_pid(data: Path) -> int:
    for entry in Path("/proc").glob("[0-9]*"):
        arguments = (entry / "cmdline").read_bytes().decode(errors="replace") if entry.exists() else ""
        if str(data) in arguments and "kafka.Kafka" in arguments:
            return int(entry.name)
    raise AssertionError("no broker runs")
