"""Who is measured: the bare loop, this pipeline with one worker or more, and the peers; one run of each at a time."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from confluent_kafka import Consumer, KafkaException, TopicPartition

from pipeline.kafka_config import client_config
from tests.bench.measure import Child, Ended, Figure, Run, last_line
from tests.bench.platform import OUTPUTS, SOURCE, Platform

PEERS = Path(__file__).parent / "peers"
READY_S = 60.0
ASSIGNED = re.compile(r"store: assigned [^n]")
RESTORED = re.compile(r"restored partitions \[[\d, ]*\d\]: (\d+) keys in ([\d.]+) s")
_runs = count(1)


class GroupProgress:
    """Committed offsets of a group up to `ends`, asked from outside the group."""

    def __init__(self, platform: Platform, group: str, ends: Mapping[int, int]) -> None:
        self._ends = ends
        self._consumer = Consumer(
            client_config(platform.settings) | {"group.id": group, "enable.auto.commit": False, "log_level": 0}
        )
        self._places = [TopicPartition(SOURCE, number) for number in ends]
        self._last = 0

    def done(self) -> int:
        try:
            found = self._consumer.committed(self._places, 5.0)
        except KafkaException:  # the coordinator moves: the next look may succeed, and a run has a time limit
            return self._last
        self._last = sum(max(0, min(place.offset, self._ends[place.partition])) for place in found)
        return self._last

    def close(self) -> None:
        self._consumer.close()


def limit(platform: Platform, ends: Mapping[int, int], broker_pid: int) -> Figure:
    command = [sys.executable, "-m", "tests.bench.limit", platform.settings.kafka, SOURCE]
    child = Child.start(command, {}, platform.folder / "limit.log", counts=True)
    try:
        return Run([child], sum(ends.values()), broker_pid, lambda: child.done).watch(120)
    finally:
        child.stop()


def worker(platform: Platform, group: str, slot: int, stage: str = "assemble", **settings: str) -> Child:
    """One worker process; its log is <group>-<slot>.log."""
    return Child.start(
        [sys.executable, "-m", "pipeline", "worker", "--stage", stage],
        platform.environment(GROUP=group, SLOT=str(slot), **settings),
        platform.folder / f"{group}-{stage}-{slot}.log",
        counts=False,
    )


def pipeline(
    platform: Platform,
    ends: Mapping[int, int],
    broker_pid: int,
    workers: int = 1,
    on_group: Callable[[str], None] = lambda group: None,
) -> Figure:
    """The whole job, by a new group on new output topics; `on_group` is told its name."""
    platform.renew(OUTPUTS)
    group = f"bench-{next(_runs)}"
    on_group(group)
    progress = GroupProgress(platform, f"{group}-assemble", ends)
    children = [worker(platform, group, slot) for slot in range(workers)]
    try:
        return Run(children, sum(ends.values()), broker_pid, progress.done).watch(240)
    finally:
        for child in children:
            child.stop()
        progress.close()


@dataclass(frozen=True, slots=True)
class Peer:
    """`records`: about five to twenty seconds of it."""

    script: str
    environment: str
    records: int


PEER_LIST: Mapping[str, Peer] = {
    "faust": Peer("faust_agent.py", "faust", 60_000),
    "faust_table": Peer("faust_table.py", "faust", 30_000),
    "quix": Peer("quix.py", "quix", 150_000),
    "bytewax": Peer("bytewax_map.py", "bytewax", 600_000),
}


def peer(platform: Platform, name: str, python: Path, records: int, broker_pid: int) -> Figure:
    """One run of a peer over the first `records` records or so."""
    platform.renew_out()
    group = f"bench-{name}-{next(_runs)}".replace("_", "-")
    folder = platform.folder / group
    folder.mkdir()
    child = Child.start(
        [str(python), str(PEERS / PEER_LIST[name].script), platform.settings.kafka, SOURCE, group, str(folder)],
        {},
        platform.folder / f"{group}.log",
        counts=True,
    )
    try:
        return Run([child], records, broker_pid, lambda: child.done).watch(120)
    finally:
        child.stop()


def venv(name: str, build: Path) -> Path:
    """The interpreter of a peer, in a virtual environment of its own with what peers/<name>.txt pins.

    It is kept between runs and made anew when the file changes.
    Raises subprocess.CalledProcessError when it cannot be installed.
    """
    home, wanted = build / name, (PEERS / f"{name}.txt").read_text("utf-8")
    python, stamp = home / "bin" / "python", home / "installed.txt"
    if not stamp.exists() or stamp.read_text("utf-8") != wanted:
        install = ["pip", "install", "--quiet", "--disable-pip-version-check", "--only-binary", ":all:"]
        _run(sys.executable, "-m", "venv", "--clear", str(home))
        _run(str(python), "-m", *install, "-r", str(PEERS / f"{name}.txt"))
        stamp.write_text(wanted, "utf-8")
    return python


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True, text=True, timeout=600)  # noqa: S603 - our own commands


def wait_said(child: Child, said: re.Pattern[str], limit_s: float = READY_S) -> re.Match[str]:
    """Until the worker's log says so (since this child began). Raises Ended."""
    deadline = time.monotonic() + limit_s
    while True:
        found = said.search(child.log.read_text("utf-8"), child.log_began)
        if found is not None:
            return found
        child.check()
        if time.monotonic() > deadline:
            raise Ended(f"did not get ready within {limit_s:.0f} s: {last_line(child.log)}")
        time.sleep(0.05)


def restore(platform: Platform, group: str) -> tuple[int, float]:
    """(stations, seconds) of the restore by a new worker of a group whose worker has stopped."""
    child = worker(platform, group, 0)
    try:
        found = wait_said(child, RESTORED, 120)
    finally:
        child.stop()
    return int(found[1]), float(found[2])
