"""`python -m tests.scored --quirks`: every quirk alone, every pair that can be had, in both protocols; on all cores."""

from __future__ import annotations

import json
import os
import resource
import signal
import sys
import time
import traceback
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from types import FrameType
from typing import NamedTuple

from rich.console import Console
from rich.table import Table

from pipeline.cli.progress import progress
from pipeline.edge.chargers.quirks import clash, protocols
from pipeline.edge.chargers.registry import QUIRKS
from pipeline.edge.chargers.tape import Protocol
from tests.scored.quirk_score import Tally, judge
from tests.scored.quirks import LAWS, Law, assemble, broken_laws, station_said

ALONE = 8
"""Stations with one quirk alone for each station with a pair: what a quirk does should not hang on a few sessions."""
AT_ONCE = 16
LONGEST_CPU_S = 10.0
"""For one station, all forms of its frames included; ordinary ones take a tenth of a second."""
MOST_MEMORY = 3 << 30
SHOWN = 40
"""So many pairs, and so many violations, one for each quirk and pair, are printed for people; `--json` has all."""


class Task(NamedTuple):
    """One station to score; `laws`: in which other forms its frames must give the same sessions."""

    names: tuple[str, ...]
    protocol: Protocol
    seed: int
    laws: tuple[Law, ...]


@dataclass(slots=True)
class Score:
    """Tallies by quirk, and by pair (`a+b`)."""

    alone: dict[str, Tally] = field(default_factory=dict)
    pairs: dict[str, Tally] = field(default_factory=dict)
    laws: int = 0
    """Stations whose frames were also shuffled, doubled or cut."""

    def add(self, task: Task, tally: Tally) -> None:
        kept = self.pairs if len(task.names) > 1 else self.alone
        kept.setdefault("+".join(task.names) or "none", Tally()).merge(tally)
        self.laws += len(task.laws)

    @property
    def every(self) -> list[Tally]:
        return [*self.alone.values(), *self.pairs.values()]

    @property
    def sessions(self) -> int:
        return sum(tally.sessions for tally in self.every)

    @property
    def violations(self) -> list[str]:
        found = [text for tally in self.every for text in tally.problems]
        for name, tally in self.alone.items():
            if tally.too_cautious:
                found.append(f"{name}: {tally.unproven} of {tally.provable} provable sessions estimated or held")
        together = self.together
        if together.too_cautious:
            found.append(f"pairs: {together.unproven} of {together.provable} provable sessions estimated or held")
        return found

    @property
    def first_violations(self) -> list[str]:
        """One of each quirk and pair: they say more than many of one."""
        return [tally.problems[0] for tally in self.every if tally.problems]

    @property
    def together(self) -> Tally:
        """All pairs."""
        every = Tally()
        for tally in self.pairs.values():
            every.merge(tally)
        return every


def chosen(quirk: str | None, pair: str | None) -> list[tuple[str, ...]]:
    """The combinations to score: all, or one. Raises ValueError for what cannot be had."""
    if quirk is None and pair is None:
        pairs = [names for names in combinations(QUIRKS, 2) if clash(names) is None]
        return [(), *((name,) for name in QUIRKS), *pairs]
    names = tuple((quirk or pair or "").split(","))
    unknown = [name for name in names if name not in QUIRKS]
    if unknown:
        raise ValueError(f"no such quirk: {', '.join(unknown)}; there are: {', '.join(QUIRKS)}")
    if (why := clash(names)) is not None:
        raise ValueError(why)
    return [names]


def tasks(wanted: Sequence[tuple[str, ...]], sessions: int, seed: int) -> Iterator[Task]:
    """Rounds over all combinations until about so many sessions are made, at least one round."""
    made, turn, per_station = 0, 0, 6
    while made < sessions or not turn:
        for place, names in enumerate(wanted):
            for protocol in protocols(names):
                for number in range(ALONE if len(names) < 2 else 1):
                    laws: tuple[Law, ...] = ()
                    if not turn:  # pairs take turns, the stations with one quirk show all
                        laws = (LAWS[place % len(LAWS)],) if len(names) > 1 else LAWS if number < 2 else ()
                    yield Task(names, protocol, seed + turn * ALONE + number + place % 4, laws)
                    made += per_station
        turn += 1


