"""Time arrives as an event like any other: the owner of a partition of meter-events or
connector-status writes live clock ticks into it.

Outside the transaction: in it, a tick would hold back everything behind it until the next checkpoint. Repeats are
harmless, because the clock of a station or site is the maximum seen; a tick that the broker did not take is made up by
the next. A tick also says how much of the reference data counts from then on, so a replay prices with just that.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence

import faust
import msgspec
from confluent_kafka import KafkaError, Message, Producer

from pipeline.agents.reference import Reference
from pipeline.domain.events import LIVE, ClockTicked
from pipeline.kafka_rights import Right
from pipeline.runtime.retry import Waits
from pipeline.wire.control import Control

log = logging.getLogger(__name__)


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
    """`owned`: the partitions that are ours now. `producer` gives up on a record after a few seconds."""

    right = Right("Write", "topic", topic)

    def answered(error: KafkaError | None, _: Message) -> None:
        if error is None:
            waits.granted(right)
        elif not waits.denied(error, right):
            log.warning("a tick of %s was not taken: %s", topic, error.str())

    @app.timer(interval=every_s)  # type: ignore[untyped-decorator]  # Faust's timers are not typed
    async def tick() -> None:
        seen = None
        if reference is not None:
            reference.absorb()
            seen = reference.reached if any(reference.reached) else None
        tick = ClockTicked(clock=LIVE, time_us=time.time_ns() // 1000, reference=seen)
        value = control.sign(msgspec.json.encode(tick))
        for partition in owned():
            producer.produce(topic, value, None, partition, on_delivery=answered)
        producer.poll(0)
