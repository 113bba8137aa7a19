"""An exception at a line of the domain while one station is worked on: whom it costs what.

The lines are those that the station's records reach. The exception is thrown by a trace function, so that it comes from
the real code at the real place, as if the statement there had raised.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

import pipeline
from pipeline.runtime.partition.internal_errors import place
from pipeline.topics import SESSIONS
from pipeline.wire.sessions import decode_session
from tests.hostile.records import honest
from tests.hostile.run import Records, Told, Verdict, feed, new_log, told
from tests.runtime.partition_log import PartitionLog

ROOT = Path(pipeline.__file__).parent
TRACED = tuple(str(ROOT / name) for name in ("domain", "wire", "agents"))
TICKS = 6
"""One in so many ticks is enough to let time pass."""
Line = tuple[str, int]


class Injected(Exception):
    """What is thrown."""


@dataclass(slots=True)
class Tracer:
    """`hunted` None: collects the lines; else raises once, when that line is reached on behalf of the victim."""

    victim: str
    hunted: Line | None = None
    lines: Counter[Line] = field(default_factory=Counter)
    raised: bool = False
    _inside: bool = False

    def __call__(self, frame: FrameType, event: str, arg: object) -> Any:
        code = frame.f_code
        if not code.co_filename.startswith(TRACED):
            return None
        if code.co_name in ENTRIES and code.co_filename.endswith("agents/assembly.py"):
            self._inside = self._concerns(frame)
        if not self._inside or (self.hunted is not None and self.hunted[0] != code.co_filename):
            return None
        return self._line

    def _line(self, frame: FrameType, event: str, arg: object) -> Any:
        if event == "line":
            line = frame.f_code.co_filename, frame.f_lineno
            if self.hunted is None:
                self.lines[line] += 1
            elif line == self.hunted and not self.raised:
                self.raised = True
                raise Injected("here")
        return self._line

    def _concerns(self, frame: FrameType) -> bool:
        found = frame.f_locals
        state, key = found.get("state"), found.get("key")
        return getattr(state, "station_id", None) == self.victim or key == self.victim.encode()


ENTRIES = frozenset({"apply", "tick", "release", "dump", "load", "create", "tally", "report"})
"""Of Assembly: where the stage enters the domain for one station."""


@contextmanager
def traced(tracer: Tracer) -> Iterator[None]:
    before = sys.gettrace()
    sys.settrace(tracer)
    try:
        yield
    finally:
        sys.settrace(before)


@dataclass(slots=True)
class Scene:
    """A few stations of one seed, one of them the victim, and what they tell when nothing is raised."""

    seed: int
    victim: str
    records: Records
    expected: Sequence[Told]
    sessions: dict[str, int | None]
    lines: Sequence[Line]


def scene(seed: int, stations: int = 2) -> Scene:
    """The victim sends events in even seeds, frames in odd ones."""
    every = honest(seed)
    names = sorted({key.decode() for _, key, _ in every if key is not None})
    kinds = [[name for name in names if name.startswith("QRK")], [name for name in names if not name.startswith("QRK")]]
    chosen = [name for kind in kinds for name in kind[:stations]]
    keys = {name.encode() for name in chosen} | {None}
    some = [each for number, each in enumerate(every) if each[1] is not None or number % TICKS == 0]
    records = [(key, value, due_us // 1000) for due_us, key, value in some if key in keys]
    log = new_log(seed, Counter())
    tracer = Tracer(kinds[1 - seed % 2][0])
    with traced(tracer):
        play(log, records)
    return Scene(seed, tracer.victim, records, told(log), energies(log, tracer.victim), sorted(tracer.lines))


def play(log: PartitionLog, records: Records) -> None:
    """With a restore in the middle, so that states are read, too."""
    feed(log, records[: len(records) // 2], Verdict(0))
    log.crash()
    feed(log, records[len(records) // 2 :], Verdict(0))


def inject(scene: Scene, line: Line) -> list[str] | None:
    """What went wrong beside the exception itself; nothing should. None: the line was not reached (a cache knew it)."""
    log = new_log(scene.seed, Counter())
    tracer = Tracer(scene.victim, line)
    where = f"{Path(line[0]).relative_to(ROOT)}:{line[1]}"
    try:
        with traced(tracer):
            play(log, scene.records)
    except Exception as error:
        return [f"{where}: the worker would have ended: {place(error)}"]
    if not tracer.raised:
        return None
    found = []
    if others(told(log), scene) != others(scene.expected, scene):
        found.append(f"{where}: outputs of others differ")
    letters = [each for each in log.outputs("dead-letters") if dict(each.headers)["reason"] == b"INTERNAL_ERROR"]
    aside = set(log.partition.quarantine.set_aside)
    if not aside <= {scene.victim.encode()} or len(letters) > 1:
        found.append(f"{where}: more than the victim was touched")
    if aside:
        log.release(scene.victim.encode())
        feed(log, [record for record in scene.records if record[0] is None][-30:], Verdict(0))
        if log.partition.quarantine.set_aside:
            found.append(f"{where}: it could not be released")
        elif not letters and energies(log, scene.victim) != scene.sessions:
            found.append(f"{where}: after its release its sessions are others")
    return found


def others(outputs: Sequence[Told], scene: Scene) -> list[Told]:
    """Those under keys that are not of the victim when nothing is raised."""
    name = scene.victim.encode()
    its = {key for _, key, value in scene.expected if value is not None and b'"station_id":"%s"' % name in value}
    keys = {key for _, key, _ in scene.expected} - its
    return [each for each in outputs if each[1] in keys]


def energies(log: PartitionLog, station: str) -> dict[str, int | None]:
    """Energy of each session as it stands."""
    latest = {each.key: each.value for each in log.outputs(SESSIONS.name) if each.value is not None}
    records = [decode_session(value) for value in latest.values()]
    return {each.session_id: each.energy_wh for each in records if each.station_id == station and each.status != "void"}
