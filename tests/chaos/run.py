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
from pipeline.domain.pseudonyms import KEY_BYTES, NEEDED, PURPOSES
from pipeline.edge.backlog import Backlog
from pipeline.kafka_config import client_config
from pipeline.runtime.stage.rewrite import Rewrite
from pipeline.settings import PREFIX, Settings
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
from tests.chaos.figures import Findings, figures
from tests.chaos.ground import ground
from tests.chaos.load import LIVE_STATIONS, POISONERS, fleet_config, is_honest
from tests.chaos.observer import Observer
from tests.chaos.offline import records, told_by_stage, told_offline
from tests.chaos.release import UPGRADED_FROM, Release, judged_anew
from tests.chaos.scale import SESSION_TIMEOUT_S, Scale
from tests.chaos.schedule import Log, Schedule
from tests.chaos.verdict import compare
from tests.chaos.workers import REPOSITORY, STORE, Worker, slots, workers

log = logging.getLogger(__name__)

PARTITIONS = 8
REGULAR = 3


def chaos(scale: Scale, seed: int, folder: Path, faults: Sequence[str] = (KILLS,)) -> dict[str, Any]:
    """Runs everything; the figures, with what failed under `failures`. Raises when it could not be run at all."""
    began = time.monotonic()
    needed = needs(faults)
    options = _options(scale, seed, folder, faults)
    write_documents(fleet_config(options), folder)
    _write_keys(folder / "keys.json", seed, NEEDED if OLD_RELEASE in needed else PURPOSES)
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
        with _ended(crew), _load(options | {"kafka": settings.kafka, "keys_file": str(settings.keys_file)}) as load:
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
        found = _judge(settings, committed, crew, archive, release, POISON in needed)
    return figures(scale, seed, faults, done, found, observer, report, hurried) | {
        "seconds": round(time.monotonic() - began, 1)
    }


def _options(scale: Scale, seed: int, folder: Path, faults: Sequence[str]) -> dict[str, Any]:
    """Of the load."""
    needed = needs(faults)
    return {
        "seed": seed, "stations": scale.stations, "days": scale.days, "sessions": scale.sessions,
        "rate": min(scale.rate, scale.least_events // (STRIKE_S * strikes(scale, faults))),
        "poison": str(folder / POISON) if POISON in needed else "",
        "live": LIVE_STATIONS if LIVE_LOAD in needed else 0, "report": str(folder / "load.json"),
    }  # fmt: skip


def _judge(
    settings: Settings,
    committed: Mapping[int, int],
    crew: Mapping[str, Worker],
    archive: Archive | None,
    release: Release | None,
    is_poisoned: bool,
) -> Findings:
    log.info("comparing with the offline result")
    gone = told_gone(worker.log for worker in crew.values())
    if archive is None:
        messages = list(records(settings, topics.METER_EVENTS.name, ends=committed))
    else:
        messages = list(archive.messages(committed, gone))
        archive.close()
    offline = told_offline(settings, messages)
    told = told_by_stage(settings)
    honest = (each for each in messages if is_honest(each.key(), each.value() or b""))
    apart = None if release is None else judged_anew(release.offline(settings, honest), offline)
    if is_poisoned:
        told, offline = (each.only(lambda station: station not in POISONERS) for each in (told, offline))
    rebuilt = rebuild(settings, Rewrite(assemble_config(settings)))[1]
    corrected = [found.after.station_id.encode() for each in rebuilt for found in each.found.values()]
    return Findings(
        told=told,
        offline=offline,
        compared=compare(told, offline, settings, apart, POISONERS),
        gone=sum(len(each) for ranges in gone.values() for each in ranges),
        judged_anew=len(apart or ()),
        rebuilt=sum(each.compared for each in rebuilt),
        corrected=len(corrected),
        wrongly_corrected=sum(station not in POISONERS | (apart or frozenset()) for station in corrected),
    )


def _write_keys(file: Path, seed: int, purposes: Sequence[str]) -> None:
    """The same seed gives the same session ids. An older release knows no key but those it needs."""
    random = Random(f"keys-{seed}")  # noqa: S311 - keys of simulated drivers
    keys = {purpose: base64.b64encode(random.randbytes(KEY_BYTES)).decode() for purpose in purposes}
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
