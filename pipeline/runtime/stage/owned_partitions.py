"""The source partitions that this worker owns, and which of them have their state in memory ("live")."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Generic

from pipeline.runtime.kafka.leases import Batch, Lease
from pipeline.runtime.kafka.retry import Backoff
from pipeline.runtime.kafka.troubles import Troubles
from pipeline.runtime.logic import ReferenceBehind, State
from pipeline.runtime.partition.partition import Partition
from pipeline.runtime.partition.restore import Refused

BEHIND = (
    "{topic} partition {place.number} waits at offset {place.position}: a tick names more reference data than there "
    "is: {behind}; bring the topic back, or go on without what is lost by `chargeline topics fill`; see "
    "ops/runbooks/reference-topics.md"
)
REPLACED = (
    "{topic} partition {number} is not read: {why}; see ops/runbooks/lost-records.md, then stop all workers, run "
    "`chargeline topics accept {topic}` and start them"
)

Wanted = Sequence[tuple[Lease, int]]
"""Partitions to restore, each with the epoch of the request; a later epoch has its own restore."""


def still_wanted(wanted: Wanted) -> Mapping[int, Lease]:
    return {lease.number: lease for lease, epoch in wanted if lease.owned and lease.epoch == epoch}


class OwnedPartitions(Generic[State]):
    """Only the event loop changes it; other threads may read `owned`, `restored` and `lag`."""

    def __init__(self, troubles: Troubles, source: str, patience_s: float) -> None:
        """`patience_s`: how long reference data may be missing before that is a trouble."""
        self._troubles = troubles
        self._source = source
        self._patience_s = patience_s
        self.answered = False
        """The group has said which partitions are ours, if any."""
        self.leases: dict[int, Lease] = {}
        self.live: dict[int, Partition[State]] = {}
        self.stuck: dict[int, Backoff] = {}
        """Partitions that are not read; the troubles name the reason of each."""

    def take(self, leases: Sequence[Lease]) -> None:
        self.leases.update({lease.number: lease for lease in leases if lease.owned})
        self.answered = True

    def enter(self, partition: Partition[State], lease: Lease) -> None:
        """Adds a restored partition."""
        partition.epoch = lease.epoch
        self.live[partition.number] = partition
        self.free(partition.number)

    def refuse(self, refused: Refused) -> None:
        """Marks a partition that is not read before an operator has decided."""
        self._stick(refused.number, REPLACED.format(topic=self._source, number=refused.number, why=refused.why))

    def wait(self, partition: Partition[State], lease: Lease, behind: ReferenceBehind) -> float:
        """Pauses the partition at its position; returns the seconds until the next attempt."""
        lease.pause()
        partition.epoch = lease.epoch
        sentence = BEHIND.format(topic=self._source, place=partition, behind=behind)
        self._stick(partition.number, sentence, self._patience_s)
        partition.patient = not self._troubles.is_one(_name(partition.number))
        return self.stuck[partition.number].pause_s()

    def _stick(self, number: int, sentence: str, patience_s: float = 0.0) -> None:
        self._troubles.report(_name(number), sentence, patience_s)
        self.stuck.setdefault(number, Backoff())

    def free(self, number: int) -> None:
        if number in self.stuck:
            del self.stuck[number]
            self._troubles.clear(_name(number))

    def drop(self, leases: Sequence[Lease]) -> None:
        for lease in leases:
            lease.owned = False
            if self.leases.get(lease.number) is lease:
                del self.leases[lease.number]
                self.live.pop(lease.number, None)
                self.free(lease.number)

    def void(self) -> Wanted:
        """Drops all state and pauses all leases; returns the owned partitions, which must be restored."""
        self.live.clear()
        leases = [lease for lease in self.leases.values() if lease.owned]
        for lease in leases:
            lease.pause()
        return [(lease, lease.epoch) for lease in leases]

    def of(self, batch: Batch) -> Partition[State] | None:
        """None for a batch from before a revoke or restore: its records are read again."""
        partition = self.live.get(batch.lease.number)
        if partition is None or partition.epoch != batch.epoch or not batch.lease.owned:
            return None
        return partition

    @property
    def owned(self) -> Sequence[int]:
        return [number for number, lease in list(self.leases.items()) if lease.owned]

    @property
    def restored(self) -> bool:
        return self.answered and len(self.live) == len(self.leases)

    @property
    def keys(self) -> int:
        return sum(len(each.entries) for each in self.live.values())

    @property
    def set_aside(self) -> int:
        return sum(len(each.quarantine.set_aside) for each in self.live.values())

    @property
    def lag(self) -> int:
        """Records in the owned partitions that are not applied yet."""
        return self._behind(frozenset())

    @property
    def workable(self) -> int:
        """The lag without partitions that are stuck."""
        return self._behind(self.stuck)

    def _behind(self, without: Collection[int]) -> int:
        lag = 0
        for lease in [lease for lease in list(self.leases.values()) if lease.number not in without]:
            partition = self.live.get(lease.number)
            if partition is not None:
                lag += lease.behind(partition.position)
            else:
                lag += 1  # its restore is work that waits
        return lag


def _name(number: int) -> str:
    """Name of the trouble with a partition."""
    return f"partition {number}"
