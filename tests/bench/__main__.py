"""`make bench`: one contender after the other, in rounds, on a broker of its own.

Rounds: the limit and the pipeline take turns (A B A B), so that a slow minute of the machine hits both.
"""

from __future__ import annotations

import argparse
import json
import os
import platform as host
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path

from pipeline.embedded.kafka import EmbeddedKafka
from pipeline.errors import Unavailable
from tests.bench import contenders, pricing, report
from tests.bench.latency import latency
from tests.bench.measure import Ended, Figure
from tests.bench.platform import HEADLINE, Platform, write_documents

BUILD = Path(__file__).parents[2] / "build"
REFERENCE = "limit"


class Bench:
    """What was measured so far, and how."""

    def __init__(self, platform: Platform, broker_pid: int, quick: bool, peers: list[str], minutes: float) -> None:
        self.platform = platform
        self.broker_pid = broker_pid
        self.rounds = 2 if quick else 3
        self.stations = 2_000 if quick else 10_000
        self.records = 250_000 if quick else 1_000_000
        self.quick = quick
        self.peers = peers
        self.runs: dict[str, list[Figure]] = {}
        self.missing: dict[str, str] = {}
        self.further: dict[str, object] = {}
        self.groups: list[str] = []
        self.began = time.monotonic()
        self.deadline = self.began + minutes * 60

    def say(self, text: str) -> None:
        print(f"[{time.monotonic() - self.began:5.0f} s] {text}", file=sys.stderr, flush=True)

    def over(self, what: str) -> bool:
        """Is the time of the bench used up? Then `what` is left out, and says so."""
        if time.monotonic() < self.deadline:
            return False
        self.say(f"left out, the time is over: {what}")
        self.missing[what] = "left out: the time of the bench was over"
        return True

    def headline(self) -> None:
        """The same topic for all: three sessions a station, the first one cut short."""
        self.say(f"filling the topic: {self.stations:,} stations, three sessions each")
        ends = self.platform.fill(self.stations, 3, HEADLINE)
        records = sum(ends.values())
        self.further |= {"headline_stations": self.stations, "headline_records": records}
        self._once("pipeline_0", lambda: contenders.pipeline(self.platform, ends, self.broker_pid))  # warms the broker
        self.runs.clear()
        for number in range(self.rounds):
            if number and self.over(f"round {number + 1}"):
                return
            self.say(f"round {number + 1} of {self.rounds}")
            self._once("limit", lambda: contenders.limit(self.platform, ends, self.broker_pid))
            for workers in (1, 2):
                self._once(
                    f"pipeline_{workers}",
                    lambda w=workers: contenders.pipeline(self.platform, ends, self.broker_pid, w),  # type: ignore[misc]  # binds w
                )
            for name in self.peers:
                self._peer(name, records)

    def _peer(self, name: str, records: int) -> None:
        if name in self.missing:
            return
        peer = contenders.PEER_LIST[name]
        goal = min(peer.records // (2 if self.quick else 1), records)
        try:
            python = contenders.venv(peer.environment, BUILD / "bench-venvs")
        except (subprocess.SubprocessError, OSError) as error:
            said = (getattr(error, "stderr", "") or str(error)).strip().splitlines()
            self.missing[name] = f"cannot be installed here: {said[-1] if said else error}"
            return
        self._once(name, lambda: contenders.peer(self.platform, name, python, goal, self.broker_pid))

    def _once(self, name: str, run: Callable[[], Figure]) -> None:
        try:
            found = run()
        except Ended as error:
            self.say(f"{name}: {error}")
            self.missing[name] = str(error)
            return
        self.runs.setdefault(name, []).append(found)
        self.say(
            f"{name}: {found.events_per_s:,.0f} events/s, CPU {found.cpu_us_per_event:.2f} us an event, "
            f"broker {found.broker_us_per_event:.2f} us, over {found.seconds:.1f} s"
        )

    def _pair(self, stations: int, sessions: int, limit: int, interval_s: int, label: str) -> None:
        """Limit and pipeline_1 on a topic of their own; their figures become further ones with `label`."""
        self.say(f"filling the topic: {label}")
        ends = self.platform.fill(stations, sessions, replace(HEADLINE, interval_s=interval_s), limit)
        headline, self.runs = self.runs, {}
        for number in range(self.rounds):
            if number and self.over(f"{label}, round {number + 1}"):
                break
            self._once("limit", lambda: contenders.limit(self.platform, ends, self.broker_pid))
            self._once(
                "pipeline_1",
                lambda: contenders.pipeline(self.platform, ends, self.broker_pid, on_group=self.groups.append),
            )
        found, self.runs = report.summary(self.runs, {}), headline
        for name in ("limit", "pipeline_1"):
            for what in ("events_per_s", "cpu_us_per_event"):
                self.further[f"{label}_{name}_{what}"] = found[f"{name}_{what}"]
        self.further[f"{label}_pipeline_1_of_limit"] = found.get("pipeline_1_to_limit")
        self.further[f"{label}_pipeline_1_to_limit_by_cpu"] = found.get("pipeline_1_to_limit_by_cpu")

    def intervals(self) -> None:
        for interval_s in (30, 60):
            self._pair(self.stations, 2, self.records // 2, interval_s, f"interval_{interval_s}_s")

    def growth(self) -> None:
        """Cost per event at 1,000 and 100,000 stations, and the restore of what the latter left behind."""
        many = 20_000 if self.quick else 100_000
        self._pair(1_000, 1 + self.records // 62_000, self.records, 10, "stations_1000")
        self._pair(many, 1, many * 24, 10, f"stations_{many}")
        try:
            stations, seconds = contenders.restore(self.platform, self.groups[-1])
        except Ended as error:
            self.missing["restore"] = str(error)
            return
        self.say(f"restored {stations:,} stations in {seconds:.1f} s")
        self.further["restored_stations"] = stations
        self.further["restore_s_per_100000_stations"] = round(seconds * 100_000 / max(1, stations), 2)
        costs = [self.further.get(f"stations_{count}_pipeline_1_to_limit_by_cpu") for count in (1000, many)]
        if isinstance(costs[0], float) and isinstance(costs[1], float):
            self.further[f"cost_growth_1000_to_{many}_relative_to_limit"] = round(costs[0] / costs[1], 3)

    def memory(self) -> None:
        self.say("memory of open and closed sessions")
        write_documents(self.platform.folder, 10_000)
        stations, days = (60, 9) if self.quick else (150, 11)
        done = subprocess.run(  # noqa: S603 - our own command
            [sys.executable, "-m", "tests.bench.memory", str(self.platform.folder), str(stations), str(days)],
            capture_output=True, text=True, check=False, timeout=300,
        )  # fmt: skip
        if done.returncode:
            self.missing["memory"] = done.stderr.strip().splitlines()[-1]
        else:
            self.further |= {key: round(value) for key, value in json.loads(done.stdout).items()}

    def pricing(self) -> None:
        self.say("final bills on one core")
        self.further |= pricing.figures(1 if self.quick else 5)

    def delay(self) -> None:
        rates = sorted(figure.events_per_s for figure in self.runs.get("pipeline_1", ()))
        if not rates:
            self.missing["latency"] = "no rate of pipeline_1 to take the half of"
            return
        rate = rates[len(rates) // 2] / 2
        self.say(f"latency at {rate:,.0f} events/s")
        try:
            found = latency(self.platform, self.stations, rate, 15 if self.quick else 40)
        except (Ended, Unavailable, ValueError) as error:
            self.missing["latency"] = str(error)
            return
        for name, value in asdict(found).items():
            key = name if name.startswith(("alert", "row")) else f"latency_{name}"
            self.further[key] = round(value, 3)
        self.say(f"alert p99 {found.alert_p99_s:.3f} s, row p99 {found.row_p99_s:.3f} s, {found.samples} samples")

    def results(self) -> dict[str, object]:
        found = {"alert_p99_s": None, "row_p99_s": None} | report.summary(self.runs, self.missing) | self.further
        pace = HEADLINE
        return found | {
            "events": f"266 bytes; {pace.readings} readings a session, every {pace.interval_s} s; {pace.reading_wh} Wh "
            f"each ({pace.power_w} W); the first session of a station is cut short; {pace.pause_s} s between sessions",
            "measured": "from 20 % to 95 % of the records of each run, medians",
            "machine": f"{os.cpu_count()} CPUs, {host.system()} {host.machine()}, Python {host.python_version()}, "
            f"load {os.getloadavg()[0]:.1f} at the end",
            "seconds": round(time.monotonic() - self.began),
        }


@contextmanager
def started(folder: Path) -> Iterator[tuple[Platform, int]]:
    with EmbeddedKafka(folder / "kafka", 0, heap_mb=2048) as kafka:
        assert kafka.pid is not None
        yield Platform(kafka.bootstrap, folder), kafka.pid


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer stations, records and rounds: a few minutes")
    parser.add_argument("--without-peers", action="store_true", help="only the limit and the pipeline")
    parser.add_argument("--only", nargs="*", choices=PARTS, default=list(PARTS), help="parts to run [default: all]")
    parser.add_argument("--minutes", type=float, default=20, help="what has not begun by then is left out")
    parser.add_argument("--out", type=Path, default=BUILD, help="folder of bench.json and bench.svg")
    chosen = parser.parse_args(arguments)
    if not Path("/proc/self/stat").exists():
        raise SystemExit("the bench reads CPU time and memory of processes from /proc: it needs Linux")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that every child is stopped on the way out
    peers = [] if chosen.without_peers else list(contenders.PEER_LIST)
    with tempfile.TemporaryDirectory(prefix="chargeline-bench-") as folder, started(Path(folder)) as (platform, broker):
        bench = Bench(platform, broker, chosen.quick, peers, chosen.minutes)
        for part in chosen.only:
            if not bench.over(part):
                PARTS[part](bench)
            report.write(bench.results(), chosen.out)  # what there is, should a later part fail
    results = bench.results()
    print(report.table(results))
    print(f"\nwritten: {chosen.out / 'bench.json'}, {chosen.out / 'bench.svg'}")


PARTS: dict[str, Callable[[Bench], None]] = {
    "headline": Bench.headline,
    "delay": Bench.delay,
    "intervals": Bench.intervals,
    "growth": Bench.growth,
    "memory": Bench.memory,
    "pricing": Bench.pricing,
}

if __name__ == "__main__":
    main(sys.argv[1:])
