"""A restore: the state of partitions as it was committed, before their records are read on.

The order is the rule of this file: (1) the stable committed offset, (2) the changelog's end with open transactions,
(3) the changelog, committed records only, up to that end, (4) read on from the oldest offset that is not in the
records. Read the other way round, a commit between (1) and (2) would be missed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Literal

from pipeline.runtime.changelog import split_key
from pipeline.runtime.logic import State
from pipeline.runtime.partition import Partition
from pipeline.runtime.ports import Committed, History
from pipeline.wire.quarantine import MARK

Step = Literal["ends", "read"]


def restore(
    history: History,
    numbers: Sequence[int],
    empty: Callable[[int], Partition[State]],
    lost: Callable[[str], None],
    restored: list[Partition[State]],
) -> Iterator[Step]:
    """Appends to `restored` one Partition per number, to be fed from its `position` on.

    Yields the name of the next step, once per chunk while the changelog is read. `lost` is told, in words for the
    operator, when the source or the group has forgotten something that this restore would have needed.
    """
    committed = history.committed(numbers)
    yield "ends"
    ends = history.ends(numbers)
    records: dict[int, dict[bytes, bytes]] = {number: {} for number in numbers}
    yield "read"
    for chunk in history.read(ends):
        for number, key, value in chunk:
            if value is None:
                records[number].pop(key, None)
            else:
                records[number][key] = value
        yield "read"
    for number in numbers:
        partition = empty(number)
        _load(partition, records.pop(number))
        _place(partition, committed[number], lost)
        restored.append(partition)


def _load(partition: Partition[State], records: dict[bytes, bytes]) -> None:
    """States with their archives. Compaction keeps no order between them, so all records are read first."""
    kept: dict[bytes, dict[bytes, bytes]] = {}
    states: list[tuple[bytes, bytes]] = []
    for key, value in records.items():
        owner, name = split_key(key)
        if name is None:
            states.append((owner, value))
        else:
            kept.setdefault(owner, {})[name] = value
    for key, value in states:
        partition.load(key, value, kept.pop(key, {}))
    for key, archive in kept.items():
        if MARK in archive:  # set aside at its first record
            partition.load(key, None, archive)


def _place(partition: Partition[State], committed: Committed, lost: Callable[[str], None]) -> None:
    offset = committed.offset
    if offset is None:
        offset = max((entry.through for entry in partition.entries.values()), default=0)
        if offset:
            lost(
                f"partition {partition.number}: the group has no committed offset but there is state up to {offset}; "
                "outputs after it may be repeated (was the group deleted, or unused longer than offsets.retention?)"
            )
    oldest = offset if committed.oldest is None else min(committed.oldest, offset)
    if oldest < committed.first and (committed.offset is not None or partition.entries):
        lost(
            f"partition {partition.number}: records {oldest} to {committed.first - 1} were needed and are gone; "
            "the source's retention is shorter than the time this stage did not run"
        )
    partition.replay_until = offset
    partition.position = max(oldest, committed.first)
    partition.view = committed.view
