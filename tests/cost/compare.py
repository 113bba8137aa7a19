"""Two trees over the same logs, pair by pair of fresh processes; what they differ in."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import tarfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median, quantiles
from typing import Any

DRIVER = Path(__file__).with_name("driver.py")


class Refused(Exception):
    """The comparison cannot be made; the text says why and what to do."""


def unpack(repository: Path, revision: str, folder: Path, *further: str) -> str:
    """`pipeline/` of a revision below `folder`, from git's objects: no worktree is registered, so none can be left.
    `further`: other paths of it.

    Returns the commit's short name. Raises Refused.
    """
    commit = _git(repository, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}")
    if commit is None:
        raise Refused(f"{revision!r} is no revision of this repository; name a commit, a tag or a branch")
    name = commit.decode().strip()
    content = _git(repository, "archive", name, "pipeline", *further)
    if content is None:
        raise Refused(f"{revision!r} has no folder pipeline/; name a revision of Chargeline")
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        archive.extractall(folder, filter="data")
    return name[:12]


def _git(repository: Path, *arguments: str) -> bytes | None:
    """What git says; None: it failed."""
    done = subprocess.run(["git", "-C", str(repository), *arguments], capture_output=True, check=False)  # noqa: S603, S607 - git by PATH
    return done.stdout if done.returncode == 0 else None


@dataclass(frozen=True, slots=True)
class Run:
    """One tree over one log."""

    events: int
    cpu_ns: int
    outputs: int
    state: int
    """Bytes of all state records."""

    @property
    def us(self) -> float:
        """CPU per event."""
        return self.cpu_ns / self.events / 1000


class Driver:
    """A process that waits to do the next chunk of `log`. Raises Refused when the tree cannot run it."""

    def __init__(self, tree: Path, folder: Path, log: str) -> None:
        environment = {"PYTHONPATH": str(tree), "PYTHONHASHSEED": "0"}
        keep = {name: os.environ[name] for name in ("PATH", "HOME", "TMPDIR") if name in os.environ}  # noqa: TID251 - handed on
        self._process = subprocess.Popen(  # noqa: S603 - our own command
            [sys.executable, "-P", str(DRIVER), str(folder), log],
            env=keep | environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        self._tree = tree
        self._cpu_ns = 0

    def __enter__(self) -> Driver:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()

    def ready(self) -> int:
        """Waits until the log is read; returns how many chunks it has."""
        said = self._hear()
        if Path(said["tree"]) != self._tree.resolve():
            raise Refused(f"another pipeline than that of {self._tree} was imported; unset what changes Python's path")
        self._events = int(said["events"])
        return int(said["chunks"])

    def chunk(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        self._cpu_ns += self._hear()

    def result(self) -> Run:
        return Run(self._events, self._cpu_ns, **self._hear())

    def _hear(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            _, why = self._process.communicate()
            raise Refused(f"the driver ended early in {self._tree}: {why.strip()[-2000:]}")
        return json.loads(line)


def run_pair(base: Path, this: Path, folder: Path, log: str) -> tuple[Run, Run]:
    """Fresh processes that take turns, a chunk each (the first of a turn is the second of the next): what the machine
    does besides hits both."""
    with Driver(base, folder, log) as one, Driver(this, folder, log) as other:
        drivers = [one, other]
        for _ in range(max([driver.ready() for driver in drivers])):
            for driver in drivers:
                driver.chunk()
            drivers.reverse()
        return one.result(), other.result()


@dataclass(frozen=True, slots=True)
class Cost:
    """What this tree costs more than the other, us of CPU an event; each figure a median over pairs."""

    log: str
    events: int
    base_us: float
    this_us: float
    difference_us: float
    quartiles_us: tuple[float, float]
    range_us: tuple[float, float]
    ratio: float
    outputs: tuple[int, int]
    """Of base and this tree: they differ when behaviour does."""
    state_bytes: tuple[int, int]


def cost(log: str, pairs: Sequence[tuple[Run, Run]]) -> Cost:
    """`pairs`: (base, this) runs."""
    differences = [this.us - base.us for base, this in pairs]
    lower, _, upper = quantiles(differences, n=4, method="inclusive") if len(pairs) > 1 else differences * 3
    base, this = pairs[0]
    return Cost(
        log=log,
        events=this.events,
        base_us=median(base.us for base, _ in pairs),
        this_us=median(this.us for _, this in pairs),
        difference_us=median(differences),
        quartiles_us=(lower, upper),
        range_us=(min(differences), max(differences)),
        ratio=median(this.us / base.us for base, this in pairs),
        outputs=(base.outputs, this.outputs),
        state_bytes=(base.state, this.state),
    )


def compare(
    base: Path, this: Path, folder: Path, logs: Sequence[str], pairs: int, done: Callable[[str], None]
) -> list[Cost]:
    """`done` hears of every pair."""
    runs: dict[str, list[tuple[Run, Run]]] = {log: [] for log in logs}
    for _ in range(pairs):
        for log in logs:
            pair = run_pair(base, this, folder, log)
            runs[log].append(pair)
            done(f"{log}: {pair[0].us:.2f} -> {pair[1].us:.2f} us")
    return [cost(log, found) for log, found in runs.items()]
