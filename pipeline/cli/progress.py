"""How far a command is: a bar on a terminal, otherwise a plain line on stderr every two seconds.

stdout is for results alone. Work that ends within two seconds prints nothing.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol, TextIO

INTERVAL_S = 2.0


class Progress(Protocol):
    """What a command reports to. `advance` adds to what is done, `note` says in a few words what happens now."""

    def advance(self, count: int = 1) -> None: ...
    def note(self, text: str) -> None: ...


@contextmanager
def progress(what: str, total: int | None = None, unit: str = "") -> Iterator[Progress]:
    """Report the work inside the block. `total` None: not known; `unit` is a plural, e.g. `events`."""
    if sys.stdout.isatty() and sys.stderr.isatty():
        with _bar(what, total, unit) as bar:
            yield bar
    else:
        lines = Lines(what, total, unit)
        yield lines
        lines.finish()


class Lines:
    """Progress as log lines on `out` (stderr); `clock` gives seconds that only rise."""

    def __init__(
        self,
        what: str,
        total: int | None,
        unit: str = "",
        *,
        out: TextIO | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._what, self._total, self._unit = what, total, unit
        self._out = sys.stderr if out is None else out
        self._clock = clock
        self._began = self._printed = clock()
        self._done = 0
        self._note = ""

    def advance(self, count: int = 1) -> None:
        self._done += count
        self._print_if_due()

    def note(self, text: str) -> None:
        self._note = text
        self._print_if_due()

    def finish(self) -> None:
        if (took := self._clock() - self._began) >= INTERVAL_S:
            self._print(f"done in {took:.0f} s")

    def _print_if_due(self) -> None:
        if self._clock() - self._printed >= INTERVAL_S:
            self._print(self._note)

    def _print(self, remark: str) -> None:
        now = self._clock()
        self._printed = now
        parts = []
        if self._done or self._total:
            of_total = f" of {self._total:,}" if self._total else ""
            parts.append(f"{self._done:,}{of_total} {self._unit}".rstrip())
        if self._total:
            parts.append(f"{100 * self._done // self._total} %")
        if self._done and now > self._began:
            parts.append(f"{self._done / (now - self._began):,.0f}/s")
        if remark:
            parts.append(remark)
        print(f"{self._what}: {', '.join(parts) or 'working'}", file=self._out, flush=True)


@contextmanager
def _bar(what: str, total: int | None, unit: str) -> Iterator[Progress]:
    from rich import progress as rich  # 0.1 s that a command without a terminal need not spend
    from rich.console import Console

    columns = (
        rich.TextColumn("{task.description}"),
        rich.BarColumn(),
        rich.MofNCompleteColumn() if total else rich.TextColumn("{task.completed:,.0f}"),
        rich.TextColumn(unit),
        rich.TimeElapsedColumn(),
        rich.TimeRemainingColumn() if total else rich.TextColumn(""),
        rich.TextColumn("{task.fields[remark]}", style="dim"),
    )
    with rich.Progress(*columns, console=Console(stderr=True)) as bars:
        task = bars.add_task(what, total=total, remark="")

        class Bar:
            def advance(self, count: int = 1) -> None:
                bars.advance(task, count)

            def note(self, text: str) -> None:
                bars.update(task, remark=text)

        yield Bar()
