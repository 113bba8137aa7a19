"""An exception at a line of the domain while one station is worked on: whom it costs what.

The lines are those that the station's records reach. The exception is thrown by a trace function, so that it comes from
the real code at the real place, as if the statement there had raised. The process is forked where a line is reached
first: the child raises there and goes on, so what came before is played once for all lines.
"""

from __future__ import annotations

import gc
import os
import pickle
import sys
import traceback
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple, TypeVar

from confluent_kafka import Message

import pipeline
from pipeline.domain.station import Session
from pipeline.domain.station_codec import decode_archived
from pipeline.runtime.partition.internal_errors import place
from tests.hostile.records import honest
from tests.hostile.run import Records, Stalled, Told, limited, new_log, told
from tests.runtime.partition_log import PartitionLog

ROOT = Path(pipeline.__file__).parent
TRACED = tuple(str(ROOT / name) for name in ("domain", "wire", "agents"))
TICKS = 6
"""One in so many ticks is enough to let time pass."""
CHECKPOINT = 50
"""Records between two checkpoints."""
TAIL = 30
"""So many steps are played on after an exception."""
AT_ONCE = 8
"""Children at a time."""
INTERNAL = b"INTERNAL_ERROR"
Line = tuple[str, int]
T = TypeVar("T")


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
            return self._entry if self._inside else None
        if not self._inside or (self.hunted is not None and self.hunted[0] != code.co_filename):
            return None
        return self._line

    def _entry(self, frame: FrameType, event: str, arg: object) -> Any:
        self._line(frame, event, arg)
        if event == "return":
            self._inside = False
        return self._entry

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
"""Of Assembly: where the stage enters the domain for one station; what `tick_of`, `see` and `trust` raise is no
station's fault."""


@contextmanager
def traced(tracer: Tracer) -> Iterator[None]:
    before = sys.gettrace()
    sys.settrace(tracer)
    try:
        yield
    finally:
        sys.settrace(before)


class Seen(NamedTuple):
    """What came of a stretch of records: outputs and states of the others, and the evidence of the victim."""

    outputs: Sequence[Told]
    states: dict[bytes, bytes]
    evidence: list[tuple[object, ...]]


@dataclass(slots=True)
class Scene:
    """A few stations of one seed, one of them the victim, and which step of the play reaches which line first."""

    seed: int
    victim: str
    records: Records
    others: frozenset[bytes | None]
    """Keys of outputs that are not of the victim."""
    lines: dict[Line, int]

    def steps(self, log: PartitionLog) -> list[Callable[[], None]]:
        """Record by record, with checkpoints, and with a restore in the middle, so that states are read, too."""
        found: list[Callable[[], None]] = []
        for number, record in enumerate(self.records, 1):
            found.append(partial(feed, log, record))
            if number % CHECKPOINT == 0 or number == len(self.records):
                found.append(log.checkpoint)
            if number == len(self.records) // 2:
                found.append(log.crash)
        return found


