"""A checkpoint: outputs, state records and positions become visible in one transaction, or not at all.

The order is the rule of this file: stop applying; fix positions; state records; flush; offsets; commit. Without the
flush before the offsets, a paused owner could commit offsets whose records are still in its queue while the next
owner has already read the changelog. Nothing is produced between the positions and the commit.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

from pipeline.runtime.logic import State
from pipeline.runtime.partition.partition import Partition
from pipeline.runtime.partition.ports import Transaction

CheckpointPhase = Literal["flush", "offsets", "commit"]

EVERYTHING = -1.0
"""Value of `write_s` that also writes the states that changed just now: the next owner applies nothing again."""


def checkpoint(
    transaction: Transaction, partitions: Sequence[Partition[State]], changelog: str, now: float, write_s: float
) -> Iterator[CheckpointPhase]:
    """Runs one checkpoint; yields the name of the phase that comes next, so that tests can crash or pause before it.

    Raises TransactionLost when it can never be committed. Leaves out a partition that still applies committed records
    again: its state records and offsets in Kafka are still right.
    """
    settled = [partition for partition in partitions if not partition.replaying]
    for partition in settled:
        for key, value in partition.due_records(now, write_s):
            transaction.produce(changelog, value, key, partition.number)
    positions = [partition.fixed() for partition in settled]
    yield "flush"
    transaction.flush()
    yield "offsets"
    transaction.send_offsets(positions)
    yield "commit"
    transaction.commit()
