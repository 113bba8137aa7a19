"""The processes under test, and a supervisor that starts them again in the same slot.

In which phase a SIGKILL hit is read after the death, from the file that the worker keeps mapped; who owns which
partition is read from its log.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pipeline.runtime.process.phases import read_phases
from pipeline.settings import PREFIX
from tests.chaos.scale import GRACE_S

REPOSITORY = Path(__file__).parents[2]
CLOCKED = Path(__file__).with_name("clocked.py")
STORE = "store"
START_LIMIT_S = 60.0
"""On a busy machine the imports alone take many seconds."""
_STARTED = b"[^App]: Starting..."
_MOVED = re.compile(r" assemble: (assigned|revoked|lost|restored partitions) (.*)")
_PLACE = re.compile(r"meter-events-(\d+)")


@dataclass(slots=True)
class Worker:
    """One slot. `folder` keeps its log (of all its lives) and its phase file."""

    slot: str
    command: list[str]
    environment: Mapping[str, str]
    folder: Path
    clock: Path
    """How many seconds its clock is ahead, if it has one of its own (clocked.py)."""
    tree: Path = REPOSITORY
    """The release that it runs."""
    process: subprocess.Popen[bytes] | None = None
    paused: bool = False
    owned: set[int] = field(default_factory=set)
    started: bool = False
    """It has got so far that it handles SIGTERM."""
    restoring: bool = False
    """Partitions were assigned and are not restored yet."""
    read_to: int = 0

    @property
    def log(self) -> Path:
        return self.folder / f"worker-{self.slot}.log"

    @property
    def phase_file(self) -> Path:
        return self.folder / f"phase-{self.slot}"

    @property
    def alive(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def start(self) -> None:
        self.phase_file.unlink(missing_ok=True)
        self.read_to = self.log.stat().st_size if self.log.exists() else 0
        self.owned, self.restoring, self.paused, self.started = set(), False, False, False
        environment = {**self.environment, f"{PREFIX}PHASE_FILE": str(self.phase_file)}
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(  # noqa: S603 - our own command
                self.command, env=environment, cwd=self.tree, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )

    def phase(self) -> str:
        """The step that the stage is in, or was in when the process died; empty before it has begun."""
        try:
            return next(iter(read_phases(self.phase_file).values()), "")
        except (FileNotFoundError, ValueError):
            return ""

    def look(self) -> None:
        """Follows the log: which partitions are owned, and whether a restore runs."""
        with self.log.open("rb") as log:
            log.seek(self.read_to)
            text = log.read()
        complete = text.rfind(b"\n") + 1
        self.read_to += complete
        self.started = self.started or _STARTED in text[:complete]
        for what, places in _MOVED.findall(text[:complete].decode("utf-8", "replace")):
            numbers = {int(number) for number in _PLACE.findall(places)}
            if what == "assigned":
                self.owned |= numbers
                self.restoring = True
            elif what == "restored partitions":
                self.restoring = False
            else:
                self.owned -= numbers

    def await_start(self) -> None:
        """Until it has started, as a supervisor waits for its readiness; or has ended."""
        until = time.monotonic() + START_LIMIT_S
        self.look()
        while not self.started and self.alive and time.monotonic() < until:
            time.sleep(0.05)
            self.look()

    def signal(self, number: signal.Signals) -> None:
        assert self.process is not None
        os.kill(self.process.pid, number)
        self.paused = number == signal.SIGSTOP

    def kill(self) -> str:
        """SIGKILL; returns the phase that it hit. `starting`: nothing was assigned yet, so nothing was restored."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()
        phase = self.phase()
        self.look()
        return "starting" if phase == "restore" and not self.restoring else phase or "starting"

    def stop(self) -> tuple[int, float]:
        """SIGTERM; exit code and seconds. One that does not end in time is killed (exit code -9)."""
        assert self.process is not None
        self.await_start()
        began = time.monotonic()
        self.process.terminate()
        try:
            code = self.process.wait(GRACE_S + 5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            code = self.process.wait()
        return code, time.monotonic() - began


def slots(assembling: int) -> list[str]:
    return [*map(str, range(assembling)), STORE]


def workers(environments: Mapping[str, Mapping[str, str]], folder: Path, clocks: bool) -> dict[str, Worker]:
    """One for each slot, with its environment; none is started. `clocks`: each has a clock of its own to set."""
    return {slot: _worker(slot, environment, folder, clocks) for slot, environment in environments.items()}


def _worker(slot: str, environment: Mapping[str, str], folder: Path, clocks: bool) -> Worker:
    clock = folder / f"clock-{slot}"
    run = [str(CLOCKED), str(clock)] if clocks else ["-m", "pipeline"]
    clock.write_text("0", "ascii")
    stage = STORE if slot == STORE else "assemble"
    command = [sys.executable, *run, "worker", "--stage", stage, "--slot", slot]
    return Worker(slot, command, environment, folder, clock=clock)