def scene(seed: int, stations: int = 2) -> Scene:
    """The victim sends events in even seeds, frames in odd ones."""
    every = honest(seed)
    names = sorted({key.decode() for _, key, _ in every if key is not None})
    kinds = [[name for name in names if name.startswith("QRK")], [name for name in names if not name.startswith("QRK")]]
    chosen = [name for kind in kinds for name in kind[:stations]]
    keys = {name.encode() for name in chosen} | {None}
    some = [each for number, each in enumerate(every) if each[1] is not None or number % TICKS == 0]
    records = [(key, value, due_us // 1000) for due_us, key, value in some if key in keys]
    found = Scene(seed, kinds[1 - seed % 2][0], records, frozenset(), {})
    found.others, found.lines = forked(partial(_explored, found))  # in a child, so that caches stay empty
    return found


def _explored(found: Scene) -> tuple[frozenset[bytes | None], dict[Line, int]]:
    log = new_log(found.seed, Counter())
    lines: dict[Line, int] = {}
    for number, step in enumerate(found.steps(log)):
        tracer = Tracer(found.victim)
        with traced(tracer):
            step()
        for line in tracer.lines:
            lines.setdefault(line, number)
    name = b'"station_id":"%s"' % found.victim.encode()
    outputs = told(log)
    its = {key for _, key, value in outputs if value is not None and name in value}
    return frozenset(key for _, key, _ in outputs) - its, lines


def inject(scene: Scene, lines: Iterable[Line], tail: int = TAIL) -> Iterator[tuple[Line, list[str] | None]]:
    """Each line with what went wrong beside the exception itself; nothing should. None: it was not reached (a cache
    knew it). `tail`: how many steps are played after the exception."""
    log = new_log(scene.seed, Counter())
    steps = scene.steps(log)
    wanted: dict[int, list[Line]] = defaultdict(list)
    for line in lines:
        wanted[scene.lines[line]].append(line)
    for number, step in enumerate(steps):
        if wanted[number]:
            following = steps[number : number + tail]
            quiet = forked(partial(_seen, scene, log, following))
            todo = wanted[number]
            while todo:
                some, todo = todo[:AT_ONCE], todo[AT_ONCE:]
                begun = [fork(partial(_raised, scene, log, following, line, quiet)) for line in some]
                yield from zip(some, [result() for result in begun], strict=True)
        step()


def _seen(scene: Scene, log: PartitionLog, steps: Sequence[Callable[[], None]]) -> Seen:
    before = len(told(log, scene.others))
    for step in steps:
        with limited():
            step()
    entries, victim = log.partition.entries, scene.victim.encode()
    states = {key: log.logic.dump(entry.state) for key, entry in entries.items() if key != victim}
    return Seen(told(log, scene.others)[before:], states, evidence(log, victim))


def _raised(
    scene: Scene, log: PartitionLog, steps: Sequence[Callable[[], None]], line: Line, quiet: Seen
) -> list[str] | None:
    where = f"{Path(line[0]).relative_to(ROOT)}:{line[1]}"
    first, *others = steps
    tracer = Tracer(scene.victim, line)

    def with_it() -> None:
        with traced(tracer):
            first()

    known = len(log.outputs("dead-letters"))
    try:
        found = _seen(scene, log, [with_it, *others])
    except (Exception, Stalled) as error:
        return [f"{where}: the worker would have ended or stood: {place(error)}"]
    if not tracer.raised:
        return None
    faults = []
    if (found.outputs, found.states) != (quiet.outputs, quiet.states):
        faults.append(f"{where}: outputs or states of others differ")
    letters = [each for each in log.outputs("dead-letters")[known:] if dict(each.headers)["reason"] == INTERNAL]
    aside = set(log.partition.quarantine.set_aside)
    if not aside <= {scene.victim.encode()} or len(letters) > 1:
        faults.append(f"{where}: more than the victim was touched")
    if aside:
        log.release(scene.victim.encode())
        if log.partition.quarantine.set_aside:
            faults.append(f"{where}: it could not be released")
        elif not letters and evidence(log, scene.victim.encode()) != quiet.evidence:
            faults.append(f"{where}: after its release its evidence is another")
    return faults


def feed(log: PartitionLog, record: tuple[bytes | None, bytes | None, int]) -> None:
    key, value, at_ms = record
    offset = len(log.source_log)
    log.source_log.append(Message(topic="in", partition=0, offset=offset, key=key, value=value, timestamp=(1, at_ms)))
    log.read_on()


def evidence(log: PartitionLog, station: bytes) -> list[tuple[object, ...]]:
    """What the station's sessions were made from, open and archived ones; the same after a release as without one."""
    entry = log.partition.entries.get(station)
    if entry is None:
        return []
    open_ones = [session for _, session in entry.state.each_session()]
    closed = [decode_archived(value) for name, value in entry.state.archive.items() if name not in entry.state.sessions]
    return sorted(map(_told_of, [*open_ones, *closed]), key=repr)


def _told_of(session: Session) -> tuple[object, ...]:
    ends = session.start_sent_us, session.start_register_wh, session.stop_sent_us, session.stop_register_wh
    last = session.last_at_us, session.last_register_wh
    return session.transaction, session.connector_id, session.token, *ends, *last


def forked(work: Callable[[], T]) -> T:
    """The result of `work`, done in a child process: this one stays as it is."""
    return fork(work)()


def fork(work: Callable[[], T]) -> Callable[[], T]:
    """Begins `work` in a child process; what is returned waits for its result."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        gc.disable()  # it would touch, and so copy, all that was there before
        os.close(reading)
        with os.fdopen(writing, "wb") as pipe:
            try:
                pickle.dump((work(), ""), pipe)
            except BaseException:
                pickle.dump((None, traceback.format_exc()), pipe)
        os._exit(0)
    os.close(writing)

    def result() -> T:
        with os.fdopen(reading, "rb") as pipe:
            found, wrong = pickle.load(pipe)  # noqa: S301 - from our own child
        os.waitpid(child, 0)
        if wrong:
            raise AssertionError(wrong)
        return found  # type: ignore[no-any-return]

    return result
