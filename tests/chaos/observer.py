"""A read-committed consumer that notes when outputs become visible, by the source partition that they came from."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Collection, Sequence
from itertools import pairwise
from typing import NamedTuple

import confluent_kafka as ck

from pipeline import topics
from pipeline.runtime.murmur import partition_of

_STATION = re.compile(rb'"station_id":"([^"]*)"')
_ALERT = re.compile(rb'"alert_id":"([^"]*)","rule":"[^"]*","state":"([^"]*)"')
OBSERVED = (topics.SESSIONS.name, topics.ANOMALIES.name, topics.SESSION_UPDATES.name)


class Gap(NamedTuple):
    seconds: float
    after: float
    """Its beginning, in seconds after the kill."""
    partition: int


NO_GAP = Gap(0.0, 0.0, -1)


class Observer(threading.Thread):
    """Arrivals by source partition (monotonic seconds) and of each alert (wall clock, ms)."""

    def __init__(self, bootstrap: str, partitions: int) -> None:
        super().__init__(name="observer", daemon=True)
        self.arrivals: list[list[float]] = [[] for _ in range(partitions)]
        self.alerts_ms: dict[tuple[bytes, bytes], float] = {}
        self._ends = threading.Event()
        self._partitions: dict[bytes, int] = {}
        self._consumer = ck.Consumer(
            {
                "bootstrap.servers": bootstrap, "group.id": "observer", "isolation.level": "read_committed",
                "enable.auto.commit": False, "auto.offset.reset": "earliest", "fetch.wait.max.ms": 20, "log_level": 0,
            }
        )  # fmt: skip
        found = self._consumer.list_topics(timeout=10).topics
        self._consumer.assign(
            [ck.TopicPartition(name, number, 0) for name in OBSERVED for number in found[name].partitions]
        )

    def run(self) -> None:
        while not self._ends.is_set():
            messages = self._consumer.consume(5_000, 0.02)
            now, now_ms = time.monotonic(), time.time() * 1000
            seen: set[int] = set()
            for message in messages:
                value = message.value()
                if message.error() is not None or value is None:
                    continue
                if (station := _STATION.search(value)) is not None:
                    seen.add(self._partition(station[1]))
                if message.topic() == topics.ANOMALIES.name and (alert := _ALERT.search(value)) is not None:
                    self.alerts_ms.setdefault((alert[1], alert[2]), now_ms)
            for partition in seen:
                self.arrivals[partition].append(now)
        self._consumer.close()

    def close(self) -> None:
        self._ends.set()
        self.join()

    def silent(self, partitions: Collection[int], seconds: float) -> bool:
        """Has one of `partitions` had no output for so long?"""
        since = time.monotonic() - seconds
        return any(not self.arrivals[number] or self.arrivals[number][-1] < since for number in partitions)

    def longest_gap(self, partitions: Collection[int], since: float, until: float) -> Gap:
        """The longest time between the two without any output of one of `partitions`."""
        return max((_longest(number, self.arrivals[number], since, until) for number in partitions), default=NO_GAP)

    def _partition(self, station: bytes) -> int:
        found = self._partitions.get(station)
        if found is None:
            found = self._partitions[station] = partition_of(station, len(self.arrivals))
        return found


def _longest(partition: int, arrivals: Sequence[float], since: float, until: float) -> Gap:
    instants = (since, *(each for each in arrivals if since < each < until), until)
    return max(Gap(later - earlier, earlier - since, partition) for earlier, later in pairwise(instants))
