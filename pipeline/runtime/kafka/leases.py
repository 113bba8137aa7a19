"""What an intake hands over, and to whom: leases of partitions, batches of their records, and who is fed with them."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future
from typing import NamedTuple, Protocol

import confluent_kafka as ck


class Lease:
    """One partition while this worker owns it. `epoch` rises whenever what was read before became void."""

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
        """From `end` to here there is no record, only what transactions leave behind: the consumer was at the end."""

    def pause(self) -> None:
        """Called by the handler: nothing more until `Intake.start`. First stop, then count: see `Intake._batches`."""
        self.running = False
        self.epoch += 1

    def behind(self, position: int) -> int:
        """How much the partition holds from `position` on; markers of transactions after the last record are none."""
        reached = max(position, self.tail) if position >= self.end else position
        return max(0, self.high - reached)


class Batch(NamedTuple):
    lease: Lease
    epoch: int
    start: int
    """The end of the batch before it: a gap between the two would be lost records."""
    messages: Sequence[ck.Message]
    """None: what comes next is not in the log any more, or never was; nothing follows until `Intake.start`."""


Poll = Sequence[Batch]
"""What one poll brought, at most one batch a partition."""


class PollHandler(Protocol):
    """Who is fed. All are called in the intake's thread; until each is done it serves its mailbox only."""

    def assigned(self, leases: Sequence[Lease]) -> None:
        """Also called with none: the group has answered, and there is nothing (more) for this worker."""
        ...

    def revoked(self, leases: Sequence[Lease]) -> Future[None]:
        """Done when everything applied of these is committed, or given up."""
        ...

    def lost(self, leases: Sequence[Lease]) -> Future[None]:
        """Somebody else may own them already."""
        ...

    def skipped(self, lease: Lease, wanted: int, first: int) -> None:
        """Started where the group has committed: at `wanted`, which is not there; read on from `first`."""
        ...

    def offer(self, poll: Poll) -> Future[None]:
        """Done when there was room for it."""
        ...

    def finish(self) -> Future[None]:
        """The last call before the group is left."""
        ...

    def failed(self, error: BaseException) -> None: ...
