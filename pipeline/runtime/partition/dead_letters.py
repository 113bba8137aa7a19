"""When dead letters and exceptions mean that something else is wrong. What one looks like is in wire/dead_letters.py.

A flood stops the worker: a schema or a firmware changed, and the topic must not be emptied into the dead letters. So
does one exception at many keys: a bad release. The rule of the file: one key alone, whatever it sends, stops nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

WINDOW = 10_000
"""Records over which the share of dead letters is taken."""
FLOODING_KEYS = 10
"""So many keys at least make a flood: none counts for more than this part of what is allowed."""


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
    """Counts what one stage could not use.

    Raises DeadLetterFlood above `longest_run` dead letters in a row or `percent` of WINDOW, BadRelease when the same
    place has raised at `release_keys` keys since the start.
    """

    def __init__(
        self, longest_run: int, percent: int, count: Callable[[str], None], *, key_errors: int = 10,
        release_keys: int = 25, count_error: Callable[[], None] = lambda: None,
    ) -> None:  # fmt: skip
        self.key_errors = key_errors
        """After so many exceptions a key is set aside: each costs a look into the log."""
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
        """One whole record of `key` became a dead letter."""
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
        """A part of a record became a dead letter; the rest was used, so it is no sign of a flood."""
        self._count(reason)

    def passed(self, records: int) -> None:
        """So many records were read, dead letters included."""
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
        """`key` raised at `place`; returns how often it has raised since the start, wherever."""
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
        """It was released: what it raised before counts no more."""
        for keys in self._raised.values():
            keys.pop(key, None)
