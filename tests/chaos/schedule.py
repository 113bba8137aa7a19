"""What goes wrong, when, and to whom: drawn from the seed, adapted to what the workers are doing at that moment."""

from __future__ import annotations

import logging
import signal
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from random import Random

from pipeline import topics
from pipeline.agents.store import TOPICS as STORED
from pipeline.edge.backlog import Backlog
from pipeline.kafka_config import client_config
from tests.chaos.archive import Archive
from tests.chaos.faults import FAULTS, KILLS, times
from tests.chaos.ground import Ground
from tests.chaos.observer import Observer
from tests.chaos.scale import GRACE_S, INSERT, PHASES, Scale
from tests.chaos.workers import STORE, Worker

log = logging.getLogger(__name__)

LOOK_S = 0.0003
"""Between two looks at the phase files; a commit lasts a few milliseconds."""
STRIKE_LIMIT_S = 12.0
"""Longer than a dead member's session, after which others restore its partitions."""
BROKER_AWAY_S = 3.0
STALL_LIMIT_S = 20.0
SILENT_S = 1.0
"""At night every partition still has several outputs a second."""
RECOVERED_S = 30.0
MOST_FAULTS = 10
"""With more of them the run says nothing about recovery."""
JOINED_S = 9.0
WATCH_EVERY = 4
"""After every fourth kill nothing else goes wrong ..."""
WATCHED_S = 9.0
"""... for longer than the dead member's session, when the group shares out its partitions."""


@dataclass(slots=True)
class Aftermath:
    """A SIGKILL, and the partitions of healthy workers whose output must go on. Monotonic seconds."""

    kill: str
    since: float
    until: float
    """When the next thing went wrong."""
    partitions: frozenset[int]


def _kept(owned: Mapping[str, frozenset[int]], workers: Sequence[Worker]) -> frozenset[int]:
    """Of the partitions `owned` by slot those that are still with the same worker."""
    for each in workers:
        each.look()
    return frozenset[int]().union(*(owned[each.slot] & each.owned for each in workers))


@dataclass(slots=True)
class Log:
    """What was really done."""

    kills: Counter[str] = field(default_factory=Counter)
    """By the phase that was hit."""
    least_lag: int = 1 << 62
    pauses: int = 0
    stops: int = 0
    slowest_stop_s: float = 0.0
    joins: int = 0
    broker_restarts: int = 0
    clickhouse_away_s: float = 0.0
    quiet_ms: tuple[float, float] = (0.0, 0.0)
    """Wall clock of the time in which ClickHouse was away and nothing else went wrong."""
    away_ms: tuple[float, float] = (0.0, 0.0)
    struck: Counter[str] = field(default_factory=Counter)
    """By the name of the fault."""
    strikes: list[str] = field(default_factory=list)
    """Each in words, in their order."""
    aftermaths: list[Aftermath] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    """What must never happen, whatever the comparison says: a worker that ended by itself, a stop that failed."""


