"""Honest records alone, and with hostile ones between them, through the real Partition: the honest outputs must agree.

Between batches there are checkpoints, and now and then a crash and a restore.
"""

from __future__ import annotations

import signal
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from random import Random
from types import FrameType
from typing import NoReturn

import orjson
from confluent_kafka import Message

from pipeline.agents.assembly import Assembly
from pipeline.domain.rating import Rating
from pipeline.edge.simulator import FleetConfig
from pipeline.runtime.partition.dead_letters import FloodGate
from pipeline.runtime.partition.internal_errors import place
from pipeline.topics import DEAD_LETTERS, QUARANTINE, REJECTIONS
from pipeline.wire.meter_events import Decoder
from pipeline.wire.quarantine import decode_mark
from pipeline.wire.sites import decode_sites
from pipeline.wire.tariffs import decode_tariffs
from tests.builders import KEYS
from tests.hostile.records import documents_of, honest, hostile
from tests.runtime.partition_log import CHANGELOG, PartitionLog

STALL_S = 5.0
"""Of CPU, for a batch, so none of its records took longer: a busy machine is slow, not wrong."""
BATCH = 400
OURS = frozenset({CHANGELOG, QUARANTINE.name, DEAD_LETTERS.name, REJECTIONS.name})
"""What is no output of an honest station: only these may hold something else beside hostile records."""

Records = Sequence[tuple[bytes | None, bytes | None, int]]
"""Key, value, broker time in ms."""

Told = tuple[str, bytes | None, bytes | None]


class Stalled(BaseException):
    """A batch took too long. No Exception: nobody may catch it on the way."""


@dataclass(slots=True)
class Verdict:
    seed: int
    records: int = 0
    hostile: int = 0
    outputs: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)
    """Places of errors of ours: each is to be mended, though it cost its own station only."""
    set_aside: int = 0
    slowest_s: float = 0.0
    faults: list[str] = field(default_factory=list)
    """Exits, stalls, honest outputs that differ; none is good."""


def new_log(seed: int, refused: Counter[str]) -> PartitionLog:
    sites, tariffs = documents_of(seed)
    rating = Rating(KEYS, decode_sites(orjson.dumps(sites), "sites"), decode_tariffs(orjson.dumps(tariffs), "tariffs"))
    gate = FloodGate(1 << 40, 101, lambda reason: refused.update([reason]), release_keys=1 << 40)
    return PartitionLog(Assembly(rating, Decoder(KEYS)), gate=gate)


def mixed(seed: int, count: int) -> tuple[Records, Records]:
    """The honest records, and the same with `count` hostile ones between them."""
    alone = [(key, value, due_us // 1000) for due_us, key, value in honest(seed)]
    random, attack = Random(f"mix/{seed}"), hostile(seed, FleetConfig(seed=seed).clock)  # noqa: S311 - a test, not a secret
    together: list[tuple[bytes | None, bytes | None, int]] = []
    each = count / len(alone)
    for record in alone:
        for _ in range(int(each + random.random())):
            together.append((*next(attack), record[2]))
        together.append(record)
    return alone, together


def feed(log: PartitionLog, records: Records, verdict: Verdict, random: Random | None = None) -> None:
    """Applies them in batches. Raises what the partition raises; Stalled."""
    for first in range(0, len(records), BATCH):
        for key, value, at_ms in records[first : first + BATCH]:
            log.source_log.append(
                Message(topic="in", partition=0, offset=len(log.source_log), key=key, value=value, timestamp=(1, at_ms))
            )
        began = time.process_time()
        with limited():
            log.read_on()
            if random is None or random.random() < 0.3:
                log.checkpoint(write_s=2)
            if random is not None and random.random() < 0.03:
                log.crash()
        verdict.slowest_s = max(verdict.slowest_s, time.process_time() - began)
    log.checkpoint()


@contextmanager
def limited() -> Iterator[None]:
    """Raises Stalled, at the line where the time went."""
    before = signal.signal(signal.SIGPROF, _stalled)
    signal.setitimer(signal.ITIMER_PROF, STALL_S)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def _stalled(_: int, frame: FrameType | None) -> NoReturn:
    raise Stalled(f"more than {STALL_S} s")


def told(
    log: PartitionLog, keys: frozenset[bytes | None] | None = None
) -> list[tuple[str, bytes | None, bytes | None]]:
    """What was told of the keys given, None: of all; without the dead letters and our own records."""
    return [
        (each.topic, each.key, each.value)
        for each in [*log.committed_records, *log.open_records]
        if each.topic not in OURS and (keys is None or each.key in keys)
    ]


def attack(seed: int, count: int) -> Verdict:
    """One seed. Deterministic, whatever the machine, but for `slowest_s`."""
    verdict = Verdict(seed)
    alone, together = mixed(seed, count)
    verdict.records, verdict.hostile = len(together), len(together) - len(alone)
    quiet = new_log(seed, Counter())
    feed(quiet, alone, Verdict(seed))
    expected = told(quiet)
    log = new_log(seed, verdict.refused)
    try:
        feed(log, together, verdict, Random(f"crash/{seed}"))  # noqa: S311 - a test, not a secret
    except (Exception, Stalled) as error:
        verdict.faults.append(f"seed {seed}: the worker would have ended or stood: {place(error)}: {error}")
        return verdict
    found = told(log, frozenset(key for _, key, _ in expected))
    verdict.outputs, verdict.set_aside = len(expected), len(log.partition.quarantine.set_aside)
    for each in log.outputs(DEAD_LETTERS.name, QUARANTINE.name):
        if (each.headers and dict(each.headers).get("reason")) == b"INTERNAL_ERROR":
            verdict.errors[dict(each.headers)["detail"].decode()] += 1
        elif dict(each.headers).get("kind") == b"mark":
            verdict.errors[decode_mark(each.value or b"").reason] += 1
    if found != expected:
        different = next(
            (f"{a} instead of {b}" for a, b in zip(found, expected, strict=False) if a != b), "one list is shorter"
        )
        verdict.faults.append(f"seed {seed}: honest outputs differ: {different[:500]}")
    return verdict
