"""What the records of the topic mean: the offline run over exactly the records that the group has committed."""

from __future__ import annotations

import re
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import confluent_kafka as ck

from pipeline import topics
from pipeline.agents.assembly import Assembly
from pipeline.cli.reference import keyring, rating
from pipeline.domain.station_codec import encode_station
from pipeline.errors import InvalidMessage
from pipeline.kafka_config import client_config
from pipeline.runtime.logic import Output
from pipeline.runtime.offline import Offline
from pipeline.runtime.partition.changelog import archive_key, decode_state, split_key
from pipeline.settings import Settings
from pipeline.wire import dead_letters
from pipeline.wire.meter_events import Decoder

Record = tuple[bytes, bytes]
"""Key and value."""
Letter = tuple[bytes, bytes, tuple[tuple[str, bytes], ...]]
"""Key, value, headers of a dead letter."""
STATION = re.compile(rb'"station_id":"([^"]*)"')
PATIENCE_S = 60.0


@dataclass(slots=True)
class Told:
    """What came out: by the stage as its consumers see it, or offline."""

    sessions: Counter[Record] = field(default_factory=Counter)
    receipts: Counter[Record] = field(default_factory=Counter)
    anomalies: Counter[Record] = field(default_factory=Counter)
    updates: Counter[Record] = field(default_factory=Counter)
    letters: Counter[Letter] = field(default_factory=Counter)
    states: dict[bytes, bytes] = field(default_factory=dict)
    """Encoded state of each station, and of each archived session."""
    events: int = 0
    ticks: int = 0
    caused_ms: dict[bytes, int] = field(default_factory=dict)
    """Alert -> when the broker had appended the record that caused it. Offline only."""

    def take(self, topic: str | None, key: bytes, value: bytes | None, headers: tuple[tuple[str, bytes], ...]) -> None:
        if topic == topics.SESSIONS.name:
            self.sessions[key, value or b""] += 1
        elif topic == topics.RECEIPTS.name:
            self.receipts[key, value or b""] += 1
        elif topic == topics.ANOMALIES.name:
            self.anomalies[key, value or b""] += 1
        elif topic == topics.SESSION_UPDATES.name:
            self.updates[key, value or b""] += 1
        elif topic == topics.DEAD_LETTERS.name:
            self.letters[key, value or b"", tuple(sorted(headers))] += 1

    def by_station(self) -> dict[bytes, Counter[object]]:
        """The outputs by the station that they are about; states are no outputs."""
        found: defaultdict[bytes, Counter[object]] = defaultdict(Counter)
        of_session: dict[bytes, bytes] = {}
        for records in (self.sessions, self.receipts, self.anomalies, self.updates):
            for (key, value), count in records.items():
                if (station := STATION.search(value)) is not None:
                    of_session[key] = station[1]
                found[of_session.get(key, b"")][key, value] += count
        for letter, count in self.letters.items():
            found[letter[0]][letter] += count
        return found

    def only(self, wanted: Callable[[bytes], bool]) -> Told:
        """What is about the stations that are wanted."""
        told = Told(events=self.events, ticks=self.ticks)
        sessions = {key: wanted(_station(value)) for key, value in self.sessions}
        told.sessions = _kept(self.sessions, lambda record: sessions[record[0]])
        told.receipts = _kept(self.receipts, lambda record: wanted(_station(record[1])))
        told.anomalies = _kept(self.anomalies, lambda record: wanted(_station(record[1])))
        told.updates = _kept(
            self.updates, lambda record: wanted(_station(record[1])) if record[1] else sessions.get(record[0], True)
        )
        told.letters = _kept(self.letters, lambda letter: wanted(letter[0]))
        told.states = {key: value for key, value in self.states.items() if wanted(split_key(key)[0])}
        return told


def _kept(counted: Counter[Any], keep: Callable[[Any], bool]) -> Counter[Any]:
    return Counter({each: count for each, count in counted.items() if keep(each)})


