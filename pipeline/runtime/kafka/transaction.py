"""Implements runtime.partition.ports.Transaction with confluent-kafka's transactional producer.

Every failure ends in one of three ways: waited for (retriable), TransactionLost (abort and restore), or raised (bug).
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import Future, wait
from contextlib import ExitStack

import confluent_kafka as ck

from pipeline import topics
from pipeline.kafka_rights import Right
from pipeline.runtime.kafka.config import STEADY, StageConfig
from pipeline.runtime.kafka.retry import BROKER, CALL_S, Backoff, Waits
from pipeline.runtime.partition.changelog import encode_metadata
from pipeline.runtime.partition.ports import Headers, Position, TransactionLost

log = logging.getLogger(__name__)

LINGER_MS = 100
"""Consumers see no record before its checkpoint, whose flush does not wait for the linger; small batches cost time."""


class KafkaTransaction:
    """Implements runtime.partition.ports.Transaction. The stage's lock ensures that one thread at a time uses it."""

    def __init__(self, config: StageConfig, membership: Callable[[], object], waits: Waits) -> None:
        self._config = config
        self._membership = membership
        self._waits = waits
        self._producer: ck.Producer | None = None
        self._denied: set[Right] = set()
        self.open = False

    def connect(self) -> None:
        """Makes the producer; aborts the open transaction of a predecessor with this id. Waits for the broker."""
        backoff = Backoff()
        while self._producer is None:
            try:
                self._producer = self._initialised()
            except TransactionLost:
                if not self._denied:
                    raise
                with self._waits.declared(BROKER):
                    time.sleep(backoff.pause_s())
        self._granted({Right("Write", "transactional-id", self._config.transactional_id)})

    def _initialised(self) -> ck.Producer:
        largest = topics.LARGEST_RECORD + 3 * 128 * 1024  # the dead letter of a largest record, with its headers
        producer = ck.Producer(
            dict(STEADY)
            | dict(self._config.client)
            | {
                "transactional.id": self._config.transactional_id,
                "transaction.timeout.ms": self._config.transaction_timeout_ms,
                "partitioner": "murmur2_random",
                "compression.type": "lz4",
                "linger.ms": LINGER_MS,
                "message.max.bytes": largest,
                "queue.buffering.max.messages": 500_000,
                "queue.buffering.max.kbytes": 262_144,
                "delivery.report.only.error": True,
                "retry.backoff.ms": 50,
                "on_delivery": self._undelivered,
            },
        )
        self._persist("init_transactions", lambda: producer.init_transactions(CALL_S))
        return producer

    def begin(self) -> None:
        if not self.open:
            try:
                self._ready().begin_transaction()
            except ck.KafkaException as error:  # fenced while it was idle: it can never begin one again
                self._producer = None
                raise _lost_or(error, "begin_transaction") from error
            self.open = True

    def produce(
        self, topic: str, value: bytes | None, key: bytes | None, partition: int = -1, headers: Headers = ()
    ) -> None:
        producer = self._ready()
        while True:
            try:
                if headers:
                    producer.produce(topic, value, key, partition, headers=list(headers))
                else:  # nearly always; without the keyword a call takes 0.7 us instead of 1.2
                    producer.produce(topic, value, key, partition)
            except BufferError:  # its queue is full: room comes with acknowledgements
                self._make_room(producer)
            except ck.KafkaException as error:
                self._refused(error.args[0], topic)
                raise _lost_or(error, f"produce to {topic}") from error
            else:
                return

    def _make_room(self, producer: ck.Producer) -> None:
        with self._waits.declared(BROKER):
            try:
                producer.poll(0.1)
            except (ck.KafkaException, SystemError) as error:
                raise _lost_or(error, "poll") from error

    def serve(self) -> None:
        """Frees acknowledged records; called once per batch."""
        try:
            self._ready().poll(0)
        except (ck.KafkaException, SystemError) as error:
            raise _lost_or(error, "poll") from error

    def flush(self) -> None:
        """Waits until all records are delivered; `send_offsets` reports a record that could not be."""
        producer = self._ready()
        try:
            if producer.flush(0.5):
                with self._waits.declared(BROKER):
                    while producer.flush(CALL_S):
                        pass  # ends at the latest with the records' own time-out, which is the transaction's
        except (ck.KafkaException, SystemError) as error:  # fenced
            raise _lost_or(error, "flush") from error

    def send_offsets(self, positions: Sequence[Position]) -> None:
        offsets = [
            ck.TopicPartition(self._config.source, number, offset, encode_metadata(oldest, watermark))
            for number, offset, oldest, watermark in positions
        ]
        producer = self._ready()

        def send() -> None:
            membership = self._membership()  # each time: it may be lost meanwhile
            self._limited(lambda: producer.send_offsets_to_transaction(offsets, membership, CALL_S))

        self._persist("send_offsets_to_transaction", send)

    def commit(self) -> None:
        producer = self._ready()
        self._persist("commit_transaction", lambda: producer.commit_transaction(CALL_S))
        self.open = False
        self._granted(self._denied)

    def abort(self) -> None:
        """Aborts the open transaction with a new producer, so that the next one can begin.

        After a broker crash a producer that aborts its own transaction continues with sequence numbers that the broker
        has not seen: its next transactions failed or hung until their time-out (tests/chaos).
        """
        if self._producer is not None and self.open:
            self._producer.purge()
            self._producer = None
        self.open = False
        self.connect()

    def discard(self) -> None:
        """Tries once to abort when the worker ends after a failure, so that no consumer waits for the time-out."""
        try:
            self._ready().abort_transaction(CALL_S)
        except (ck.KafkaException, TransactionLost) as error:
            log.warning("%s: the open transaction stays until its time-out: %s", self._config.name, error)
        self.open = False

    def _ready(self) -> ck.Producer:
        if self._producer is None:
            raise TransactionLost("there is no producer")
        return self._producer

    def _limited(self, send: Callable[[], None]) -> None:
        """librdkafka ignores this call's time-out and may hang for good after a broker restart (its issues 5456, 5511).

        Then the thread stays with the old producer, whose epoch the new one ends: what it may still send is refused.
        """
        answer: Future[None] = Future()

        def run() -> None:
            try:
                send()
            except BaseException as error:
                answer.set_exception(error)
            else:
                answer.set_result(None)

        threading.Thread(target=run, name=f"{self._config.name}-offsets", daemon=True).start()
        if not wait([answer], 0.5).done:
            with self._waits.declared(BROKER):
                wait([answer], CALL_S)
        if not answer.done():
            raise TransactionLost("send_offsets_to_transaction: no answer")
        answer.result()

    def _undelivered(self, error: ck.KafkaError | None, message: ck.Message) -> None:
        """Called for errors only. The transaction is lost, and only this callback has the reason."""
        if error is not None:
            self._refused(error, message.topic() or "")

    def _refused(self, error: ck.KafkaError, topic: str = "") -> None:
        if error.code() == ck.KafkaError.GROUP_AUTHORIZATION_FAILED:
            right = Right("Read", "group", self._config.group)
        elif topic:
            right = Right("Write", "topic", topic)
        elif error.code() == ck.KafkaError.TOPIC_AUTHORIZATION_FAILED:
            return  # it does not say of which: TopicWatch does
        else:
            right = Right("Write", "transactional-id", self._config.transactional_id)
        if self._waits.denied(error, right):
            self._denied.add(right)

    def _granted(self, rights: Collection[Right]) -> None:
        for right in list(rights):
            self._denied.discard(right)
            self._waits.granted(right)

    def _persist(self, what: str, call: Callable[[], None]) -> None:
        """Repeats a call of the transactional API while its error is retriable."""
        backoff, began = Backoff(), time.monotonic()
        with ExitStack() as waiting:
            while True:
                try:
                    call()
                except ck.KafkaException as error:
                    cause = error.args[0]
                    self._refused(cause)
                    if cause.fatal() or cause.txn_requires_abort() or not cause.retriable():
                        raise TransactionLost(f"{what}: {cause.name()}: {cause.str()}") from error
                    self._waits.missed(BROKER, what, cause.name(), began)
                    waiting.enter_context(self._waits.declared(BROKER))  # the next attempts wait as well
                    time.sleep(backoff.pause_s())
                else:
                    return


def _lost_or(error: ck.KafkaException | SystemError, what: str) -> Exception:
    if isinstance(error, SystemError):  # the client reports what was not delivered while its own error is pending
        return TransactionLost(f"{what}: {error.__cause__ or error}")
    cause = error.args[0]
    if cause.code() == ck.KafkaError.MSG_SIZE_TOO_LARGE:
        return ValueError(f"{what}: {cause.str()}")
    return TransactionLost(f"{what}: {cause.name()}")
