"""The whole pipeline as processes: a broker, ClickHouse, a worker per stage; commands are called as one calls them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import clickhouse_connect
from clickhouse_connect.driver import Client
from confluent_kafka import Consumer, Message, TopicPartition

from pipeline import topics
from pipeline.agents.store import TOPICS as STORED
from pipeline.cli.up import Platform, running
from pipeline.domain.pseudonyms import control_key
from pipeline.edge.backlog import Backlog
from pipeline.edge.producer import produce, signed
from pipeline.edge.simulator import Delivery
from pipeline.kafka_config import producer_config
from pipeline.runtime.logic import Output
from pipeline.settings import PREFIX, Settings, clickhouse_password
from pipeline.wire.control import Control
from pipeline.wire.meter_events import METER_EVENTS
from tests.invariants import Heard

REPOSITORY = Path(__file__).parents[2]
STAGES = ("assemble", "occupy", "store")
COMMAND = (sys.executable, "-m", "pipeline")
Done = subprocess.CompletedProcess[str]


def chargeline(
    *arguments: str | Path,
    settings: Mapping[str, str] | None = None,
    folder: Path = REPOSITORY,
    timeout_s: float = 120,
) -> Done:
    """One call of the command line in a process of its own; names of settings are without their prefix."""
    return subprocess.run(  # noqa: S603 - our own command
        [*COMMAND, *map(str, arguments)],
        env=environment(settings or {}),
        cwd=folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )


def environment(settings: Mapping[str, str]) -> dict[str, str]:
    """Of a process: this one's, with these settings (names without their prefix) and no others."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}  # noqa: TID251 - handed on
    return kept | {PREFIX + name.upper(): value for name, value in settings.items()}


TOLD = [topic.name for topic in (topics.SESSIONS, topics.SESSION_UPDATES, topics.ANOMALIES, topics.RECEIPTS)]


class Stack:
    """Everything that `chargeline demo` starts, without its fleet. `environment`: settings of every command."""

    def __init__(self, platform: Platform, folder: Path, **settings: str) -> None:
        self.platform = platform
        self.settings: Settings = platform.settings
        self.folder = folder
        self.environment = {
            "kafka": self.settings.kafka,
            "clickhouse_url": self.settings.clickhouse_url,
            "clickhouse_password_file": str(self.settings.clickhouse_password_file),
            "keys_file": str(folder / "keys.json"),
        } | settings
        assert chargeline("keys", "create", folder / "keys.json").returncode == 0
        self._workers: dict[str, subprocess.Popen[bytes]] = {}

    @property
    def control(self) -> Control:
        """Signs ticks as the commands do: the workers sign theirs, and believe no others."""
        return Control(control_key(Path(self.environment["keys_file"]).read_bytes(), "keyring"), METER_EVENTS)

    def chargeline(self, *arguments: str | Path) -> Done:
        return chargeline(*arguments, settings=self.environment)

    def start_workers(self) -> None:
        for stage in STAGES:
            self.start(stage)

    def start(self, stage: str) -> None:
        with (self.folder / f"{stage}.log").open("ab") as log:
            self._workers[stage] = subprocess.Popen(  # noqa: S603 - our own command
                [*COMMAND, "worker", "--stage", stage],
                env=environment(self.environment), cwd=REPOSITORY, stdout=log, stderr=log,
            )  # fmt: skip

    def kill(self, stage: str) -> None:
        """SIGKILL."""
        process = self._workers.pop(stage)
        process.kill()
        process.wait(10)

    def stop_workers(self) -> list[int]:
        """SIGTERM; exit codes."""
        for process in self._workers.values():
            process.terminate()
        codes = [process.wait(20) for process in self._workers.values()]
        self._workers.clear()
        return codes

    def wait(self, timeout_s: float = 90) -> None:
        """Until every event is assembled and everything told is stored."""
        config = {"bootstrap.servers": self.settings.kafka}
        assemble = Backlog(config, f"{self.settings.group}-assemble", [topics.METER_EVENTS.name])
        store = Backlog(config, f"{self.settings.group}-store", STORED)
        deadline = time.monotonic() + timeout_s
        try:
            while not (assemble.is_empty() and store.is_empty()):
                ended = [stage for stage, process in self._workers.items() if process.poll() is not None]
                assert not ended, (self.folder / f"{ended[0]}.log").read_text()[-3000:]
                assert time.monotonic() < deadline, "records still wait"
                time.sleep(0.2)
        finally:
            assemble.close()
            store.close()

    def send(self, records: Iterable[Delivery]) -> None:
        """As a gateway does; a tick goes to every partition."""
        report = produce(signed(records, self.control), topics.METER_EVENTS.name, producer_config(self.settings))
        assert not report.failed, report.first_error

    def rows(self, query: str) -> list[dict[str, Any]]:
        """Of database `charging`; times in UTC."""
        with self._client() as client:
            return list(client.query(query, tz_mode="aware").named_results())

    def text(self, query: str) -> bytes:
        """What the server answers, as it is."""
        with self._client() as client:
            return client.raw_query(query)

    def _client(self) -> AbstractContextManager[Client]:
        url, database = self.settings.clickhouse_url, self.settings.clickhouse_database
        password = clickhouse_password(self.settings)
        return closing(clickhouse_connect.get_client(dsn=f"{url}/{database}", password=password))

    def records(self, topic: str, isolation: str = "read_committed") -> list[Message]:
        """All records of a topic from its beginning."""
        consumer = Consumer(
            {
                "bootstrap.servers": self.settings.kafka, "group.id": uuid4().hex, "enable.partition.eof": True,
                "isolation.level": isolation, "enable.auto.commit": False,
            }
        )  # fmt: skip
        partitions = consumer.list_topics(topic, 10).topics[topic].partitions
        consumer.assign([TopicPartition(topic, number, 0) for number in partitions])
        found, waiting = [], set(partitions)
        while waiting:
            for message in consumer.consume(1000, 0.1):
                if message.error():
                    waiting.discard(message.partition() or 0)
                else:
                    found.append(message)
        consumer.close()
        return found


@contextmanager
def started(folder: Path, **settings: str) -> Iterator[Stack]:
    """A stack whose workers run; everything ends with the block. `settings` as of the environment, without prefix.

    What they told until then must be as tests/invariants.py says.
    """
    with running(folder, kafka_port=0, clickhouse_port=0) as platform:
        stack = Stack(platform, folder, **settings)
        stack.start_workers()
        try:
            yield stack
            stack.stop_workers()
            complaints = heard(stack).verdict()
            assert not complaints, complaints
        finally:
            stack.stop_workers()


def heard(stack: Stack) -> Heard:
    found = Heard()
    for topic in TOLD:
        for message in stack.records(topic):
            found.output(Output(topic, message.key() or b"", message.value()))
    return found


def json_lines(text: str) -> Sequence[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]
