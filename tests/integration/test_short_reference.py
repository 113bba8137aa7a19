"""A reference topic ends before what ticks and states name: the worker says which and what to do, and then goes on."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from confluent_kafka.admin import AdminClient

from pipeline.cli.declared import declared_topics
from pipeline.cli.topics import create_topics
from pipeline.embedded.kafka import EmbeddedKafka
from pipeline.topics import METER_EVENTS, SITES
from tests.integration.stack import COMMAND, chargeline, environment
from tests.runtime.probes import asked, free_port, until

pytestmark = pytest.mark.verify

Worker = Callable[[], subprocess.Popen[bytes]]
PARTITIONS = 8


@pytest.fixture
def settings(tmp_path: Path) -> Iterator[dict[str, str]]:
    """Of a broker of its own with all topics, and a keyring."""
    with EmbeddedKafka(tmp_path / "kafka", port=0, heap_mb=512) as broker:
        create_topics(AdminClient({"bootstrap.servers": broker.bootstrap}), declared_topics(), 1)
        assert chargeline("keys", "create", tmp_path / "keys.json").returncode == 0
        yield {
            "kafka": broker.bootstrap, "keys_file": str(tmp_path / "keys.json"), "web_port": str(free_port()),
            "reference_wait_s": "2",
        }  # fmt: skip


@pytest.fixture
def start(settings: dict[str, str], tmp_path: Path) -> Iterator[Worker]:
    """Starts a worker that assembles; its log is worker.log."""
    processes: list[subprocess.Popen[bytes]] = []

    def begin() -> subprocess.Popen[bytes]:
        with (tmp_path / "worker.log").open("wb") as log:
            command = [*COMMAND, "worker", "--stage", "assemble"]
            processes.append(subprocess.Popen(command, env=environment(settings), stderr=log, stdout=log))  # noqa: S603 - our own command
        return processes[-1]

    yield begin
    for process in processes:
        process.kill()
        process.wait(10)


def make_anew(settings: dict[str, str], topic: str) -> None:
    admin = AdminClient({"bootstrap.servers": settings["kafka"]})
    admin.delete_topics([topic])[topic].result(20)
    assert until(lambda: topic not in admin.list_topics(timeout=10).topics)
    create_topics(admin, [each for each in declared_topics() if each.name == topic], 1)


def sample(settings: dict[str, str], name: str) -> float:
    text = asked(int(settings["web_port"]), "/metrics")[1]
    return sum(float(line.split()[-1]) for line in text.splitlines() if line.startswith(f"chargeline_{name}"))


@pytest.mark.parametrize("records", [0, 7], ids=["shorter", "longer, but another one"])
def test_a_worker_whose_reference_topic_is_made_anew_ends_and_its_successor_asks_the_operator(
    settings: dict[str, str], start: Worker, tmp_path: Path, records: int
) -> None:
    """Before, its timer died alone: no tick was written any more, and every probe was green."""
    port = int(settings["web_port"])
    assert chargeline("topics", "fill", SITES.name, "5", settings=settings).returncode == 0
    process = start()
    assert until(lambda: sample(settings, "events_total") >= 3 * PARTITIONS), "each partition has seen five offsets"
    make_anew(settings, SITES.name)
    if records:
        assert chargeline("topics", "fill", SITES.name, str(records), settings=settings).returncode == 0
    assert process.wait(60) == 1
    told = (tmp_path / "worker.log").read_text()
    assert f"topic {SITES.name} " in told.splitlines()[-1]
    assert "ops/runbooks/reference-topics.md" in told.splitlines()[-1]

    start()
    if not records:
        behind = f"{METER_EVENTS.name} partition 0 waits at offset "
        assert until(lambda: behind in asked(port, "/readyz")[1]), asked(port, "/readyz")
        status, why = asked(port, "/readyz")
        assert (status, f"{SITES.name} has 0 of 5 offsets" in why, "`chargeline topics fill`" in why) == (
            503,
            True,
            True,
        )
        assert until(lambda: sample(settings, "troubles{") == PARTITIONS), "the alerting rule ChargelineTrouble"
        assert asked(port, "/livez")[0] == 200
        done = chargeline("topics", "fill", SITES.name, "5", settings=settings)
        assert done.returncode == 0
    assert until(lambda: asked(port, "/readyz") == (200, "ok\n")), asked(port, "/readyz")
    assert until(lambda: sample(settings, "lag_records") == 0)
