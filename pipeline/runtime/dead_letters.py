"""When so many dead letters mean that something else is wrong. What one looks like is in wire/dead_letters.py.

A flood stops the worker: a schema or a firmware changed, and the topic must not be emptied into the dead letters.
"""

from __future__ import annotations

from collections.abc import Callable

WINDOW = 10_000
"""Records over which the share of dead letters is taken."""


class DeadLetterFlood(Exception):
    """Too many dead letters: nothing of this transaction is committed and the worker stops."""


class FloodGate:
    """Counts dead letters of one stage; raises DeadLetterFlood above `longest_run` in a row or `percent` of WINDOW."""

    def __init__(self, longest_run: int, percent: int, count: Callable[[str], None]) -> None:
        self._longest_run = longest_run
        self._percent = percent
        self._count = count
        self._runs: dict[int, tuple[int, int]] = {}
        self._records = self._refused = 0

    def refused(self, partition: int, offset: int, reason: str) -> None:
        """One whole record became a dead letter."""
        self._count(reason)
        expected, length = self._runs.get(partition, (-1, 0))
        length = length + 1 if offset == expected else 1
        self._runs[partition] = offset + 1, length
        self._refused += 1
        if length >= self._longest_run:
            raise DeadLetterFlood(f"partition {partition}: {length} dead letters in a row, the last one {reason}")

    def part_refused(self, reason: str) -> None:
        """A part of a record became a dead letter; the rest was used, so it is no sign of a flood."""
        self._count(reason)

    def passed(self, records: int) -> None:
        """So many records were read, dead letters included."""
        self._records += records
        if self._records < WINDOW:
            return
        share = 100 * self._refused // self._records
        if share >= self._percent and self._refused:
            raise DeadLetterFlood(f"{share} % of the last {self._records} records are dead letters")
        self._records = self._refused = 0
