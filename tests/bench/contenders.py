"""Who is measured: the bare loop, this pipeline with one worker or more, and the peers; one run of each at a time."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from itertools import count
from pathlib import Path

from confluent_kafka import Consumer, KafkaException, TopicPartition

from pipeline.kafka_config import client_config
from tests.bench.measure import Child, Figure, Run
from tests.bench.platform import OUTPUTS, SOURCE, Platform

PEERS = Path(__file__).parent / "peers"
_runs = count(1)


class GroupProgress:
    """Committed offsets of a consumer group up to `ends`, asked beside the group. With transactions: what is committed."""

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
    inspect: Callable[[Child], None] = lambda child: None,
) -> Figure:
    """The whole job. `inspect` sees the first worker when the goal is reached, before it is stopped."""
    platform.renew(OUTPUTS)
    group = f"bench-{next(_runs)}"
    progress = GroupProgress(platform, f"{group}-assemble", ends)
    children = [worker(platform, group, slot) for slot in range(workers)]
    try:
        found = Run(children, sum(ends.values()), broker_pid, progress.done).watch(240)
        inspect(children[0])
        return found
    finally:
        for child in children:
            child.stop()
        progress.close()


def peer(platform: Platform, name: str, python: Path, records: int, broker_pid: int) -> Figure:
    """One run of peers/<name>.py over the first `records` records or so."""
    platform.renew(["bench-out"])
    group = f"bench-{name}-{next(_runs)}"
    folder = platform.folder / group
    folder.mkdir()
    child = Child.start(
        [str(python), str(PEERS / f"{name}.py"), platform.settings.kafka, SOURCE, group, str(folder)],
        {},
        platform.folder / f"{group}.log",
        counts=True,
    )
    try:
        return Run([child], records, broker_pid, lambda: child.done).watch(120)
    finally:
        child.stop()


def venv(name: str, build: Path) -> Path:
    """The interpreter of a peer, in a virtual environment of its own with what peers/<name>.txt pins; kept between runs.

    Raises subprocess.CalledProcessError when it cannot be installed.
    """
    home, wanted = build / name, (PEERS / f"{name}.txt").read_text("utf-8")
    python, stamp = home / "bin" / "python", home / "installed.txt"
    if not stamp.exists() or stamp.read_text("utf-8") != wanted:
        run = lambda *command: subprocess.run(command, check=True, capture_output=True, text=True, timeout=600)  # noqa: E731, S603
        run(sys.executable, "-m", "venv", "--clear", str(home))
        run(str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check",
            "--only-binary", ":all:", "-r", str(PEERS / f"{name}.txt"))  # fmt: skip
        stamp.write_text(wanted, "utf-8")
    return python


def elapsed(since: float) -> str:
    return f"{time.monotonic() - since:.0f} s"