class Schedule:
    """Runs one whole schedule against `workers` (by slot; the last assembling one is the guest that joins)."""

    def __init__(
        self,
        scale: Scale,
        seed: int,
        faults: Sequence[str],
        ground: Ground,
        workers: Mapping[str, Worker],
        observer: Observer,
        archive: Archive | None,
    ) -> None:
        self.log = Log()
        self._observer = observer
        self.archive = archive
        self._scale = scale
        self._faults = faults
        self.random = Random(f"chaos-{seed}")  # noqa: S311 - a schedule, not a secret
        self.ground = ground
        self.store = workers[STORE]
        *self.regular, self._guest = (worker for slot, worker in workers.items() if slot != STORE)
        config = client_config(ground.settings)
        group = ground.settings.group
        self._events = Backlog(config, f"{group}-assemble", [topics.METER_EVENTS.name])
        self._outputs = Backlog(config, f"{group}-store", STORED)
        self._back_at = self._broker_back_at = 0.0
        self._kills_watched = 0
        self._aftermath: Callable[[], Aftermath] | None = None
        self._targets = [PHASES[number % len(PHASES)] for number in range(scale.kills)]
        self.random.shuffle(self._targets)

    def run(self) -> Log:
        for worker in (*self.regular, self.store):
            worker.start()
        for worker in (*self.regular, self.store):
            worker.await_start()
        for action in self._actions():
            if 0 < self._back_at < time.monotonic():
                self._bring_clickhouse_back()
            self._settle()
            self._end_aftermath()
            action()
        while time.monotonic() < self._back_at:
            self.rest(0.2)
        if self._back_at:
            self._bring_clickhouse_back()
        self._end_aftermath()
        self._events.close()
        self._outputs.close()
        return self.log

    def _actions(self) -> list[Callable[[], None]]:
        scale = self._scale
        actions: list[Callable[[], None]] = [
            partial(self._strike, name) for name in self._faults if name != KILLS for _ in range(times(scale, name))
        ]
        if KILLS in self._faults:
            actions += [partial(self._pause, seconds) for seconds in scale.pauses_s]
            actions += [self._stop] * scale.stops + [self._join] * scale.joins
            actions += [self._break_broker] * scale.broker_restarts
            actions += [self._kill] * (scale.kills - len(scale.pauses_s))  # one more strikes during each pause
        self.random.shuffle(actions)
        if KILLS in self._faults:
            actions.insert(len(actions) // 3, self._take_clickhouse_away)
        if "upgrade" in self._faults:  # before what the former release was never meant to survive
            actions.sort(key=lambda action: not (isinstance(action, partial) and action.args == ("upgrade",)))
        return actions

    def _strike(self, name: str) -> None:
        began = time.monotonic()
        done = FAULTS[name].strike(self)
        self.log.struck[name] += 1
        self.log.strikes.append(f"{name}: {done}, {time.monotonic() - began:.0f} s")
        log.info("%s", self.log.strikes[-1])

    # --- what goes wrong ---------------------------------------------------------------------------------------------

    def _kill(self, paused: Worker | None = None) -> None:
        """Strikes when the wanted phase is seen; what it really hit is read afterwards."""
        missing = [phase for phase in PHASES if not self.log.kills[phase]]
        wanted = self._targets.pop()
        if len(missing) > len(self._targets) // 2:
            wanted = self.random.choice(missing)
        self.rest(self.random.random())
        workers = [self.store] if wanted == INSERT else [each for each in self.regular if each is not paused]
        victim = self._await_phase(wanted, workers)
        for each in self.regular:
            each.look()
        healthy = [each for each in self.regular if each not in (victim, paused) and not each.restoring]
        owned = {each.slot: frozenset(each.owned) for each in healthy}
        since = time.monotonic()
        phase = victim.kill()
        self.log.kills[phase] += 1
        lag = (self._outputs if victim is self.store else self._events).records()
        self.log.least_lag = min(self.log.least_lag, lag)
        kill = f"of {victim.slot} in {phase} at {time.strftime('%H:%M:%S')}"
        log.info("killed %s in %s (wanted %s), lag %d", victim.slot, phase, wanted, lag)
        self.rest(self.random.random() * 0.5)
        victim.start()
        if paused is None and victim is not self.store:
            self._kills_watched += 1
            self.rest(2.0 if self._kills_watched % WATCH_EVERY else WATCHED_S)
            self._await_output(_kept(owned, healthy))
            if since - self._broker_back_at > RECOVERED_S:  # otherwise the stall is the broker's
                self._aftermath = lambda: Aftermath(kill, since, time.monotonic(), _kept(owned, healthy))

    def _pause(self, seconds: float) -> None:
        """Longer than its session: others take over meanwhile, and what it still sends afterwards is fenced."""
        paused = self.random.choice(self.regular)
        log.info("paused %s for %.0f s", paused.slot, seconds)
        until = time.monotonic() + seconds
        paused.signal(signal.SIGSTOP)
        self._kill(paused)
        self.rest(max(0.0, until - time.monotonic()))
        paused.signal(signal.SIGCONT)
        self.log.pauses += 1

    def _stop(self) -> None:
        stopped = self.random.choice([*self.regular, self.store])
        self.stop_gracefully(stopped)
        self.log.stops += 1
        self.rest(self.random.random())
        stopped.start()

    def _join(self) -> None:
        log.info("%s joins", self._guest.slot)
        self._guest.start()
        self.rest(JOINED_S)
        self.stop_gracefully(self._guest)
        self.log.joins += 1

    def _break_broker(self) -> None:
        kafka, crash = self.random.choice(self.ground.brokers), self.log.broker_restarts % 2 == 0
        log.info("broker %s", "crashes" if crash else "stops")
        if crash:
            kafka.kill()
        else:
            kafka.stop()
        self.rest(BROKER_AWAY_S)
        kafka.start()
        self.broker_was_back()
        self.log.broker_restarts += 1

    def _take_clickhouse_away(self) -> None:
        log.info("ClickHouse goes away")
        self.rest(2 * self._scale.settle_s)  # what went wrong before is over
        self.ground.clickhouse.stop()
        began = time.time() * 1000
        self.log.away_ms = began, began
        self._back_at = time.monotonic() + self._scale.clickhouse_away_s
        self.rest(self._scale.quiet_s)
        self.log.quiet_ms = began, time.time() * 1000

    def _bring_clickhouse_back(self) -> None:
        self._back_at = 0.0
        self.ground.clickhouse.start()
        began = self.log.away_ms[0]
        self.log.away_ms = began, time.time() * 1000
        self.log.clickhouse_away_s = (self.log.away_ms[1] - began) / 1000
        log.info("ClickHouse is back after %.0f s", self.log.clickhouse_away_s)

    # --- meanwhile ---------------------------------------------------------------------------------------------------

    def _await_phase(self, wanted: str, workers: Sequence[Worker]) -> Worker:
        """The first worker seen in `wanted`; after a while any."""
        alive = [worker for worker in workers if worker.alive]
        self.random.shuffle(alive)
        until = time.monotonic() + STRIKE_LIMIT_S
        while time.monotonic() < until:
            for worker in alive:
                if worker.phase() == wanted:
                    if wanted != "restore":
                        return worker
                    worker.look()
                    if worker.restoring:
                        return worker
            time.sleep(LOOK_S)
        return alive[0]

    def _await_output(self, partitions: frozenset[int]) -> None:
        """Before the next disruption, so that a stall is that of this one."""
        until = time.monotonic() + STALL_LIMIT_S
        while time.monotonic() < until and self._observer.silent(partitions, SILENT_S):
            self.rest(0.1)

    def broker_was_back(self) -> None:
        """A broker came back just now: for a while, a stall is its doing."""
        self._broker_back_at = time.monotonic()

    def outputs_behind(self) -> int:
        """Outputs that are not stored yet."""
        return self._outputs.records()

    def stop_gracefully(self, worker: Worker) -> None:
        code, seconds = worker.stop()
        self.log.slowest_stop_s = max(self.log.slowest_stop_s, seconds)
        log.info("stopped %s: exit %d after %.1f s", worker.slot, code, seconds)
        if code != 0 or seconds > GRACE_S:
            self.log.faults.append(f"worker {worker.slot}: SIGTERM ended with exit {code} after {seconds:.1f} s")

    def _end_aftermath(self) -> None:
        """The next disruption comes now: what stalls from here on is not the last kill's."""
        if self._aftermath is not None:
            self.log.aftermaths.append(self._aftermath())
            self._aftermath = None

    def _settle(self) -> None:
        self.rest(self._scale.settle_s * (0.3 + 0.7 * self.random.random()))

    def rest(self, seconds: float) -> None:
        """Waits, and starts again what ended by itself, which no worker may do."""
        until = time.monotonic() + seconds
        while True:
            self.supervise()
            left = until - time.monotonic()
            if left <= 0:
                return
            time.sleep(min(left, 0.1))

    def supervise(self) -> None:
        for worker in (*self.regular, self.store, self._guest):
            if worker.process is not None and (code := worker.process.poll()) not in (None, 0, -signal.SIGKILL):
                self.log.faults.append(f"worker {worker.slot} ended by itself with exit {code} in {worker.phase()}")
                log.warning("%s", self.log.faults[-1])
                if len(self.log.faults) > MOST_FAULTS:
                    raise RuntimeError(f"workers do not stay alive; see {worker.log}")
                worker.start()
