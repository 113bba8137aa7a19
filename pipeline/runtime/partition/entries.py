"""The keys of a partition in memory, and those that changed since their record in the changelog.

A changed state is written some seconds later, with all changes until then; a changed archive at the next checkpoint,
together with its state. A restore continues at the oldest record that is in no state record.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from typing import Generic

from pipeline.runtime.logic import Logic, State, ledger_of
from pipeline.runtime.partition import changelog
from pipeline.runtime.partition.changelog import StateRecord
from pipeline.runtime.partition.checks import TooLarge
from pipeline.runtime.partition.tick_schedule import Sleeper

CLEAN = -1


class TooManyKeys(Exception):
    """The number of keys is above its limit: the worker stops and an operator must act."""


class Entry(Sleeper, Generic[State]):
    """One key: its state, and its archive as runtime.logic.Archive."""

    __slots__ = ("before", "kept", "record", "since", "state", "tally", "through", "unwritten")

    state: State

    def __init__(self, unwritten: Unwritten[State], key: bytes) -> None:
        super().__init__(key)
        self.unwritten = unwritten
        self.kept: dict[bytes, bytes] = {}
        self.before: dict[bytes, bytes | None] = {}
        """Archive values as of the state record, by name; only names that changed since."""
        self.record: bytes | None = None
        """The state record as last written (None: not yet), so that one key can be put back alone."""
        self.since = CLEAN
        """Offset of the first record that is not in the state record."""
        self.through = 0
        """From the state record: everything of this key below this offset is in it."""
        self.tally: Sequence[int] = ()
        """The key's part of the partition's totals."""

    def get(self, name: bytes) -> bytes | None:
        return self.kept.get(name)

    def put(self, name: bytes, value: bytes) -> None:
        self.before.setdefault(name, self.kept.get(name))
        self.kept[name] = value
        self.unwritten.urgent(self)

    def drop(self, name: bytes) -> None:
        if name in self.kept:
            self.before.setdefault(name, self.kept[name])
            del self.kept[name]
            self.unwritten.urgent(self)

    def put_back(self) -> None:
        """Puts the archive back to the state record."""
        for name, value in self.before.items():
            if value is None:
                self.kept.pop(name, None)
            else:
                self.kept[name] = value
        self.before.clear()

    def items(self) -> Iterable[tuple[bytes, bytes]]:
        return list(self.kept.items())


class Unwritten(Generic[State]):
    """What the next checkpoints of partition `number` must write."""

    def __init__(self, number: int, logic: Logic[State], max_state_bytes: int) -> None:
        self.totals: Sequence[int] = ()
        """Sums of the ledger figures of all keys, as of their last state records."""
        self._number = number
        self._logic = logic
        self._ledger = ledger_of(logic)
        self._max_state_bytes = max_state_bytes
        self.unwritable: dict[bytes, Exception] = {}
        """Keys whose state cannot be written, with the exception (mostly TooLarge): the partition sets them aside."""
        self._dirty: deque[tuple[int, Entry[State]]] = deque()
        self._urgent: dict[bytes, Entry[State]] = {}
        self._others: dict[bytes, bytes | None] = {}
        self._marks: deque[tuple[float, int]] = deque()

    def mark(self, entry: Entry[State], offset: int) -> None:
        """The record at `offset` is the first one that the entry's state record lacks."""
        entry.since = offset
        self._dirty.append((offset, entry))

    def write_soon(self, entry: Entry[State], offset: int) -> None:
        """The record at `offset` changed the key; its state is due at the next checkpoint."""
        if entry.since < 0:
            self.mark(entry, offset)
        self.urgent(entry)

    def urgent(self, entry: Entry[State]) -> None:
        """The state is due at the next checkpoint with the archive's changes, which must not happen twice."""
        self._urgent[entry.key] = entry

    def forget(self, entry: Entry[State]) -> None:
        """Drops the key from the next checkpoints and from the totals."""
        entry.since = CLEAN
        self._urgent.pop(entry.key, None)
        self.unwritable.pop(entry.key, None)
        self._add_up(entry, ())

    def write(self, records: Iterable[tuple[bytes, bytes | None]]) -> None:
        """Adds raw changelog records to the next checkpoint."""
        self._others.update(records)

    def due(self, now: float, write_s: float, position: int) -> Iterator[tuple[bytes, bytes | None]]:
        """Changelog records of this checkpoint: changed archives with their states, states changed `write_s` ago."""
        marks, dirty = self._marks, self._dirty
        marks.append((now, position))
        horizon = 0
        while marks and marks[0][0] <= now - write_s:
            horizon = marks.popleft()[1]
        yield from self._others.items()
        self._others.clear()
        urgent, self._urgent = self._urgent, {}
        for entry in urgent.values():
            yield from self._due(entry, position)
        left: list[tuple[int, Entry[State]]] = []
        while dirty and dirty[0][0] < horizon:
            since, entry = dirty.popleft()
            if entry.since == since:  # otherwise it was written earlier and may have changed again
                yield from self._due(entry, position)
                if entry.since == since:
                    left.append((since, entry))
        dirty.extendleft(reversed(left))

    def overdue(self, now: float, write_s: float) -> bool:
        """Whether changed states are due although no record arrived since."""
        return bool(self._dirty) and bool(self._marks) and self._marks[0][0] <= now - write_s

    def oldest(self, position: int) -> int:
        """The first record that is in no state record; `position` if there is none."""
        dirty = self._dirty
        while dirty and dirty[0][1].since != dirty[0][0]:
            dirty.popleft()
        return dirty[0][0] if dirty else position

    def count(self, entry: Entry[State]) -> None:
        """Computes the key's part of the totals again."""
        self._add_up(entry, self._ledger.tally(entry.state))

    def _add_up(self, entry: Entry[State], tally: Sequence[int]) -> None:
        if tally != entry.tally:
            nothing = (0,) * len(tally or entry.tally)
            changes = zip(self.totals or nothing, tally or nothing, entry.tally or nothing, strict=True)
            self.totals = tuple(total + now - before for total, now, before in changes)
            entry.tally = tally

    def _due(self, entry: Entry[State], position: int) -> Sequence[tuple[bytes, bytes | None]]:
        """Empty for a key whose state cannot be written; its changelog records stay unchanged."""
        try:
            return self.records(entry, position, self._max_state_bytes)
        except Exception as error:
            self.unwritable[entry.key] = error
            return ()

    def records(self, entry: Entry[State], position: int, largest: int) -> Sequence[tuple[bytes, bytes | None]]:
        """Changed archive records and the state up to `position`. Raises TooLarge, or what the logic raises."""
        body, tally = self._logic.dump(entry.state), self._ledger.tally(entry.state)
        if len(body) > largest:
            raise TooLarge(f"a state of {len(body)} bytes, the cap is {largest}")
        self._add_up(entry, tally)
        entry.record = changelog.encode_state(StateRecord(self._logic.codec_version, position, body))
        written = [(changelog.archive_key(entry.key, name), entry.kept.get(name)) for name in entry.before]
        entry.before.clear()
        entry.since = CLEAN
        return [*written, (entry.key, entry.record)]
