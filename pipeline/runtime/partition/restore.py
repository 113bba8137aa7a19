"""A restore: rebuilds the committed state of partitions before the stage reads their next records.

The order is the rule of this file: (1) the stable committed offset, (2) the changelog's end with open transactions,
(3) the changelog, committed records only, up to that end, (4) read on from the oldest offset that is not in the
records. In the opposite order a restore would miss a commit between (1) and (2).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Literal, NamedTuple

from pipeline.runtime.logic import State
from pipeline.runtime.partition.changelog import UnreadableState, decode_state, split_key
from pipeline.runtime.partition.entries import Entry
from pipeline.runtime.partition.partition import SIGNED, Partition
from pipeline.runtime.partition.ports import Committed, History
from pipeline.wire.quarantine import MARK, decode_mark

RestorePhase = Literal["ends", "read"]

SOURCE = b"source"
"""The fact of a partition that names the id of its topic."""


class Replaced(Exception):
    """The source is not the one from which the state was made; the text says why."""


class Refused(NamedTuple):
    """A partition that the stage does not read, because its source was replaced."""

    number: int
    why: str


def restore(
    history: History,
    numbers: Sequence[int],
    empty: Callable[[int], Partition[State]],
    lost: Callable[[str, int], None],
    restored: list[Partition[State] | Refused],
) -> Iterator[RestorePhase]:
    """Appends one result per number to `restored`: a Partition to read from its `position`, or Refused with the reason.

    Yields the name of the next phase, once per chunk while it reads the changelog. Calls `lost` with a sentence for the
    operator and a number of records when the source or the group no longer has something that this restore needs.
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
        try:
            _recognise(partition, committed[number])
        except Replaced as error:
            restored.append(Refused(number, str(error)))
            continue
        _place(partition, committed[number], lost)
        restored.append(partition)


def _load(partition: Partition[State], records: dict[bytes, bytes]) -> None:
    """Loads states and archives. Compaction keeps no order between them, so all records must be there first."""
    kept: dict[bytes, dict[bytes, bytes]] = {}
    states: list[tuple[bytes, bytes]] = []
    for key, value in records.items():
        owner, name = split_key(key)
        if name is None:
            states.append((owner, value))
        else:
            kept.setdefault(owner, {})[name] = value
    partition.facts = kept.pop(b"", {})
    for key, value in states:
        load(partition, key, value, kept.pop(key, {}))
    for key, archive in kept.items():
        if MARK in archive:  # the key was set aside at its first record
            load(partition, key, None, archive)


def _recognise(partition: Partition[State], committed: Committed) -> None:
    """Raises Replaced when the state's offsets cannot belong to this source."""
    reached = committed.offset
    if reached is None:
        reached = max((entry.through for entry in partition.entries.values()), default=0)
    known = partition.facts.get(SOURCE, b"").decode()
    if not committed.accepted:
        if known and committed.source and known != committed.source:
            raise Replaced("the topic was deleted and recreated")
        if reached > committed.end:
            raise Replaced(
                f"it ends at offset {committed.end} and was read up to {reached}: the topic was recreated, or its end "
                "was lost"
            )
    if committed.source:
        partition.note(SOURCE, committed.source.encode())


def _place(partition: Partition[State], committed: Committed, lost: Callable[[str, int], None]) -> None:
    if committed.accepted and committed.offset is not None:
        renumber(partition, max(committed.offset, committed.first))
        return
    offset = committed.offset
    if offset is None:
        offset = max((entry.through for entry in partition.entries.values()), default=0)
        if offset:
            lost(
                f"partition {partition.number}: the group has no committed offset but there is state up to {offset}; "
                "outputs after it may be repeated (was the group deleted, or unused longer than offsets.retention?)",
                0,
            )
    oldest = offset if committed.oldest is None else min(committed.oldest, offset)
    if oldest < committed.first and (committed.offset is not None or partition.entries):
        lost(
            f"partition {partition.number}: records {oldest} to {committed.first - 1} were needed and are gone "
            "(retention shorter than this stage was behind, or somebody deleted them); it reads on from offset "
            f"{committed.first}; see ops/runbooks/lost-records.md",
            committed.first - oldest,
        )
    partition.replay_until = offset
    partition.position = max(oldest, committed.first)
    partition.watermarks.now = committed.watermark


def renumber(partition: Partition[State], position: int) -> None:
    """Adopts new offsets of the source from `position` on; the transaction that commits it writes all state records."""
    partition.position = partition.replay_until = position
    if SIGNED in partition.facts:
        partition.note(SIGNED, b"0")
    for entry in partition.entries.values():
        entry.through = 0
        partition.unwritten.urgent(entry)
    partition.quarantine.renumber()


def load(partition: Partition[State], key: bytes, value: bytes | None, kept: dict[bytes, bytes]) -> None:
    """Loads one key from its state record (None: it was set aside before it had a state).

    Sets the key aside if the logic cannot read the record. Raises UnreadableState for an unknown codec version or
    record format.
    """
    mark = kept.pop(MARK, None)
    entry: Entry[State] = Entry(partition.unwritten, key)
    entry.kept, entry.record = kept, value
    if value is not None:
        record = decode_state(value)
        if record.version not in partition.logic.readable_versions:
            raise UnreadableState(
                f"partition {partition.number}: state of codec version {record.version}, this version reads "
                f"{sorted(partition.logic.readable_versions)}; start a version that reads it"
            )
        entry.through = record.through
    if mark is not None or value is None:
        partition.quarantine.restored(entry, decode_mark(mark) if mark is not None else None)
        return
    try:
        entry.state = partition.logic.load(key, record.body, record.version, entry)
        partition.unwritten.count(entry)
        partition.ticks.schedule(entry, entry.state)
    except Exception as error:
        partition.unwritten.forget(entry)
        partition.quarantine.unreadable(entry, error)
        return
    partition.entries[key] = entry
