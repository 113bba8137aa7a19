"""One run: load, schedule, drain, comparison. Everything of it lives in one folder and ends with it."""

from __future__ import annotations

import base64
import json
import logging
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import confluent_kafka as ck

from pipeline import topics
from pipeline.agents.store import TOPICS as STORED
from pipeline.app import assemble_config
from pipeline.cli.rebuild import rebuild
from pipeline.cli.simulate import write_documents
from pipeline.domain.pseudonyms import KEY_BYTES, PURPOSES
from pipeline.edge.backlog import Backlog
from pipeline.kafka_config import client_config
from pipeline.runtime.rewrite import Rewrite
from pipeline.settings import PREFIX, Settings
from pipeline.wire.sessions import decode_alert
from tests.chaos.archive import Archive, told_gone
from tests.chaos.faults import (
    CLOCKS,
    COPIED_LOG,
    EAGER_COMPACTION,
    KILLS,
    LIVE_LOAD,
    OLD_RELEASE,
    POISON,
    STRIKE_S,
    compact_eagerly,
    needs,
    strikes,
)
from tests.chaos.ground import ground
from tests.chaos.load import LIVE_STATIONS, POISONERS, plan_of
from tests.chaos.observer import Observer
from tests.chaos.offline import Told, told_by_stage, told_offline
from tests.chaos.release import UPGRADED_FROM, Release, judged_anew
from tests.chaos.scale import PHASES, SESSION_TIMEOUT_S, Scale
from tests.chaos.schedule import Log, Schedule
from tests.chaos.verdict import compare, counters, unbalanced
from tests.chaos.workers import REPOSITORY, STORE, Worker, slots, workers

log = logging.getLogger(__name__)

PARTITIONS = 8
REGULAR = 3


