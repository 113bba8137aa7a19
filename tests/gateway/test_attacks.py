"""A small fleet under each attack of tests/gateway/attacks.py; no bars for times here, that command prints them."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from confluent_kafka.admin import AdminClient

from pipeline.cli.declared import declared_topics
from pipeline.cli.topics import create_topics
from pipeline.embedded.kafka import EmbeddedKafka
from pipeline.gateway.door import STRANGERS
from tests.gateway.attacks import ATTACKS, gateway_process, measure
from tests.gateway.chargers import ask, gateway, open_link, password_file


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with EmbeddedKafka(tmp_path_factory.mktemp("kafka"), port=0) as broker:
        create_topics(AdminClient({"bootstrap.servers": broker.bootstrap}), declared_topics())
        yield broker.bootstrap


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))


def test_half_open_handshakes_are_bounded_and_a_charger_comes_in_all_the_same(broker: str, tmp_path: Path) -> None:
    async def knock() -> tuple[int, str]:
        async with gateway(broker, password_file(tmp_path, "GW-1")) as running:
            before = open_files()
            with ExitStack() as stack:
                for _ in range(STRANGERS + 300):
                    _, writer = await asyncio.open_connection("127.0.0.1", running.gateway.port)
                    stack.callback(writer.close)
                    writer.write(b"GET /GW-1 HTTP/1.1\r\n")
                await asyncio.sleep(0.5)
                held = open_files() - before - (STRANGERS + 300)
                async with open_link(running, "GW-1") as link:
                    assert (await ask(link, [2, "1", "Heartbeat", {}]))[0] == 3
            return held, running.meters.text().decode()

    held, text = asyncio.run(knock())
    assert STRANGERS - 310 <= held <= STRANGERS, "ours; those of dropped clients may be closed already"
    dropped = float(text.partition('gateway_refused_total{reason="handshake",stage="gateway"} ')[2].split()[0])
    assert 300 <= dropped <= 310


def test_a_connected_fleet_is_served_and_a_new_charger_comes_in_under_each_attack(broker: str, tmp_path: Path) -> None:
    with gateway_process(tmp_path, broker, 20) as (port, log):
        found = asyncio.run(measure(port, 20, 2, interval_s=0.5))
        said = log.read_text()
    assert found.keys() == {"idle", *ATTACKS}
    for kind, figures in found.items():
        assert figures.broken == 0, kind
        assert len(figures.answers) >= 20, kind
        assert figures.comes_in < 60, kind
    assert len(said.splitlines()) < 20, said
