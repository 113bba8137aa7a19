"""Real worker processes on a real broker, and what they should have told: shared by the failure tests."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import confluent_kafka as ck
from confluent_kafka.admin import AdminClient, NewTopic

from pipeline.errors import InvalidMessage
from pipeline.runtime.murmur import partition_of
from pipeline.runtime.offline import Offline
from tests.runtime.counting import Counting

PARTITIONS = 4
APART = 1
Record = tuple[bytes | None, bytes]
REPOSITORY = Path(__file__).parents[2]


class Arena:
    """Topics and a group of its own on `bootstrap`, records in them, and the workers that were started.

    `apart`: of this one of in, state and out, partition APART lives on broker 2 (everything else on broker 1).
    """

    def __init__(self, bootstrap: str, folder: Path, apart: str = "", **stage: Any) -> None:
        self.bootstrap = bootstrap
        self.folder = folder
        self.apart = apart
        self.name = f"arena-{uuid.uuid4().hex[:8]}"
        self.source, self.changelog, self.output = (f"{self.name}-{what}" for what in ("in", "state", "out"))
        self.records: dict[int, list[Record]] = {number: [] for number in range(PARTITIONS)}
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.stage = stage
        self._make_topics()

    def _make_topics(self) -> None:
        appended = {"message.timestamp.type": "LogAppendTime", "max.message.bytes": "5242880"}
        topics = [
            self._topic(self.source, PARTITIONS, appended),
            self._topic(self.changelog, PARTITIONS, {"cleanup.policy": "compact"}),
            self._topic(self.output, 2, {}),
            self._topic("dead-letters", 4, {"max.message.bytes": "5373952"}),
            self._topic("rejections", 8, {}),
            self._topic("quarantine", 8, {"cleanup.policy": "compact"}),
            self._topic("anomalies", 8, {}),
        ]
        admin = AdminClient({"bootstrap.servers": self.bootstrap})
        for made in admin.create_topics(topics).values():
            try:
                made.result(20)
            except ck.KafkaException as error:
                if error.args[0].code() != ck.KafkaError.TOPIC_ALREADY_EXISTS:
                    raise

    def _topic(self, name: str, partitions: int, config: dict[str, str]) -> NewTopic:
        if not self.apart:
            return NewTopic(name, partitions, 1, config=config)
        homes = [[2 if (name, number) == (f"{self.name}-{self.apart}", APART) else 1] for number in range(partitions)]
        return NewTopic(name, partitions, replica_assignment=homes, config=config)

    def fill(self, records: Iterable[Record], pace_s: float = 0.0) -> None:
        """Appends; a record without a key goes to every partition."""
        producer = ck.Producer({"bootstrap.servers": self.bootstrap, "linger.ms": 5, "enable.idempotence": True})
        for count, (key, value) in enumerate(records):
            for number in range(PARTITIONS) if key is None else [partition_of(key, PARTITIONS)]:
                producer.produce(self.source, value, key, number)
                self.records[number].append((key, value))
            if count % 1000 == 999:
                producer.poll(0)
                time.sleep(pace_s)
                if count % 50_000 == 49_999:
                    producer.flush()
        assert producer.flush(30) == 0

    def ends(self) -> dict[int, int]:
        """Of the partitions of the source."""
        reader = ck.Consumer({"bootstrap.servers": self.bootstrap, "group.id": "ends"})
        places = [ck.TopicPartition(self.source, number) for number in range(PARTITIONS)]
        found = {place.partition: reader.get_watermark_offsets(place, 10)[1] for place in places}
        reader.close()
        return found

    def delete_up_to(self, offsets: Mapping[int, int]) -> None:
        """Removes the records of the source below these offsets, as retention does."""
        admin = AdminClient({"bootstrap.servers": self.bootstrap})
        places = [ck.TopicPartition(self.source, *place) for place in offsets.items()]
        for each in admin.delete_records(places).values():
            each.result(20)

    def expected(self) -> dict[bytes, bytes]:
        """What the records mean, by the offline runner: no stage, no broker."""
        told: dict[bytes, bytes] = {}
        for records in self.records.values():
            offline = Offline(Counting(self.output))
            for key, value in records:
                try:
                    outputs = list(offline.feed(key, value))
                except InvalidMessage:
                    continue
                told.update({output.key: output.value or b"" for output in outputs})
        return told

    def start(self, slot: str, **options: Any) -> subprocess.Popen[bytes]:
        stage = {
            "name": "count", "topics": [self.source], "changelog": self.changelog, "group": self.name, "slot": slot,
            "client": {"bootstrap.servers": self.bootstrap}, "writes": [self.output, "dead-letters"],
        }  # fmt: skip
        given = {"stage": stage | self.stage, "output": self.output, "phase_file": str(self.folder / f"phase-{slot}")}
        command = [sys.executable, "-m", "tests.runtime.process", json.dumps(given | options)]
        with (self.folder / f"worker-{slot}.log").open("ab") as log:
            process = subprocess.Popen(command, cwd=REPOSITORY, stderr=log, stdout=log)  # noqa: S603 - our own module
        self.processes[slot] = process
        return process

    def kill(self, slot: str) -> None:
        self.processes[slot].kill()
        self.processes.pop(slot).wait(10)

    def stop_all(self) -> Mapping[str, int]:
        """SIGTERM to all (a stopped one is continued first); their exit codes."""
        for process in self.processes.values():
            if process.poll() is None:
                os.kill(process.pid, signal.SIGCONT)
                process.terminate()
        codes = {}
        for slot, process in self.processes.items():
            try:
                codes[slot] = process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                codes[slot] = process.wait(10)
        self.processes.clear()
        return codes

    def outputs(self, enough: int, timeout_s: float, isolation: str = "read_committed") -> list[tuple[bytes, bytes]]:
        """Output records in the order of arrival, until `enough` different keys were seen, and a second more."""
        reader = ck.Consumer(
            {
                "bootstrap.servers": self.bootstrap, "group.id": f"{self.name}-{uuid.uuid4().hex}",
                "auto.offset.reset": "earliest", "isolation.level": isolation, "enable.auto.commit": False,
            }
        )  # fmt: skip
        reader.assign([ck.TopicPartition(self.output, number, ck.OFFSET_BEGINNING) for number in range(2)])
        found: list[tuple[bytes, bytes]] = []
        keys: set[bytes] = set()
        until = time.monotonic() + timeout_s
        while time.monotonic() < until:
            for message in reader.consume(10_000, 0.2):
                if message.error() is None:
                    key = message.key() or b""
                    found.append((key, message.value() or b""))
                    keys.add(key)
            if len(keys) >= enough:
                until = min(until, time.monotonic() + 1.0)
                enough = 1 << 62
        reader.close()
        return found

    def log(self, slot: str) -> str:
        return (self.folder / f"worker-{slot}.log").read_text()


def numbers(keys: int, count: int) -> Iterable[Record]:
    """`count` records of `keys` keys, with a tick on clock `live` after every 20 rounds."""
    for number in range(count):
        if number % (keys * 20) == keys * 20 - 1:
            yield None, b"live %d" % (number // keys * 1_000_000)
        yield b"key-%d" % (number % keys), b"%d" % number