def chaos(scale: Scale, seed: int, folder: Path, faults: Sequence[str] = (KILLS,)) -> dict[str, Any]:
    """Runs everything; the figures, with what failed under `failures`. Raises when it could not be run at all."""
    began = time.monotonic()
    needed = needs(faults)
    options = {
        "seed": seed, "stations": scale.stations, "days": scale.days, "sessions": scale.sessions,
        "rate": min(scale.rate, scale.least_events // (STRIKE_S * strikes(scale, faults))),
        "poison": str(folder / POISON) if POISON in needed else "",
        "live": LIVE_STATIONS if LIVE_LOAD in needed else 0, "report": str(folder / "load.json"),
    }  # fmt: skip
    write_documents(plan_of(options), folder)
    _write_keys(folder / "keys.json", seed)
    names = slots(REGULAR + 1)
    with ground(folder, needed, names, seed) as built:
        settings = replace(
            built.settings,
            keys_file=folder / "keys.json",
            sites_file=folder / "sites.json",
            tariffs_file=folder / "tariffs.json",
        )
        if EAGER_COMPACTION in needed:
            compact_eagerly(settings)
        environments = {slot: _environment(replace(settings, kafka=built.bootstrap(slot))) for slot in names}
        crew = workers(environments, folder, CLOCKS in needed)
        release = None
        if OLD_RELEASE in needed:
            release = Release(UPGRADED_FROM, folder / "release")
            for worker in crew.values():
                worker.tree = release.tree
        observer = Observer(settings.kafka, PARTITIONS)
        observer.start()
        archive = Archive(settings, PARTITIONS) if COPIED_LOG in needed else None
        if archive is not None:
            archive.start()
        with _ended(crew), _load(options | {"kafka": settings.kafka}) as load:
            schedule = Schedule(scale, seed, faults, built, crew, observer, archive)
            done = schedule.run()
            assert load.stdin is not None
            hurried = load.poll() is not None
            load.stdin.close()
            if load.wait(scale.patience_s) != 0:
                raise RuntimeError("the load ended with an error; see above")
            report = json.loads((folder / "load.json").read_bytes())
            _drain(settings, schedule, scale.patience_s)
            committed = _stop_all(settings, crew, schedule, scale.patience_s)
        observer.close()
        log.info("comparing with the offline result")
        gone = told_gone(worker.log for worker in crew.values())
        offline = told_offline(settings, committed, archive.messages(committed, gone) if archive is not None else None)
        if archive is not None:
            archive.close()
        told = told_by_stage(settings)
        apart = None if release is None else judged_anew(release.offline(settings, committed), offline)
        if POISON in needed:
            told, offline = (each.only(lambda station: station not in POISONERS) for each in (told, offline))
        verdict = compare(told, offline, settings, apart, POISONERS)
        rebuilt = rebuild(settings, Rewrite(assemble_config(settings)))[1]
    missing = sum(len(each) for ranges in gone.values() for each in ranges)
    failures = list(done.faults)
    failures += [f"{name}: {found}" for name, found in verdict.items() if found.bad]
    failures += _shortfalls(scale, faults, done, report, offline, hurried, missing)
    if (wrong := unbalanced(counters(told.states))) != 0:
        failures.append(f"{wrong} stations have received events that are not accounted for")
    corrected = [found.after.station_id for each in rebuilt for found in each.found.values()]
    if wrongly := [each for each in corrected if each.encode() not in POISONERS | (apart or frozenset())]:
        failures.append(f"rebuild would correct {len(wrongly)} sessions")
    return {
        "seed": seed,
        "scale": scale.name,
        "faults": ",".join(faults),
        "strikes": dict(enumerate(done.strikes, 1)),
        "seconds": round(time.monotonic() - began, 1),
        "events": offline.events,
        "ticks": offline.ticks,
        "kills": {phase: done.kills[phase] for phase in sorted(done.kills | dict.fromkeys(PHASES, 0))},
        "least_lag_at_a_kill": done.least_lag if done.kills else None,
        "pauses": done.pauses,
        "stops": done.stops,
        "slowest_stop_s": round(done.slowest_stop_s, 1),
        "joins": done.joins,
        "broker_restarts": done.broker_restarts,
        "clickhouse_away_s": round(done.clickhouse_away_s, 1),
        "sessions": len({key for key, _ in offline.sessions}),
        "records_told_gone": missing,
        "stations_judged_anew": len(apart or ()),
        "rebuild": {"sessions": sum(each.compared for each in rebuilt), "corrected": len(corrected)},
        "compared": {name: found._asdict() for name, found in verdict.items()},
        "lost": sum(found.lost for found in verdict.values()),
        "doubled": sum(found.doubled for found in verdict.values()),
        "different": sum(found.different for found in verdict.values()),
        "received_events_in_counters": sum(each[0] for each in counters(told.states).values()),
        "longest_stall_of_healthy": _stall(observer, done),
        "alert_latency_s": {
            "clickhouse away, nothing else": _latency(observer, offline, done.quiet_ms),
            "clickhouse away": _latency(observer, offline, done.away_ms),
            "whole run": _latency(observer, offline, (0.0, 1e15)),
        },
        "failures": failures,
    }


def _write_keys(file: Path, seed: int) -> None:
    """The same seed gives the same session ids."""
    random = Random(f"keys-{seed}")  # noqa: S311 - keys of simulated drivers
    keys = {purpose: base64.b64encode(random.randbytes(KEY_BYTES)).decode() for purpose in PURPOSES}
    file.write_text(json.dumps({"version": 1, "keys": keys}), "utf-8")


def _environment(settings: Settings) -> Mapping[str, str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}  # noqa: TID251 - handed on
    return inherited | {
        f"{PREFIX}KAFKA": settings.kafka,
        f"{PREFIX}CLICKHOUSE_URL": settings.clickhouse_url,
        f"{PREFIX}CLICKHOUSE_PASSWORD_FILE": str(settings.clickhouse_password_file),
        f"{PREFIX}KEYS_FILE": str(settings.keys_file),
        f"{PREFIX}SITES_FILE": str(settings.sites_file),
        f"{PREFIX}TARIFFS_FILE": str(settings.tariffs_file),
        f"{PREFIX}SESSION_TIMEOUT_MS": str(round(SESSION_TIMEOUT_S * 1000)),
    }


@contextmanager
def _load(options: Mapping[str, Any]) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-m", "tests.chaos.load", json.dumps(options)]
    process = subprocess.Popen(command, cwd=REPOSITORY, stdin=subprocess.PIPE)  # noqa: S603 - our own module
    try:
        yield process
    finally:
        process.kill()
        process.wait()


@contextmanager
def _ended(crew: Mapping[str, Worker]) -> Iterator[None]:
    try:
        yield
    finally:
        for worker in crew.values():
            if worker.process is not None:
                worker.process.kill()
                worker.process.wait()


def _drain(settings: Settings, schedule: Schedule, patience_s: float) -> None:
    """Until the group has committed everything that was there at the end of the load; ticks go on arriving."""
    backlog = Backlog(client_config(settings), f"{settings.group}-assemble", [topics.METER_EVENTS.name])
    until = time.monotonic() + patience_s
    while (left := backlog.records()) > 2 * PARTITIONS:  # live ticks of the last second
        if time.monotonic() > until:
            raise RuntimeError(f"{left} records still wait after {patience_s:.0f} s")
        schedule.rest(0.5)
    backlog.close()


def _stop_all(
    settings: Settings, crew: Mapping[str, Worker], schedule: Schedule, patience_s: float
) -> Mapping[int, int]:
    """Stops who assembles, then, when all is stored, who stores; what the group has committed by partition."""
    for slot, worker in crew.items():
        if slot != STORE and worker.alive:
            _stop(worker, schedule.log)
    stored = Backlog(client_config(settings), f"{settings.group}-store", STORED)
    until = time.monotonic() + patience_s
    while not stored.is_empty():
        if time.monotonic() > until:
            raise RuntimeError(f"records still wait to be stored after {patience_s:.0f} s")
        schedule.rest(0.5)
    stored.close()
    _stop(crew[STORE], schedule.log)
    asking = ck.Consumer(client_config(settings) | {"group.id": f"{settings.group}-assemble"})
    places = [ck.TopicPartition(topics.METER_EVENTS.name, number) for number in range(PARTITIONS)]
    committed = {place.partition: max(0, place.offset) for place in asking.committed(places, 10)}
    asking.close()
    return committed


def _stop(worker: Worker, done: Log) -> None:
    code, seconds = worker.stop()
    if code != 0:
        done.faults.append(f"worker {worker.slot}: the last stop ended with exit {code} after {seconds:.1f} s")


def _shortfalls(
    scale: Scale,
    faults: Sequence[str],
    done: Log,
    report: Mapping[str, Any],
    offline: Told,
    hurried: bool,
    gone: int,
) -> list[str]:
    """Where the run was less than it should have been: then it proves nothing.

    The short run stands in the test suite, on machines of any speed: what it hits and how much waits then is chance.
    """
    kills = scale.kills if KILLS in faults else 0
    missing = [phase for phase in PHASES if kills and not done.kills[phase]]
    checks = {
        f"{sum(done.kills.values())} kills of {kills}": sum(done.kills.values()) < kills,
        **{f"{name} did not strike": not done.struck[name] for name in faults if name != KILLS},
        f"{offline.events} events, at least {scale.least_events} are needed": offline.events + gone
        < scale.least_events,
        f"{report['failed']} events were refused by the broker: {report['first_error']}": report["failed"] > 0,
        f"{offline.events} events in the topic, {report['events']} were sent, {gone} are gone": not (
            0 <= report["events"] - offline.events <= gone  # ticks can be gone, too
        ),
        "records were removed, and nobody missed them": gone == 0 and "retention" in faults,
    }
    by_pace = {
        f"no kill hit {', '.join(missing)}": bool(missing),
        "the load ended before the schedule": hurried,
        "a kill without lag": kills > 0 and done.least_lag <= 0,
    }
    if scale.name == "full":
        checks |= by_pace
    return [text for text, failed in checks.items() if failed]


def _stall(observer: Observer, done: Log) -> dict[str, Any]:
    """The longest time without output of a partition whose worker nobody touched, and after which kill it was."""
    if not done.aftermaths:
        return {"seconds": 0.0}
    gap, kill = max(
        (observer.longest_gap(each.partitions, each.since, each.until), each.kill) for each in done.aftermaths
    )
    where = f"partition {gap.partition}, from {gap.after:.1f} s after the kill {kill}"
    return {"seconds": round(gap.seconds, 2), "where": where}


def _latency(observer: Observer, offline: Told, between_ms: tuple[float, float]) -> dict[str, float | int]:
    """Seconds from the append of the cause in meter-events to a read-committed consumer of anomalies."""
    since, until = between_ms
    seconds: list[float] = []
    for value, caused_ms in offline.caused_ms.items():
        alert = decode_alert(value)
        seen_ms = observer.alerts_ms.get((alert.alert_id.encode(), alert.state.encode()))
        if seen_ms is not None and since <= caused_ms < until:
            seconds.append((seen_ms - caused_ms) / 1000)
    seconds.sort()
    if not seconds:
        return {"alerts": 0}
    return {
        "alerts": len(seconds),
        "p50": round(seconds[len(seconds) // 2], 3),
        "p99": round(seconds[len(seconds) * 99 // 100], 3),
    }
