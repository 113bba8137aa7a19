"""Decides when dead letters and exceptions must stop the worker. wire/dead_letters.py has their format.

A flood stops it: a schema or a firmware changed, and the topic must not drain into the dead letters. One exception at
many keys stops it, too: the release is bad. The rule of the file: one key alone never stops the worker.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

WINDOW = 10_000
"""Records over which the share of dead letters is taken."""
FLOODING_KEYS = 10
"""A flood needs at least this many keys: each key counts for at most one FLOODING_KEYS-th of the limit."""


class DeadLetterFlood(Exception):
    """Too many dead letters: nothing of this transaction is committed and the worker stops."""


class BadRelease(Exception):
    """One exception at many keys: nothing of this transaction is committed and the worker stops."""


@dataclass(slots=True)
class _Run:
    """Dead letters without a good record between them."""

    expected: int = -1
    length: int = 0
    keys: Counter[bytes | None] = field(default_factory=Counter)


class FloodGate:
    """Counts the dead letters and exceptions of one stage.

    Raises DeadLetterFlood above `longest_run` dead letters in a row or `percent` of WINDOW, BadRelease when the same
    place has raised at `release_keys` keys since the start.
    """

    def __init__(
        self, longest_run: int, percent: int, count: Callable[[str], None], *, key_errors: int = 10,
        release_keys: int = 25, count_error: Callable[[], None] = lambda: None,
    ) -> None:  # fmt: skip
        self.key_errors = key_errors
        """A key is set aside after this many exceptions, because each one costs a read of the log."""
        self._longest_run = longest_run
        self._percent = percent
        self._count = count
        self._release_keys = release_keys
        self._count_error = count_error
        self._runs: dict[int, _Run] = {}
        self._records = 0
        self._refused: Counter[bytes | None] = Counter()
        self._raised: dict[str, Counter[bytes | None]] = {}

    def refused(self, partition: int, offset: int, key: bytes | None, reason: str) -> None:
        """Counts a record of `key` that became a dead letter as a whole."""
        self._count(reason)
        self._refused[key] += 1
        run = self._runs.get(partition)
        if run is None or run.expected != offset:
            run = self._runs[partition] = _Run()
        run.expected = offset + 1
        run.keys[key] += 1
        if run.keys[key] <= max(1, self._longest_run // FLOODING_KEYS):
            run.length += 1
        if run.length >= self._longest_run:
            raise DeadLetterFlood(f"partition {partition}: {run.length} dead letters in a row, the last one {reason}")

    def part_refused(self, reason: str) -> None:
        """Counts a part of a record that became a dead letter. The rest was used, so it is no sign of a flood."""
        self._count(reason)

    def passed(self, records: int) -> None:
        """Counts records that were read, dead letters included."""
        self._records += records
        if self._records < WINDOW:
            return
        most = max(1, self._records * self._percent // 100 // FLOODING_KEYS)
        share = 100 * sum(min(count, most) for count in self._refused.values()) // self._records
        if share >= self._percent and self._refused:
            raise DeadLetterFlood(f"{share} % of the last {self._records} records are dead letters")
        self._records = 0
        self._refused.clear()

    def raised(self, key: bytes | None, place: str) -> int:
        """Counts an exception of `key` at `place`; returns how often `key` has raised since the start, at any place."""
        self._count_error()
        keys = self._raised.setdefault(place, Counter())
        keys[key] += 1
        if len(keys) >= self._release_keys:
            raise BadRelease(
                f"{place}, at {len(keys)} keys: this release is wrong, not their records. Nothing of it is committed; "
                "start the release before it, or raise CHARGELINE_RELEASE_STATIONS to go on with dead letters"
            )
        return sum(counts[key] for counts in self._raised.values())

    def forgive(self, key: bytes) -> None:
        """Forgets the exceptions of a key that was released."""
        for keys in self._raised.values():
            keys.pop(key, None)
