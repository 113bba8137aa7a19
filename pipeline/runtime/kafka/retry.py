"""Waits for a dependency that is down: with backoff, shown in a gauge, and counted as alive meanwhile.

Every wait is declared here; the watchdog (process/liveness.py) ignores declared waits.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import confluent_kafka as ck
from tenacity import RetryCallState, Retrying, wait_random_exponential

from pipeline.kafka_rights import Right, is_denied, lacking
from pipeline.metrics import RETRIES, WAITING, Meters
from pipeline.runtime.kafka.config import Client
from pipeline.runtime.kafka.troubles import Troubles

log = logging.getLogger(__name__)

BROKER = "broker"
"""The dependency, as waits and metrics name it."""
CALL_S = 5.0
"""How long one call of the broker may wait before it counts as unanswered and is tried again."""
LONGEST_PAUSE_S = 2.0
PAUSES = Retrying(wait=wait_random_exponential(multiplier=0.05, min=0.02, max=LONGEST_PAUSE_S))
"""Pauses grow and are random, so that workers that lost the same broker do not return all at once."""


class Backoff:
    """The pauses between the attempts of one call, from 0.02 s up to LONGEST_PAUSE_S."""

    def __init__(self) -> None:
        self._attempts = RetryCallState(PAUSES, None, (), {})

    def pause_s(self) -> float:
        self._attempts.attempt_number += 1
        return float(PAUSES.wait(self._attempts))


class Waits:
    """The declared waits of one stage or sink, and its troubles. Used from several threads."""

    def __init__(self, stage: str, meters: Meters, client: Client | None = None) -> None:
        """`client`: librdkafka properties with the user that logs in to Kafka."""
        self._client = client or {}
        self.troubles = Troubles(stage, meters)
        self._stage = stage
        self._meters = meters
        self._lock = threading.Lock()
        self._depths: dict[str, int] = {}
        self._excuses = 0

    @property
    def active(self) -> bool:
        """Whether a wait excuses the stage from making progress."""
        return bool(self._excuses)

    @contextmanager
    def declared(self, dependency: str, *, excuses: bool = True) -> Iterator[None]:
        """Declares a wait for `dependency`; without `excuses` the rest of the stage must still make progress."""
        with self._lock:
            self._excuses += excuses
            self._depths[dependency] = self._depths.get(dependency, 0) + 1
        self._meters.set(WAITING, self._stage, dependency, value=1)
        try:
            yield
        finally:
            with self._lock:
                self._excuses -= excuses
                self._depths[dependency] -= 1
                over = not self._depths[dependency]
                if over:
                    del self._depths[dependency]
            if over:
                self._meters.set(WAITING, self._stage, dependency, value=0)

    def denied(self, error: ck.KafkaError | None, right: Right) -> bool:
        """Whether the error is a missing right, which then is a trouble until `granted`."""
        if not is_denied(error):
            return False
        self.judged(right, False)
        return True

    def judged(self, right: Right, is_granted: bool) -> None:
        if is_granted:
            self.granted(right)
        else:
            self.troubles.report(str(right), lacking(self._client, right))

    def granted(self, right: Right) -> None:
        if self.troubles:
            self.troubles.clear(str(right))

    def missed(self, dependency: str, what: str, error: object, began: float) -> None:
        """One attempt had no answer; `began` is the monotonic time of the first one."""
        self._meters.count(RETRIES, self._stage, dependency)
        waited = time.monotonic() - began
        log.warning("%s: %s: %s not possible for %.1f s: %s", self._stage, dependency, what, waited, error)