def _station(value: bytes) -> bytes:
    found = STATION.search(value)
    return b"" if found is None else found[1]


def told_offline(settings: Settings, messages: Sequence[ck.Message]) -> Told:
    """Feeds the records of meter-events, each partition to a stage in memory."""
    told = Told()
    keys = keyring(settings)
    source = topics.METER_EVENTS.name
    stages = {
        number: Offline(Assembly(rating(settings, keys), Decoder(keys)))
        for number in range(1 + max(each.partition() or 0 for each in messages))
    }
    for message in messages:
        number, offset = message.partition() or 0, message.offset() or 0
        key, value = message.key(), message.value() or b""
        told.events += key is not None
        told.ticks += key is None
        where = dead_letters.where(source, number, offset)
        try:
            for output in stages[number].feed(key, value, message.timestamp()[1]):
                _take(told, output, where, message.timestamp()[1])
        except InvalidMessage as error:
            why = dead_letters.why(error.reason, error.detail)
            told.take(topics.DEAD_LETTERS.name, key or b"", value, (*why, *where))
    for stage in stages.values():
        for key, station in stage.states.items():
            told.states[key] = encode_station(station)
            told.states.update((archive_key(key, name), kept) for name, kept in station.archive.items())
    return told


def _take(told: Told, output: Output, where: dead_letters.Headers, appended_ms: int) -> None:
    headers = (*output.headers, *where) if output.topic == topics.DEAD_LETTERS.name else ()
    told.take(output.topic, output.key, output.value, headers)
    if output.topic == topics.ANOMALIES.name and output.value is not None:
        told.caused_ms.setdefault(output.value, appended_ms)


def told_by_stage(settings: Settings, isolation: str = "read_committed") -> Told:
    """What a consumer of the output topics sees, and the state records as a restore would read them."""
    told = Told()
    for topic in (topics.SESSIONS, topics.RECEIPTS, topics.ANOMALIES, topics.SESSION_UPDATES, topics.DEAD_LETTERS):
        for message in records(settings, topic.name, isolation=isolation):
            told.take(topic.name, message.key() or b"", message.value(), _headers(message))
    for message in records(settings, topics.STATION_STATE.name):
        key, value = message.key() or b"", message.value()
        if not split_key(key)[0]:
            continue  # a fact of the partition
        if value is None:
            told.states.pop(key, None)
        else:
            told.states[key] = value if split_key(key)[1] is not None else decode_state(value).body
    return told


def _headers(message: ck.Message) -> tuple[tuple[str, bytes], ...]:
    found = message.headers() or []
    pairs = found.items() if isinstance(found, dict) else found
    return tuple((name, value if isinstance(value, bytes) else b"") for name, value in pairs)  # ours are bytes


def records(
    settings: Settings, topic: str, isolation: str = "read_committed", ends: Mapping[int, int] | None = None
) -> Iterator[ck.Message]:
    """All records of `topic` in the order of each partition; below `ends` where given. Raises TimeoutError."""
    reader = ck.Consumer(
        client_config(settings)
        | {
            "group.id": "chaos-reader", "isolation.level": isolation, "enable.auto.commit": False,
            "enable.partition.eof": True, "auto.offset.reset": "earliest", "log_level": 0,
        }
    )  # fmt: skip
    try:
        waiting = set(reader.list_topics(topic, timeout=10).topics[topic].partitions)
        reader.assign([ck.TopicPartition(topic, number, 0) for number in waiting])
        until = time.monotonic() + PATIENCE_S
        while waiting:
            if time.monotonic() > until:
                raise TimeoutError(f"{topic}: partitions {sorted(waiting)} are not readable to their ends")
            for message in reader.consume(10_000, 0.1):
                until = time.monotonic() + PATIENCE_S
                number, error = message.partition() or 0, message.error()
                if error is not None:
                    if error.code() == ck.KafkaError._PARTITION_EOF:
                        waiting.discard(number)
                elif ends is None or (message.offset() or 0) < ends[number]:
                    yield message
    finally:
        reader.close()
