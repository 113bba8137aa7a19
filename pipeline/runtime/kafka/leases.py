"""The interface between an intake and its user: leases of partitions, batches of records, and the handler of both."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future
from typing import NamedTuple, Protocol

import confluent_kafka as ck


class Lease:
    """One partition while this worker owns it. `epoch` rises whenever earlier batches become invalid."""

    __slots__ = ("end", "epoch", "high", "number", "owned", "running", "tail", "topic")

    def __init__(self, topic: str, number: int) -> None:
        self.topic = topic
        self.number = number
        self.epoch = 0
        self.owned = True
        self.running = False
        self.end = 0
        """The offset after the last record that was handed over."""
        self.high = 0
        """End of the partition as seen within the last second."""
        self.tail = 0
        """From `end` to here there is no record, only transaction markers: the consumer has reached the end."""

    def pause(self) -> None:
        """Stops the batches until `Intake.start`. `running` changes before `epoch`: see `Intake._batches`."""
        self.running = False
        self.epoch += 1

    def behind(self, position: int) -> int:
        """Number of offsets from `position` to the end, without transaction markers after the last record."""
        reached = max(position, self.tail) if position >= self.end else position
        return max(0, self.high - reached)


class Batch(NamedTuple):
    lease: Lease
    epoch: int
    start: int
    """The end of the batch before it: a gap between the two would be lost records."""
    messages: Sequence[ck.Message]
    """Empty: the next record is not in the log (any more); no batch follows until `Intake.start`."""


Poll = Sequence[Batch]
"""The batches of one poll, at most one per partition."""


class PollHandler(Protocol):
    """Takes what an intake reads. The intake's thread makes these calls; it serves its mailbox until each is done."""

    def assigned(self, leases: Sequence[Lease]) -> None:
        """Also called with none: the group has answered and has no (further) partition for this worker."""
        ...

    def revoked(self, leases: Sequence[Lease]) -> Future[None]:
        """Done when everything applied of these is committed, or given up."""
        ...

    def lost(self, leases: Sequence[Lease]) -> Future[None]:
        """Another worker may own them already."""
        ...

    def skipped(self, lease: Lease, wanted: int, first: int) -> None:
        """The committed offset `wanted` is not in the log; reading continues at `first`."""
        ...

    def offer(self, poll: Poll) -> Future[None]:
        """Done when the handler has accepted the poll."""
        ...

    def finish(self) -> Future[None]:
        """The last call before the group is left."""
        ...

    def failed(self, error: BaseException) -> None: ...