def score(task: Task) -> tuple[Task, Tally]:
    """One station from its truth to its tally. One that the assembly cannot finish is wrong, and the others go on."""
    said, tally = station_said(task.names, task.protocol, task.seed), Tally()
    try:
        with _limited_cpu():
            run = assemble(said)
            outcomes, general = judge(run)
            tally.add(run, outcomes, [*general, *broken_laws(said, run, task.laws)])
    except Exception as error:  # whatever it is, it would have stopped the billing of a whole partition
        sessions = len(said.tape.station.every_session)
        where = traceback.extract_tb(error.__traceback__)[-1]
        failure = f"{type(error).__name__}: {error} ({Path(where.filename).name}:{where.lineno})"
        failure = f"{'+'.join(task.names)} {task.protocol} seed {task.seed}: {failure}"
        tally = Tally(sessions=sessions, kinds=Counter(wrong=sessions), problems=[failure])
    return task, tally


class Runaway(Exception):
    """A station took more CPU than any may."""


@contextmanager
def _limited_cpu(seconds: float = LONGEST_CPU_S) -> Iterator[None]:
    def stop(number: int, frame: FrameType | None) -> None:
        at = f" at {Path(frame.f_code.co_filename).name}:{frame.f_lineno}" if frame is not None else ""
        raise Runaway(f"more than {seconds:.0f} s of CPU{at}")

    before = signal.signal(signal.SIGVTALRM, stop)
    signal.setitimer(signal.ITIMER_VIRTUAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


def _limit_memory() -> None:
    """A station that eats memory fails by itself, before the machine does."""
    resource.setrlimit(resource.RLIMIT_AS, (MOST_MEMORY, MOST_MEMORY))


def main(sessions: int, seed: int, quirk: str | None, pair: str | None, as_json: bool) -> int:
    """Raises ValueError, see `chosen`."""
    began, result = time.monotonic(), Score()
    planned = list(tasks(chosen(quirk, pair), sessions, seed))
    with (
        progress("scoring", len(planned), "stations") as bar,
        ProcessPoolExecutor(os.cpu_count(), initializer=_limit_memory) as pool,
    ):
        for task, tally in pool.map(score, planned, chunksize=AT_ONCE):
            result.add(task, tally)
            for text in tally.problems:
                print(text, file=sys.stderr, flush=True)  # a run of half an hour is read while it goes on
            bar.advance()
            bar.note(f"{sum(1 for each in result.every if each.problems)} quirks and pairs with violations")
    took_s = time.monotonic() - began
    if as_json:
        print(json.dumps(_figures(result, seed, took_s), indent=1))
    else:
        _show(result, took_s)
    return 1 if result.violations else 0


def _figures(result: Score, seed: int, took_s: float) -> dict[str, object]:
    return {
        "seed": seed,
        "sessions": result.sessions,
        "seconds": round(took_s, 1),
        "laws": result.laws,
        "quirks": {name: _row(tally) for name, tally in result.alone.items()},
        "pairs": {name: _row(tally) for name, tally in result.pairs.items()},
        "violations": result.violations,
    }


def _row(tally: Tally) -> dict[str, int]:
    return {
        "sessions": tally.sessions,
        **{kind: tally.kinds[kind] for kind in ("exact", "estimated", "held", "wrong")},
        "provable": tally.provable,
        "unproven": tally.unproven,
        "no_bounds": tally.boundless,
        "problems": len(tally.problems),
    }


def _show(result: Score, took_s: float) -> None:
    console = Console(width=None if sys.stdout.isatty() else 130)
    table = Table(title=f"{result.sessions:,} sessions of virtual chargers, {len(result.pairs):,} pairs of quirks")
    columns = list(_row(Tally()))
    table.add_column("quirk")
    for column in columns:
        table.add_column(column, justify="right")
    for name, tally in result.alone.items():
        table.add_row(name, *(f"{value:,}" for value in _row(tally).values()))
    if result.pairs:
        table.add_section()
        table.add_row(f"{len(result.pairs):,} pairs", *(f"{value:,}" for value in _row(result.together).values()))
    console.print(table)
    wrong = sorted(
        ((tally.kinds["wrong"], len(tally.problems), name) for name, tally in result.pairs.items() if tally.problems),
        reverse=True,
    )
    if wrong:
        console.print(f"{len(wrong):,} pairs with violations; most:")
    for sessions, problems, name in wrong[:SHOWN]:
        console.print(f"  {name}: {sessions} sessions wrong, {problems} violations", markup=False, highlight=False)
    violations, first = result.violations, result.first_violations
    console.print(f"{result.laws:,} stations in another form; {took_s:.0f} s; {len(violations):,} violations")
    for text in first[:SHOWN]:
        console.print(f"  {text}", markup=False, highlight=False, soft_wrap=True)
