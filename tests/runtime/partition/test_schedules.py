"""The order of a checkpoint and of a restore, on the simulated broker: hundreds of schedules of crashes and pauses."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from confluent_kafka import Message
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.agents.occupancy import PRICE_SIGNALS, Occupancy
from pipeline.errors import InvalidMessage
from pipeline.runtime.logic import NEVER, Logic, ReferenceBehind
from pipeline.runtime.murmur import partition_of
from pipeline.runtime.offline import Offline
from pipeline.runtime.partition.checkpoint import EVERYTHING, checkpoint
from pipeline.runtime.partition.dead_letters import FloodGate
from pipeline.runtime.partition.partition import Partition
from pipeline.runtime.partition.ports import TransactionLost
from pipeline.runtime.partition.restore import Refused, restore
from pipeline.runtime.partition.sending import DEAD_LETTERS
from pipeline.runtime.partition.undo import Listed
from tests.builders import KEYS
from tests.runtime.counting import Counting
from tests.runtime.simulated import Blocked, Broker, History, Record, Transaction

PARTITIONS, WORKERS = 2, 3
CHANGELOG, OUTPUT = "state", "out"
WRITE_S = 15.0
"""In steps of the schedule."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Carried:
    """A Logic, records for it, and the topic of its outputs; their keys are all different."""

    logic: Callable[[], Logic[Any]]
    source: Callable[[int], list[list[Record]]]
    output: str


