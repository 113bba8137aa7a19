"""Time arrives as an event like any other: the owner of a partition of meter-events or
connector-status writes live clock ticks into it.

Ticks are written outside the transaction: inside it a tick would hold back all later records until the next checkpoint.
Repeats are harmless, because the clock of a station or site is the maximum seen; the next tick replaces one that the
broker did not take. A tick also names how much of the reference data counts from then on, so a replay prices with the
same data.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from functools import partial

import faust
import msgspec
from confluent_kafka import KafkaError, KafkaException, Message, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec

from pipeline.agents.reference import Reference
from pipeline.domain.events import LIVE, ClockTicked
from pipeline.kafka_rights import Right
from pipeline.runtime.kafka.config import Client
from pipeline.runtime.kafka.retry import CALL_S, Waits
from pipeline.runtime.kafka.troubles import Troubles
from pipeline.wire.control import Control

log = logging.getLogger(__name__)

TICK_LASTS_MS = 5000
"""Later ticks replace a tick that the broker did not take within this time."""
STEP_US = 2_000_000
BEHIND_US = 10_000_000
SLOW = (
    "the clock of this host is {behind_s:.0f} s behind {what}: live time stands still for the stations until it has "
    "caught up, no session is closed by silence and no bill becomes final meanwhile; set it right (NTP); see "
    "ops/runbooks/worker.md"
)


class HostClock:
    """The clock of live ticks. Stations keep the latest time, so a clock that was set back stops their time."""

    def __init__(self, troubles: Troubles, read_ns: Callable[[], int] = time.time_ns) -> None:
        self._troubles = troubles
        self._read_ns = read_ns
        self._latest_us = 0

    def now_us(self) -> int:
        now_us = self._read_ns() // 1000
        self._latest_us = max(self._latest_us, now_us)
        self._judge("clock set back", now_us, self._latest_us, "the time of its earlier ticks", STEP_US)
        return now_us

    def appended(self, sent_us: int, appended_us: int) -> None:
        """The broker appended the tick at `appended_us` of its own clock, up to the tick's time-out later."""
        self._judge("clock behind", sent_us, appended_us, "the broker's clock", BEHIND_US)

    def _judge(self, name: str, now_us: int, wanted_us: int, what: str, most_us: int) -> None:
        behind_us = wanted_us - now_us
        if behind_us > most_us:
            self._troubles.report(name, SLOW.format(behind_s=behind_us / 1e6, what=what))
        else:
            self._troubles.clear(name)


def sign_in(client: Client, topic: str, control: Control) -> None:
    """Writes a signed tick as the first record of each empty partition, so that no unsigned tick counts there.

    Blocks; call it before the worker joins the group. Leaves partitions with records alone (ops/decisions/0017).
    """
    admin, latest = AdminClient(dict(client)), OffsetSpec.latest()  # type: ignore[no-untyped-call]  # as in history.py
    producer = Producer(dict(client) | {"message.timeout.ms": TICK_LASTS_MS})
    try:
        places = [TopicPartition(topic, number) for number in admin.list_topics(topic, CALL_S).topics[topic].partitions]
        for place, answer in admin.list_offsets(dict.fromkeys(places, latest)).items():
            if answer.result(CALL_S).offset == 0:
                tick = ClockTicked(clock=LIVE, time_us=time.time_ns() // 1000)
                producer.produce(topic, control.sign(msgspec.json.encode(tick)), None, place.partition)
        producer.flush(CALL_S)
    except (KafkaException, TimeoutError) as error:  # the ticks of each second follow soon
        log.warning("%s: the first ticks were not written: %s", topic, error)


def attach(
    app: faust.App,
    producer: Producer,
    topic: str,
    owned: Callable[[], Sequence[int]],
    every_s: float,
    control: Control,
    waits: Waits,
    reference: Reference | None = None,
) -> None:
    """`owned`: the partitions of this worker now. `producer` gives up on a record after a few seconds."""

    right = Right("Write", "topic", topic)
    clock = HostClock(waits.troubles)

    def answered(error: KafkaError | None, message: Message, sent_us: int) -> None:
        if error is None:
            waits.granted(right)
            clock.appended(sent_us, message.timestamp()[1] * 1000)
        elif not waits.denied(error, right):
            log.warning("a tick of %s was not taken: %s", topic, error.str())

    @app.timer(interval=every_s)  # type: ignore[untyped-decorator]  # Faust's timers are not typed
    async def tick() -> None:
        seen = None
        if reference is not None:
            reference.absorb()
            seen = reference.reached if any(reference.reached) else None
        now_us = clock.now_us()
        value = control.sign(msgspec.json.encode(ClockTicked(clock=LIVE, time_us=now_us, reference=seen)))
        for partition in owned():
            producer.produce(topic, value, None, partition, on_delivery=partial(answered, sent_us=now_us))
        producer.poll(0)
