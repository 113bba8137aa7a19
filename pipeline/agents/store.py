"""sessions, anomalies, rejections -> ClickHouse, in batches. Its own consumer group: alerts never wait for it."""

from __future__ import annotations

from collections.abc import AsyncIterable, Callable, Mapping, Sequence

import faust
from confluent_kafka import Message

from pipeline import topics
from pipeline.runtime.kafka.leases import Poll
from pipeline.runtime.stage.sink import Sink
from pipeline.storage.rows import Rejection
from pipeline.storage.writer import Writer
from pipeline.wire import dead_letters
from pipeline.wire.sessions import decode_alert, decode_session

TOPICS = (topics.SESSIONS.name, topics.ANOMALIES.name, topics.REJECTIONS.name)


def attach(app: faust.App, sink: Sink) -> None:
    @app.agent(sink.channel(app), name="store")
    async def store(polls: AsyncIterable[Poll]) -> None:
        async for poll in polls:
            await sink.process(poll)


def rows_into(writer: Writer) -> Callable[[Mapping[str, Sequence[Message]]], None]:
    """The sink's write. Raises Unavailable while ClickHouse is away; InvalidMessage in our own topics is our bug."""

    def write(records: Mapping[str, Sequence[Message]]) -> None:
        writer.insert_sessions([decode_session(value) for value in _values(records, topics.SESSIONS.name)])
        writer.insert_anomalies([decode_alert(value) for value in _values(records, topics.ANOMALIES.name)])
        writer.insert_rejections([_rejection(message) for message in records.get(topics.REJECTIONS.name, ())])

    return write


def _values(records: Mapping[str, Sequence[Message]], topic: str) -> list[bytes]:
    return [value for message in records.get(topic, ()) if (value := message.value()) is not None]


def _rejection(message: Message) -> Rejection:
    """Where the record was read and why it was not used; `dead-letters`, with its content, is not read here."""
    cause = dead_letters.decode(dead_letters.headers_of(message.headers()))
    partition, offset = message.partition(), message.offset()
    return Rejection(
        partition=-1 if partition is None else partition,
        offset=-1 if offset is None else offset,
        source_topic=cause.topic,
        source_partition=cause.partition,
        source_offset=cause.offset,
        reason=cause.reason,
        sent_at_ms=message.timestamp()[1],
    )
