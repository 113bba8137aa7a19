"""Records the phase of each stage of this process, so that failure tests know where a SIGKILL hit.

One fixed-width line per stage in a memory-mapped file survives the process. In production there is no file and a phase
costs one comparison.
"""

from __future__ import annotations

import mmap
import os
import signal
from collections.abc import Callable
from pathlib import Path

WIDTH = 48
"""Characters of a line: stage, a colon, the phase, padding, a line feed."""

Enter = Callable[[str], None]


class Phases:
    """`pause_at` = `stage:phase:n` stops the process (SIGSTOP) when the stage enters the phase for the n-th time."""

    def __init__(self, file: Path | None = None, pause_at: str = "") -> None:
        self._file = file
        self._pause_at = pause_at
        self._lines: list[str] = []
        self._map: mmap.mmap | None = None
        self._entered: dict[str, int] = {}

    def register(self, stage: str) -> Enter:
        """The function that a stage calls with the name of each phase it enters."""
        if self._file is None and not self._pause_at:
            return _nothing
        index = len(self._lines)
        self._lines.append(stage)
        if self._file is not None:
            with self._file.open("a+b") as opened:
                opened.truncate(len(self._lines) * WIDTH)
                self._map = mmap.mmap(opened.fileno(), len(self._lines) * WIDTH)

        def enter(phase: str) -> None:
            name = f"{stage}:{phase}"
            if self._map is not None:
                self._map[index * WIDTH : (index + 1) * WIDTH] = f"{name:<{WIDTH - 1}}\n".encode()
            if self._pause_at.startswith(f"{name}:"):
                self._entered[name] = self._entered.get(name, 0) + 1
                if self._pause_at == f"{name}:{self._entered[name]}":
                    os.kill(os.getpid(), signal.SIGSTOP)

        enter("idle")
        return enter


def read_phases(file: Path) -> dict[str, str]:
    """Step of each stage, as it was when the process ended."""
    lines = file.read_text("ascii").split("\n")
    return dict(line.strip().split(":", 1) for line in lines if ":" in line)


def _nothing(_: str) -> None:
    """Nobody looks."""
