"""Reports the work of a stage in the metrics of pipeline/metrics.py."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Generic

from pipeline import metrics
from pipeline.metrics import Meters
from pipeline.runtime.logic import Logic, State, ledger_of
from pipeline.runtime.partition.ports import Message
from pipeline.runtime.stage.owned_partitions import OwnedPartitions


class StageMeters(Generic[State]):
    """Times are monotonic seconds."""

    def __init__(self, stage: str, meters: Meters, logic: Logic[State]) -> None:
        self._stage = stage
        self._meters = meters
        self._ledger = ledger_of(logic)
        self._appended_ms: list[int] = []

    def applied(self, messages: Sequence[Message], count: int) -> None:
        """Counts the first `count` records of a batch; `committed` observes their latency."""
        if count:
            self._appended_ms.append(messages[0].timestamp()[1])
        self._meters.count(metrics.EVENTS, self._stage, amount=count)
        self._meters.count(metrics.BATCHES, self._stage)

    def committed(self, began: float) -> None:
        self._meters.observe(metrics.CHECKPOINTS, self._stage, value=time.monotonic() - began)
        now_ms = time.time() * 1000
        for appended in self._appended_ms:
            self._meters.observe(metrics.LATENCY, self._stage, value=max(0.0, now_ms - appended) / 1000)
        self._appended_ms.clear()

    def given_up(self) -> None:
        """Counts a lost transaction."""
        self._meters.count(metrics.TRANSACTIONS_LOST, self._stage)
        self._appended_ms.clear()

    def restored(self, took_s: float) -> None:
        self._meters.observe(metrics.RESTORES, self._stage, value=took_s)

    def incomplete(self, records: int) -> None:
        """Counts a restore that lacks `records` records of the source; 0: unknown how many."""
        self._meters.count(metrics.RESTORES_INCOMPLETE, self._stage)
        self._meters.count(metrics.RECORDS_LOST, self._stage, amount=records)

    def dead_letter(self, reason: str) -> None:
        self._meters.count(metrics.DEAD_LETTERS, self._stage, reason)

    def internal_error(self) -> None:
        self._meters.count(metrics.INTERNAL_ERRORS, self._stage)

    def show(self, owned: OwnedPartitions[State], uncommitted_s: float) -> None:
        """Sets the gauges."""
        live = len(owned.live)
        self._meters.set(metrics.PARTITIONS, self._stage, "live", value=live)
        self._meters.set(metrics.PARTITIONS, self._stage, "restoring", value=len(owned.leases) - live)
        self._meters.set(metrics.KEYS, self._stage, value=owned.keys)
        self._meters.set(metrics.SET_ASIDE, self._stage, value=owned.set_aside)
        self._meters.set(metrics.LAG, self._stage, value=owned.lag)
        self._meters.set(metrics.CHECKPOINT_AGE, self._stage, value=uncommitted_s)
        totals = [each.totals for each in owned.live.values() if each.totals]
        self._ledger.show([sum(parts) for parts in zip(*totals, strict=True)], self._stage, self._meters)