def numbers(count: int) -> list[list[Record]]:
    """Numbers of six keys, ticks, and now and then a record that is not a number."""
    logs: list[list[Record]] = [[] for _ in range(PARTITIONS)]
    for number in range(count):
        key = b"key-%d" % (number % 6)
        value = b"bad" if number % 37 == 36 else b"%d" % number
        logs[partition_of(key, PARTITIONS)].append((key, value))
        if number % 30 == 29:
            for log in logs:
                log.append((None, b"live %d %d" % (number * 100_000, number // 60)))
    return logs


def statuses(count: int) -> list[list[Record]]:
    """Connectors of six sites change their state, some late; ticks every 21 s, now and then a bad record."""
    logs: list[list[Record]] = [[] for _ in range(PARTITIONS)]
    states = ("free", "occupied", "faulted", "unavailable")
    for number in range(count):
        site, second = f"site-{number % 6}", number * 7 - (600 if number % 11 == 0 else 0)
        change = {
            "type": "connector_changed", "site_id": site, "station_id": f"CP-{number % 5}", "clock": "live",
            "connector_id": number % 3, "state": states[number % 4], "since_us": EPOCH_US + second * 1_000_000,
        }  # fmt: skip
        value = b"bad" if number % 37 == 36 else json.dumps(change).encode()
        logs[partition_of(site.encode(), PARTITIONS)].append((site.encode(), value))
        if number % 3 == 2:
            for log in logs:
                log.append((None, b'{"type":"clock_ticked","time_us":%d}' % (EPOCH_US + number * 7_000_000)))
    return logs


EPOCH_US = 1_772_436_000_000_000
COUNTING = Carried(logic=lambda: Counting(OUTPUT), source=numbers, output=OUTPUT)
OCCUPANCY = Carried(logic=lambda: Occupancy(KEYS), source=statuses, output=PRICE_SIGNALS)
CARRIED = pytest.mark.parametrize("carried", [COUNTING, OCCUPANCY], ids=["counting", "occupancy"])


class Worker:
    """A stage without Faust and Kafka: the same partitions, checkpoints and restores, one step at a time."""

    def __init__(self, broker: Broker, slot: int, carried: Carried) -> None:
        self.broker, self.slot, self.carried, self.lives = broker, slot, carried, 0
        self.start()

    def start(self) -> None:
        """As after a crash: nothing is remembered but the slot."""
        self.lives += 1
        self.member = f"{self.slot}-{self.lives}"
        self.transaction = Transaction(self.broker, f"slot-{self.slot}", self.member)
        self.partitions: dict[int, Partition[Any]] = {}
        self.logic = self.carried.logic()
        if isinstance(self.logic, Counting):
            self.logic.reached = 0
        self.steps: Iterator[str] | None = None
        self.restored: list[Partition[Any] | Refused] = []
        self.broker.join(self.member)

    def crash(self) -> None:
        self.broker.leave(self.member)
        self.start()

    def give_up(self) -> None:
        """The transaction is lost: abort, drop all state, join again."""
        self.transaction.abort()
        self.broker.leave(self.member)
        self.lives += 1
        self.member = self.transaction.member = f"{self.slot}-{self.lives}"
        self.transaction.lie_about_commit = False
        self.partitions, self.steps, self.restored = {}, None, []
        self.broker.join(self.member)

    def step(self, time: int, arg: int) -> None:
        """The next step of what it is doing; otherwise it reads on, or begins a checkpoint or a restore."""
        try:
            if self.steps is not None:
                self._next()
            elif self.member not in self.broker.members:
                self.give_up()  # it notices that its session has ended
            elif (free := self.broker.free()) and arg % 3 == 0:
                self._acquire(free[arg % len(free)])
            elif arg % 5 == 0:
                self._checkpoint(time, WRITE_S)
            else:
                self._read_on(1 + arg % 31)
        except TransactionLost:
            self.give_up()

    def _next(self) -> None:
        try:
            assert self.steps is not None
            next(self.steps)
        except StopIteration:
            self.steps = None
            for partition in self.restored:
                assert isinstance(partition, Partition)
                if partition.number in self.broker.members.get(self.member, ()):
                    self.partitions[partition.number] = partition
            self.restored = []
        except Blocked:
            self.broker.members.get(self.member, set()).clear()
            self.broker.members.get(self.member, set()).update(self.partitions)
            self.steps = None

    def _acquire(self, number: int) -> None:
        self.broker.members[self.member].add(number)
        self.restored = []
        self.steps = restore(History(self.broker, CHANGELOG), [number], self._empty, self._lost, self.restored)

    def _checkpoint(self, time: float, write_s: float) -> None:
        self.steps = checkpoint(self.transaction, list(self.partitions.values()), CHANGELOG, time, write_s)

    def _read_on(self, count: int) -> None:
        for number, partition in self.partitions.items():
            log = self.broker.source[number][partition.position : partition.position + count]
            messages = [
                Message(topic="in", partition=number, offset=partition.position + at, key=key, value=value,
                        timestamp=(1, NEVER))
                for at, (key, value) in enumerate(log)
            ]  # fmt: skip
            if messages:
                try:
                    partition.take(messages, self.transaction.produce)
                except ReferenceBehind:
                    assert isinstance(self.logic, Counting)
                    self.logic.reached += 1  # it arrives later

    def finish(self) -> None:
        """Takes everything that is free, reads to the end, commits all of it."""
        while self.steps is not None or self.broker.free() or self.member not in self.broker.members:
            self.step(0, 0)
        while any(p.position < len(self.broker.source[number]) for number, p in self.partitions.items()):
            self._read_on(1000)
        self._checkpoint(0.0, EVERYTHING)
        while self.steps is not None:
            self._next()

    def _empty(self, number: int) -> Partition[Any]:
        gate = FloodGate(1 << 40, 101, lambda _: None)
        return Partition(number, PARTITIONS, "in", self.logic, gate, 900_000, Listed(()))

    @staticmethod
    def _lost(what: str, records: int) -> None:
        raise AssertionError(what)


def run(schedule: list[int], carried: Carried) -> Broker:
    """One schedule, then a quiet end: sessions and transactions of all but one worker end, and it finishes."""
    broker = Broker(carried.source(900))
    workers = [Worker(broker, slot, carried) for slot in range(WORKERS)]
    for time, choice in enumerate(schedule):
        worker = workers[choice % WORKERS]
        action, arg = choice // WORKERS % 64, choice // WORKERS // 64
        match action:
            case 0:
                worker.crash()
            case 1:
                broker.leave(worker.member)  # paused for longer than its session; it does not know yet
            case 2:
                broker.time_out(f"slot-{worker.slot}")
            case 3:
                worker.transaction.lie_about_commit = True
            case 4 | 5:
                deliver(worker, arg % 4)
            case _:
                for more in range(1 + arg % 6):
                    worker.step(time, arg // 6 + more)
    for worker in workers[1:]:
        broker.leave(worker.member)
        broker.time_out(f"slot-{worker.slot}")
    workers[0].crash()
    workers[0].finish()
    return broker


def deliver(worker: Worker, count: int) -> None:
    try:
        worker.transaction.deliver(count)
    except TransactionLost:
        worker.give_up()


def meaning(broker: Broker, carried: Carried) -> dict[bytes, bytes]:
    told: dict[bytes, bytes] = {}
    for log in broker.source:
        offline = Offline(carried.logic())
        for key, value in log:
            try:
                told.update({output.key: output.value or b"" for output in offline.feed(key, value)})
            except InvalidMessage:
                continue
    return told


def agrees(broker: Broker, carried: Carried) -> None:
    seen = [(record.key, record.value or b"") for record in broker.visible(carried.output)]
    assert sorted(seen) == sorted(meaning(broker, carried).items())
    refused = [record.key for record in broker.visible(DEAD_LETTERS)]
    assert len(refused) == sum(value == b"bad" for log in broker.source for _, value in log)


SCHEDULES = st.lists(st.integers(0, WORKERS * 64 * 1024), min_size=100, max_size=400)


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(SCHEDULES)
def test_no_schedule_loses_repeats_or_changes_an_output(schedule: list[int]) -> None:
    agrees(run(schedule, COUNTING), COUNTING)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(SCHEDULES)
def test_no_schedule_loses_repeats_or_changes_a_price_signal(schedule: list[int]) -> None:
    agrees(run(schedule, OCCUPANCY), OCCUPANCY)


@CARRIED
def test_the_schedules_reach_what_they_are_meant_to_reach(carried: Carried) -> None:
    """A quiet schedule commits in many transactions, so that the law above is about something."""
    broker = run([choice * WORKERS * 64 + 9 * WORKERS for choice in range(400)], carried)
    assert len(broker.visible(carried.output)) == len(meaning(broker, carried)) > 20
    assert len(broker.visible(CHANGELOG)) > 12
