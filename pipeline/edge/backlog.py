"""How much of a topic a consumer group has not read yet: for commands that wait until everything is done."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from uuid import uuid4

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, TopicPartition

from pipeline.errors import Unavailable

TIMEOUT_S = 10.0
PATIENCE_S = 30.0


class Backlog:
    """Looks at one group and its topics; it reads committed records, so that transaction markers do not count."""

    def __init__(self, config: Mapping[str, str | int | float | bool], group: str, topics: Sequence[str]) -> None:
        self._topics = topics
        common = {"bootstrap.servers": "", "enable.auto.commit": False, "log_level": 0} | dict(config)
        self._group = Consumer(common | {"group.id": group})
        self._reader = Consumer(
            common
            | {"group.id": f"backlog-{uuid4()}", "isolation.level": "read_committed", "enable.partition.eof": True}
        )

    def records(self) -> int:
        """Offsets between the group's committed ones and the ends, markers included. Raises Unavailable."""
        return sum(max(0, end - position) for position, end in self._positions().values())

    def is_empty(self) -> bool:
        """Is there no committed record that the group has not read? Raises Unavailable."""
        positions = self._positions()
        waiting = {place for place, (position, end) in positions.items() if position < end}
        if not waiting:
            return True
        self._reader.assign([TopicPartition(*place, positions[place][0] or OFFSET_BEGINNING) for place in waiting])
        deadline = time.monotonic() + TIMEOUT_S
        try:
            while waiting and time.monotonic() < deadline:
                message = self._reader.poll(0.2)
                if message is None:
                    continue
                error = message.error()
                if error is None:
                    return False
                if error.code() == KafkaError._PARTITION_EOF:
                    waiting.discard((str(message.topic()), message.partition() or 0))
            return not waiting
        finally:
            self._reader.unassign()

    def close(self) -> None:
        self._group.close()
        self._reader.close()

    def _positions(self) -> dict[tuple[str, int], tuple[int, int]]:
        """(topic, partition) -> the group's offset and the end. A broker that has just started is asked again."""
        deadline = time.monotonic() + PATIENCE_S
        while True:
            try:
                return self._look()
            except KafkaException as error:
                if time.monotonic() > deadline:
                    raise Unavailable(f"no Kafka broker answers: {error.args[0].str()}") from error
                time.sleep(0.5)

    def _look(self) -> dict[tuple[str, int], tuple[int, int]]:
        found = self._group.list_topics(timeout=TIMEOUT_S).topics
        places = [TopicPartition(t, p) for t in self._topics if t in found for p in found[t].partitions]
        positions: dict[tuple[str, int], tuple[int, int]] = {}
        for place in self._group.committed(places, TIMEOUT_S):
            low, high = self._group.get_watermark_offsets(place, TIMEOUT_S)
            positions[place.topic, place.partition] = (max(place.offset, low), high)
        return positions
