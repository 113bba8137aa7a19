"""A copy of meter-events, because a fault removes records from the topic; and what the workers say that they missed.

So the verdict stays exact: what the workers tell is the offline result of all records but those that they called gone.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import confluent_kafka as ck

from pipeline import topics
from pipeline.kafka_config import client_config
from pipeline.settings import Settings

_GONE = re.compile(r"assemble: partition (\d+): records (\d+) to (\d+) were needed and are gone")
SLOWEST_S = 20.0


class Archive(threading.Thread):
    """Reads the topic along, from its beginning."""

    def __init__(self, settings: Settings, partitions: int) -> None:
        super().__init__(name="archive", daemon=True)
        self._kept: list[list[ck.Message]] = [[] for _ in range(partitions)]
        self._ends = threading.Event()
        self._consumer = ck.Consumer(
            client_config(settings)
            | {"group.id": "archive", "enable.auto.commit": False, "auto.offset.reset": "error", "log_level": 0}
        )
        self._consumer.assign([ck.TopicPartition(topics.METER_EVENTS.name, number, 0) for number in range(partitions)])

    def run(self) -> None:
        while not self._ends.is_set():
            for message in self._consumer.consume(5_000, 0.05):
                if message.error() is None:
                    self._kept[message.partition() or 0].append(message)
        self._consumer.close()

    def close(self) -> None:
        self._ends.set()
        self.join()

    def reach(self, partition: int, end: int) -> None:
        """Returns when everything below `end` is here."""
        until = time.monotonic() + SLOWEST_S
        while end and (not self._kept[partition] or (self._kept[partition][-1].offset() or 0) < end - 1):
            if time.monotonic() > until:
                raise RuntimeError(f"the copy of partition {partition} does not reach offset {end}")
            time.sleep(0.02)

    def messages(self, ends: Mapping[int, int], gone: Mapping[int, list[range]]) -> Iterator[ck.Message]:
        """Below `ends`, without what is gone."""
        for number, kept in enumerate(self._kept):
            self.reach(number, ends[number])
            for message in kept:
                offset = message.offset() or 0
                if offset < ends[number] and not any(offset in each for each in gone.get(number, ())):
                    yield message


def told_gone(logs: Iterable[Path]) -> dict[int, list[range]]:
    """By partition the offsets that workers have logged as gone."""
    found: dict[int, list[range]] = {}
    for log in logs:
        for partition, first, last in _GONE.findall(log.read_text("utf-8", "replace") if log.exists() else ""):
            found.setdefault(int(partition), []).append(range(int(first), int(last) + 1))
    return found
