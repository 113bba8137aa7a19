"""What a throughput figure is: records and CPU time between two moments of one run, the same for every contender.

A run reads a filled topic from its beginning. Its first part (WARM_UP) and its last (the rest after UNTIL) do not
count: start, joining of the group, empty caches, and the end where partitions run dry one by one.
"""

from __future__ import annotations

import os
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

WARM_UP, UNTIL = 0.20, 0.95
"""Shares of the run's records between which is measured."""
SAMPLE_S = 0.05
STOP_S = 10.0
_TICK_S = 1 / os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Sample:
    at_s: float
    done: int
    cpu_s: float
    """Of all processes of the contender, children included in none."""
    broker_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One run between WARM_UP and UNTIL."""

    events_per_s: float
    cpu_us_per_event: float
    broker_us_per_event: float
    seconds: float
    events: int


class Ended(Exception):
    """A contender's process ended or did not get on; the text says which, and how its log ends."""


@dataclass(slots=True)
class Child:
    """A process that a run started. `done` is what it last said on stdout about the records behind it."""

    process: subprocess.Popen[bytes]
    log: Path
    log_began: int
    """How long the log was when the process was started."""
    done: int = 0
    reader: threading.Thread | None = None

    @classmethod
    def start(cls, command: Sequence[str], environment: Mapping[str, str], log: Path, *, counts: bool) -> Child:
        """`counts`: every line on stdout is the number of records processed so far."""
        keep = {name: os.environ[name] for name in ("PATH", "HOME", "TMPDIR") if name in os.environ}  # noqa: TID251 - handed on
        log_began = len(log.read_text("utf-8")) if log.exists() else 0
        with log.open("ab") as out:
            process = subprocess.Popen(  # noqa: S603 - our own commands
                list(command),
                env=keep | dict(environment),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE if counts else out,
                stderr=out,
            )
        child = cls(process, log, log_began)
        if counts:
            assert process.stdout is not None
            child.reader = threading.Thread(target=child._read, args=(process.stdout,), daemon=True)
            child.reader.start()
        return child

    def _read(self, stdout: IO[bytes]) -> None:
        for line in stdout:
            if line.strip().isdigit():
                self.done = int(line)

    def cpu_s(self) -> float:
        return cpu_seconds(self.process.pid)

    def check(self) -> None:
        if self.process.poll() is not None:
            raise Ended(f"ended with {self.process.returncode}: {last_line(self.log)}")

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        if self.reader is not None:
            self.reader.join(STOP_S)
        if self.process.stdout is not None:
            self.process.stdout.close()


@dataclass(slots=True)
class Run:
    """Samples of one run, until `goal` records are done."""

    children: Sequence[Child]
    goal: int
    broker_pid: int
    done: Callable[[], int]
    samples: list[Sample] = field(default_factory=list)

    def watch(self, limit_s: float) -> Figure:
        """Raises Ended when a process ends or the goal is not reached within `limit_s`."""
        deadline = time.monotonic() + limit_s
        while not self.samples or self.samples[-1].done < UNTIL * self.goal:
            for child in self.children:
                child.check()
            if time.monotonic() > deadline:
                reached = self.samples[-1].done if self.samples else 0
                raise Ended(f"{reached} of {self.goal} records after {limit_s:.0f} s")
            cpu_s = sum(child.cpu_s() for child in self.children)
            self.samples.append(Sample(time.monotonic(), self.done(), cpu_s, cpu_seconds(self.broker_pid)))
            time.sleep(SAMPLE_S)
        return figure(self.samples, self.goal)


def figure(samples: Sequence[Sample], goal: int) -> Figure:
    """Between the first samples that reach WARM_UP and UNTIL of the goal."""
    begin = next(sample for sample in samples if sample.done >= WARM_UP * goal)
    end = next(sample for sample in samples if sample.done >= UNTIL * goal)
    events, seconds = end.done - begin.done, end.at_s - begin.at_s
    if events <= 0 or seconds <= 0:
        raise Ended("too few records to measure: all of them were done between two looks")
    return Figure(
        events_per_s=events / seconds,
        cpu_us_per_event=(end.cpu_s - begin.cpu_s) / events * 1e6,
        broker_us_per_event=(end.broker_s - begin.broker_s) / events * 1e6,
        seconds=seconds,
        events=events,
    )


def cpu_seconds(pid: int) -> float:
    """User and system time of a process with all its threads. Linux only."""
    fields = Path(f"/proc/{pid}/stat").read_text("ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) * _TICK_S


def rss_bytes(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text("ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")


def last_line(log: Path) -> str:
    lines = [line.strip() for line in log.read_text("utf-8", errors="replace").splitlines() if line.strip()]
    return lines[-1] if lines else "it wrote nothing"
