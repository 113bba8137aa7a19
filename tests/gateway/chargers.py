"""A gateway in this process, and chargers made of the library `ocpp` that connect to it."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote
from uuid import uuid4

from confluent_kafka import Consumer, TopicPartition
from ocpp import v16, v201
from websockets.asyncio.client import ClientConnection, connect
from websockets.typing import Subprotocol

from pipeline.gateway.passwords import Passwords, line
from pipeline.gateway.records import RecordWriter
from pipeline.gateway.server import Gateway, Options
from pipeline.kafka_config import producer_config
from pipeline.metrics import Meters
from pipeline.runtime.murmur import partition_of
from pipeline.settings import Settings
from pipeline.topics import METER_EVENTS

PASSWORD = "canary-password-0123"  # noqa: S105 - of chargers that do not exist
POINTS: dict[str, Any] = {"ocpp1.6": v16.ChargePoint, "ocpp2.0.1": v201.ChargePoint}
ANSWER_LIMIT_S = 10


@dataclass
class Running:
    """A gateway, and how to reach it."""

    gateway: Gateway
    writer: RecordWriter
    meters: Meters
    stop: asyncio.Event
    tls: ssl.SSLContext | None = None
    task: asyncio.Task[None] | None = field(default=None)

    def url(self, station: str, password: str | None = PASSWORD) -> str:
        user = "" if password is None else f"{quote(station, safe='')}:{password}@"
        return f"{'wss' if self.tls else 'ws'}://{user}localhost:{self.gateway.port}/{station}"


@asynccontextmanager
async def gateway(
    kafka: str,
    passwords: Path | None,
    *,
    timeout_s: float = 10,
    client_tls: ssl.SSLContext | None = None,
    **options: Any,
) -> AsyncIterator[Running]:
    """Runs in this loop until the block ends."""
    meters, stop, ready = Meters(), asyncio.Event(), asyncio.Event()
    writer = RecordWriter(METER_EVENTS.name, producer_config(Settings(kafka=kafka)), timeout_s)
    made = Gateway(
        Options(host="127.0.0.1", port=0, **options), writer, Passwords(passwords) if passwords else None, meters
    )
    running = Running(made, writer, meters, stop, client_tls)
    running.task = asyncio.create_task(made.run(stop, ready))
    try:
        await asyncio.wait_for(ready.wait(), 10)
        yield running
    finally:
        stop.set()
        try:
            await asyncio.wait_for(running.task, 30)
        finally:
            writer.close()


def password_file(folder: Path, *stations: str) -> Path:
    file = folder / "passwords"
    file.write_text("\n".join(line(station, PASSWORD.encode()) for station in stations) + "\n")
    return file


def open_link(running: Running, station: str, *protocols: str, password: str | None = PASSWORD) -> connect:
    """A connection to await, or to use as a context."""
    offered = [Subprotocol(each) for each in protocols or ("ocpp1.6",)]
    return connect(
        running.url(station, password),
        subprotocols=offered,
        ssl=running.tls,
        proxy=None,
        close_timeout=2,
        open_timeout=20,
    )


@asynccontextmanager
async def charge_point(running: Running, station: str, protocol: str = "ocpp1.6") -> AsyncIterator[tuple[Any, Any]]:
    """A ChargePoint of the library, and its connection."""
    async with open_link(running, station, protocol) as link:
        point = POINTS[protocol](station, link, response_timeout=ANSWER_LIMIT_S)
        reading = asyncio.create_task(point.start())
        try:
            yield point, link
        finally:
            await link.close()
            await asyncio.gather(reading, return_exceptions=True)  # it ends with ConnectionClosed


async def ask(link: ClientConnection, frame: object) -> list[Any]:
    """Sends one frame (or text as it is); the next frame that comes."""
    await link.send(frame if isinstance(frame, str) else json.dumps(frame))
    answer: list[Any] = json.loads(await asyncio.wait_for(link.recv(), ANSWER_LIMIT_S))
    return answer


def records(kafka: str, station: str) -> list[bytes]:
    """The station's records in the topic, in order; each in the partition where the worker expects it."""
    consumer = Consumer(
        {"bootstrap.servers": kafka, "group.id": uuid4().hex, "enable.partition.eof": True, "enable.auto.commit": False}
    )
    partitions = consumer.list_topics(METER_EVENTS.name, 10).topics[METER_EVENTS.name].partitions
    consumer.assign([TopicPartition(METER_EVENTS.name, number, 0) for number in partitions])
    found: list[bytes] = []
    waiting = set(partitions)
    while waiting:
        for message in consumer.consume(1000, 0.1):
            if message.error():
                waiting.discard(message.partition() or 0)
            elif message.key() == station.encode():
                assert message.partition() == partition_of(station.encode(), len(partitions)), "another partitioner"
                found.append(message.value() or b"")
    consumer.close()
    return found


def frames_of(values: Sequence[bytes]) -> list[Any]:
    """What the records carry: frames, or the state of the link."""
    decoded = [json.loads(value) for value in values]
    return [each["link"] if "link" in each else each["frame"] for each in decoded]
