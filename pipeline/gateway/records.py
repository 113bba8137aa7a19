"""Records into `meter-events`, one awaited write at a time per charger: when `write` returns, Kafka has the records."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Mapping, Sequence

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from pipeline.errors import Unavailable, WrongUsage

METADATA_TIMEOUT_S = 10.0
OWN: Mapping[str, str | int | float | bool] = {
    "log_level": 0,  # the gateway logs each failure once
    "linger.ms": 5,  # a charger waits for the answer; at load this still makes batches
    "reconnect.backoff.max.ms": 1000,
    "metadata.recovery.strategy": "none",  # ops/decisions/0006
}
"""These replace properties of every idempotent producer (kafka_config)."""


class _Write:
    """Counts the broker's answers to one write; only the polling thread calls it."""

    def __init__(self, loop: asyncio.AbstractEventLoop, records: int) -> None:
        self.done: asyncio.Future[str] = loop.create_future()
        self._loop = loop
        self._missing = records
        self._fault = ""

    def answered(self, error: KafkaError | None, message: Message) -> None:
        self._missing -= 1
        if error is not None:
            self._fault = self._fault or error.str()
        if self._missing == 0:
            self._loop.call_soon_threadsafe(self._finish)

    def _finish(self) -> None:
        if not self.done.done():
            self.done.set_result(self._fault)


class RecordWriter:
    """An idempotent producer for one topic. `failed` says why it can never write again; empty: it can."""

    def __init__(self, topic: str, config: Mapping[str, str | int | float | bool], timeout_s: float) -> None:
        """Raises Unavailable if no broker answers, WrongUsage if the topic does not exist."""
        self.failed = ""
        self.away = ""
        """Why the last write was not acknowledged; empty if it was."""
        self._topic = topic
        self.timeout_s = timeout_s
        own = {"message.timeout.ms": int(timeout_s * 1000), "error_cb": self._error}
        self._producer = Producer({**config, **OWN, **own})
        _check(self._producer, topic)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._poll, name="gateway-producer", daemon=True)
        self._thread.start()

    async def write(self, key: bytes, values: Sequence[bytes]) -> None:
        """Returns when every in-sync replica has all of them, in this order. Raises Unavailable: perhaps it has some;
        sending them again is harmless, since the worker knows duplicates by their content."""
        write = _Write(asyncio.get_running_loop(), len(values))
        try:
            for value in values:
                self._producer.produce(self._topic, value, key, on_delivery=write.answered)
            self.away = await asyncio.wait_for(write.done, self.timeout_s + 1)
        except BufferError:
            self.away = "the producer's queue is full"
        except TimeoutError:
            self.away = f"no answer in {self.timeout_s:.0f} s"
        except KafkaException as error:
            self.away = error.args[0].str()
        if self.away:
            raise Unavailable(f"Kafka did not take the frame: {self.away}")

    def close(self) -> None:
        """Stops the producer; no write may be awaited any more. Blocks for a moment."""
        self._stop.set()
        self._thread.join()
        self._producer.flush(self.timeout_s)

    def _poll(self) -> None:
        while not self._stop.is_set():
            self._producer.poll(0.2)

    def _error(self, error: KafkaError) -> None:
        if error.fatal():
            self.failed = error.str()


def _check(producer: Producer, topic: str) -> None:
    try:
        found = producer.list_topics(topic, timeout=METADATA_TIMEOUT_S).topics[topic]
    except KafkaException as error:
        raise Unavailable(f"no Kafka broker answers: {error.args[0].str()}") from error
    if found.error is not None or not found.partitions:
        raise WrongUsage(f"topic {topic} does not exist; make it with `chargeline topics create`")
