"""The keys of a partition in memory, and which of them changed since their record in the changelog.

A state that changed is written some seconds later, with all that happened to it until then; a changed archive at the
next checkpoint, together with its state. A restore goes on at the oldest record that is in no state record.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from typing import Generic

from pipeline.runtime import changelog
from pipeline.runtime.changelog import StateRecord
from pipeline.runtime.logic import NEVER, Logic, State

CLEAN = -1


class TooLarge(Exception):
    """A state record or the number of keys is above its cap: the worker stops, an operator must look."""


class Entry(Generic[State]):
    """One key: its state, and its archive as runtime.logic.Archive."""

    __slots__ = ("clock", "kept", "key", "scheduled", "since", "state", "tally", "through", "unwritten")

    state: State

    def __init__(self, unwritten: Unwritten[State], key: bytes) -> None:
        self.unwritten = unwritten
        self.key = key
        self.kept: dict[bytes, bytes] = {}
        self.clock = ""
        self.scheduled = NEVER
        """The wake-up that is on the heap of `clock`."""
        self.since = CLEAN
        """Offset of the first record that is not in the state record."""
        self.through = 0
        """From the state record: everything of this key below this offset is in it."""
        self.tally: Sequence[int] = ()
        """Its part of the partition's totals."""

    def get(self, name: bytes) -> bytes | None:
        return self.kept.get(name)

    def put(self, name: bytes, value: bytes) -> None:
        self.kept[name] = value
        self.unwritten.archive_changed(self, name, value)

    def drop(self, name: bytes) -> None:
        if self.kept.pop(name, None) is not None:
            self.unwritten.archive_changed(self, name, None)

    def items(self) -> Iterable[tuple[bytes, bytes]]:
        return list(self.kept.items())


class Unwritten(Generic[State]):
    """What the next checkpoints of partition `number` must write."""

    def __init__(self, number: int, logic: Logic[State], max_state_bytes: int) -> None:
        self.totals: Sequence[int] = ()
        """Sums of what Logic.tally says of each key, as of its last state record."""
        self._number = number
        self._logic = logic
        self._max_state_bytes = max_state_bytes
        self._dirty: deque[tuple[int, Entry[State]]] = deque()
        self._archived: dict[bytes, bytes | None] = {}
        self._urgent: dict[bytes, Entry[State]] = {}
        self._marks: deque[tuple[float, int]] = deque()

    def mark(self, entry: Entry[State], offset: int) -> None:
        """The record at `offset` is the first one that the entry's state record lacks."""
        entry.since = offset
        self._dirty.append((offset, entry))

    def archive_changed(self, entry: Entry[State], name: bytes, value: bytes | None) -> None:
        """Its record is due at the next checkpoint, and the state's with it: it must not happen twice."""
        self._archived[changelog.archive_key(entry.key, name)] = value
        self._urgent[entry.key] = entry

    def rewrite(self, entry: Entry[State]) -> None:
        """Its state record is due at the next checkpoint although nothing happened to it."""
        self._urgent[entry.key] = entry

    def due(self, now: float, write_s: float, position: int) -> Iterator[tuple[bytes, bytes | None]]:
        """Changelog records of this checkpoint: changed archives with their states, states changed `write_s` ago."""
        marks, dirty = self._marks, self._dirty
        marks.append((now, position))
        horizon = 0
        while marks and marks[0][0] <= now - write_s:
            horizon = marks.popleft()[1]
        yield from self._archived.items()
        self._archived.clear()
        for entry in self._urgent.values():
            yield entry.key, self._record(entry, position)
        self._urgent.clear()
        while dirty and dirty[0][0] < horizon:
            since, entry = dirty.popleft()
            if entry.since == since:  # otherwise written earlier, and perhaps changed again
                yield entry.key, self._record(entry, position)

    def overdue(self, now: float, write_s: float) -> bool:
        """States wait for their record although nothing was read meanwhile."""
        return bool(self._dirty) and bool(self._marks) and self._marks[0][0] <= now - write_s

    def oldest(self, position: int) -> int:
        """The first record that is in no state record; `position` if there is none."""
        dirty = self._dirty
        while dirty and dirty[0][1].since != dirty[0][0]:
            dirty.popleft()
        return dirty[0][0] if dirty else position

    def count(self, entry: Entry[State]) -> None:
        """Takes the key's part of the totals anew."""
        tally = self._logic.tally(entry.state)
        if tally != entry.tally:
            nothing = (0,) * len(tally)
            changes = zip(self.totals or nothing, tally, entry.tally or nothing, strict=True)
            self.totals = tuple(total + now - before for total, now, before in changes)
            entry.tally = tally

    def _record(self, entry: Entry[State], position: int) -> bytes:
        entry.since = CLEAN
        self.count(entry)
        body = self._logic.dump(entry.state)
        if len(body) > self._max_state_bytes:
            raise TooLarge(
                f"partition {self._number}: a state of {len(body)} bytes, the cap is {self._max_state_bytes}"
            )
        return changelog.encode_state(StateRecord(self._logic.codec_version, position, body))
