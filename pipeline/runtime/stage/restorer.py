"""Runs restores on Kafka in a thread, while other partitions go on; partition/restore.py has their order."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from typing import Generic

from pipeline.runtime.kafka.config import StageConfig
from pipeline.runtime.kafka.history import KafkaHistory
from pipeline.runtime.kafka.recall import KafkaRecall
from pipeline.runtime.kafka.retry import Waits
from pipeline.runtime.kafka.topics import partitions_of
from pipeline.runtime.logic import Logic, State
from pipeline.runtime.partition.dead_letters import FloodGate
from pipeline.runtime.partition.partition import Partition
from pipeline.runtime.partition.restore import Refused, restore
from pipeline.runtime.stage.meters import StageMeters
from pipeline.runtime.stage.owned_partitions import Wanted, still_wanted

log = logging.getLogger(__name__)

LOG_EVERY_S = 2.0


class Restorer(Generic[State]):
    """Restores the partitions of one stage. Call `count_partitions` before the first `read`; both block."""

    def __init__(
        self, config: StageConfig, logic: Logic[State], gate: FloodGate, waits: Waits, meters: StageMeters[State]
    ) -> None:
        self._config = config
        self._logic = logic
        self._gate = gate
        self._waits = waits
        self._meters = meters
        self._partitions = 0
        self._recall = KafkaRecall(config)

    def count_partitions(self) -> None:
        """Counts the source's partitions; waits for the broker. Raises WrongUsage when its topics do not fit."""
        self._partitions = partitions_of(self._config, self._waits)

    def read(self, wanted: Wanted, advanced: Callable[[], None]) -> Sequence[Partition[State] | Refused]:
        """The partitions as they were committed; calls `advanced` with each phase and logs the progress.

        Raises Cancelled when none of them is wanted any more.
        """
        config, restored = self._config, list[Partition[State] | Refused]()
        history = KafkaHistory(config, self._waits, lambda: not still_wanted(wanted))
        logged = time.monotonic()
        try:
            numbers = list(still_wanted(wanted))
            if not numbers:
                return ()
            for phase in restore(history, numbers, self._empty, self._lost, restored):
                advanced()
                if time.monotonic() - logged > LOG_EVERY_S:
                    logged = time.monotonic()
                    log.info("%s: restoring partitions %s: %s, %s", config.name, numbers, phase, history.progress)
        finally:
            history.close()
        return restored

    def _empty(self, number: int) -> Partition[State]:
        config = self._config
        return Partition(
            number, self._partitions, config.source, self._logic, self._gate, config.max_state_bytes, self._recall
        )

    def _lost(self, what: str, records: int) -> None:
        self._meters.incomplete(records)
        log.error("%s: %s", self._config.name, what)
