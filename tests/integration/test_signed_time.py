"""Producers can write to `meter-events`, and yet only workers and commands with the key move time there."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import confluent_kafka as ck
import msgspec
import pytest
from confluent_kafka.admin import AdminClient

from pipeline.cli.declared import declared_topics
from pipeline.cli.topics import create_topics
from pipeline.domain.events import ClockTicked
from pipeline.domain.pseudonyms import control_key
from pipeline.edge.reading import read_topic
from pipeline.embedded.kafka import EmbeddedKafka
from pipeline.wire.control import Control
from tests.integration.stack import COMMAND, chargeline, environment
from tests.runtime.probes import asked, free_port, until


@pytest.fixture
def worker(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[dict[str, str]]:
    """A worker of the stage assemble on a broker of its own; the settings of both. Parameters are further settings."""
    with EmbeddedKafka(tmp_path / "kafka", port=0, heap_mb=512) as broker:
        create_topics(AdminClient({"bootstrap.servers": broker.bootstrap}), declared_topics(), 1)
        assert chargeline("keys", "create", tmp_path / "keys.json").returncode == 0
        settings = {"kafka": broker.bootstrap, "keys_file": str(tmp_path / "keys.json"), "web_port": str(free_port())}
        settings |= getattr(request, "param", {})
        process = subprocess.Popen(  # noqa: S603 - our own command
            [*COMMAND, "worker", "--stage", "assemble"], env=environment(settings), stderr=subprocess.DEVNULL
        )
        try:
            assert until(lambda: asked(int(settings["web_port"]), "/readyz")[0] == 200)
            yield settings
        finally:
            process.terminate()
            process.wait(20)


def metric(settings: dict[str, str], sample: str) -> float:
    text = asked(int(settings["web_port"]), "/metrics")[1]
    return sum(float(line.split()[-1]) for line in text.splitlines() if line.startswith(sample))


def test_a_forged_tick_is_a_dead_letter_and_a_simulation_with_the_keyring_is_not(worker: dict[str, str]) -> None:
    client: dict[str, str | int | float | bool] = {"bootstrap.servers": worker["kafka"]}
    assert until(lambda: metric(worker, "chargeline_events_total") >= 8), "each partition has a signed tick"
    producer = ck.Producer(client)
    forged = {"type": "clock_ticked", "time_us": time.time_ns() // 1000, "reference": [2305843009213693952, 0, 0]}
    producer.produce("meter-events", json.dumps(forged), None, 3)
    producer.produce("meter-events", json.dumps(forged | {"signature": "0" * 64}), None, 3)
    assert producer.flush(20) == 0
    refused = 'chargeline_dead_letters_total{reason="'
    assert until(lambda: metric(worker, refused) == 2), asked(int(worker["web_port"]), "/metrics")[1]
    assert metric(worker, refused + "NOT_SIGNED") == metric(worker, refused + "BAD_SIGNATURE") == 1
    assert until(lambda: len(list(read_topic(client, "dead-letters"))) == 2)
    assert asked(int(worker["web_port"]), "/readyz")[0] == 200, "nobody waits for what a producer names"

    fleet = ("simulate", "--stations", "4", "--sites", "2", "--sessions", "2", "--faults", "none")
    unkeyed = {name: value for name, value in worker.items() if name != "keys_file"}
    done = chargeline(*fleet, settings=worker)
    assert done.returncode == 0
    assert "not signed" not in done.stderr
    assert until(lambda: metric(worker, "chargeline_lag_records") == 0)
    assert metric(worker, refused) == 2
    assert until(lambda: bool(list(read_topic(client, "sessions"))))
    assert "not signed: set CHARGELINE_KEYS_FILE" in chargeline(*fleet, "--limit", "1", settings=unkeyed).stderr
    assert until(lambda: metric(worker, refused + "NOT_SIGNED") > 100)


def test_a_partition_goes_on_when_what_is_lost_is_filled(worker: dict[str, str]) -> None:
    """As after a restore of `sites` from an older backup: the ticks in the log are ours, and name more."""
    key = control_key(Path(worker["keys_file"]).read_bytes(), "keys")
    value = msgspec.json.encode(ClockTicked(time_us=time.time_ns() // 1000, reference=(5, 0, 0)))
    producer = ck.Producer({"bootstrap.servers": worker["kafka"]})
    producer.produce("meter-events", Control(key, "meter-events").sign(value), None, 3)
    assert producer.flush(20) == 0
    waiting = 'chargeline_waiting{dependency="reference topics",stage="assemble"} 1.0'
    assert until(lambda: waiting in asked(int(worker["web_port"]), "/metrics")[1])
    assert chargeline("topics", "fill", "sites", "5000000", settings=worker).returncode == 2
    filled = chargeline("topics", "fill", "sites", "5", settings=worker)
    assert filled.stdout == "sites: 5 records without content; it ends at 5 or later\n"
    assert until(lambda: waiting not in asked(int(worker["web_port"]), "/metrics")[1])
    assert until(lambda: metric(worker, "chargeline_lag_records") == 0)


@pytest.mark.parametrize("worker", [{"tick_ms": "600000"}], indirect=True)
def test_in_a_new_installation_no_unsigned_tick_counts_from_the_start(worker: dict[str, str]) -> None:
    """Not even before the first tick of a worker's timer."""
    client: dict[str, str | int | float | bool] = {"bootstrap.servers": worker["kafka"]}
    producer = ck.Producer(client)
    forged = json.dumps({"type": "clock_ticked", "time_us": time.time_ns() // 1000})
    for partition in range(8):
        producer.produce("meter-events", forged, None, partition)
    assert producer.flush(20) == 0
    assert until(lambda: metric(worker, 'chargeline_dead_letters_total{reason="NOT_SIGNED"') == 8)
    firsts = [each.value() or b"" for each in read_topic(client, "meter-events") if each.offset() == 0]
    assert len(firsts) == 8
    assert all(json.loads(value)["signature"] for value in firsts)
