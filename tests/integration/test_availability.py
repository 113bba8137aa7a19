"""meter-events -> connector-status -> price-signals by workers that are killed in between: once, and the same bytes.

A session at one of the sites is then billed by what was published. Ticks are written by the test, so that hours pass in
seconds; whoever repeats the topics offline gets the same signals.
"""

from __future__ import annotations

import json
import random
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path

import pytest
from confluent_kafka import Consumer, Message, Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from pipeline import topics
from pipeline.agents.assembly import CONNECTOR_STATUS, Assembly
from pipeline.agents.occupancy import PRICE_SIGNALS, Occupancy
from pipeline.cli.declared import declared_topics
from pipeline.cli.keys import write_keyring
from pipeline.cli.topics import create_topics
from pipeline.domain.pseudonyms import KEY_BYTES, PURPOSES, Keyring
from pipeline.domain.rating import Rating
from pipeline.embedded.kafka import EmbeddedKafka
from pipeline.runtime.offline import Offline
from pipeline.wire.meter_events import Decoder
from pipeline.wire.sites import decode_sites
from tests.integration.stack import COMMAND, REPOSITORY, environment

SITES, QUARTERS = 12, 7
MINUTE_US = 60_000_000
BEGIN_US = 1_772_434_800_000_000  # 2026-03-02T07:00:00Z
STATES = ("Available", "Charging", "Faulted", "Available", "SuspendedEV", "Unavailable", "Finishing")
STATIONS = [f"CP-{site}-{number}" for site in range(SITES) for number in (1, 2, 3)]
DOCUMENT = json.dumps(
    [
        {
            "site_id": f"SITE-{site}", "name": "-", "time_zone": "Europe/Berlin", "country": "DE", "tariff_ids": ["T"],
            "stations": [
                {"station_id": station, "connectors": [
                    {"connector_id": number, "power_type": "AC", "max_power_w": 22_000} for number in (1, 2)
                ]} for station in STATIONS[site * 3:site * 3 + 3]
            ],
        }
        for site in range(SITES)
    ]
)  # fmt: skip
FACTORS = {Decimal("0.5"): Decimal(1), Decimal("0.25"): Decimal("1.1"), Decimal(0): Decimal("1.25")}
DYNAMIC = {
    "signal": "availability",
    "factors": [{"from_share": float(share), "factor": float(factor)} for share, factor in FACTORS.items()],
}
TARIFF = json.dumps(
    {
        "id": "T", "currency": "EUR", "x_price_mode": "FOLLOWS", "elements": [
            {"price_components": [
                {"type": "ENERGY", "price": 0.40, "vat": 19, "step_size": 1, "x_dynamic": {"availability": DYNAMIC}}
            ]}
        ],
    }
)  # fmt: skip
Record = tuple[bytes | None, bytes]


def statuses(quarter: int) -> list[Record]:
    """What all stations say in one quarter of an hour; a third of them says nothing after the first hour."""
    chance = random.Random(quarter)  # noqa: S311 - a fleet, not a secret
    found: list[Record] = []
    for number, station in enumerate(STATIONS):
        if quarter >= 4 and number % 3 == 0:
            continue
        for connector in (1, 2):
            event = {
                "type": "status_reported", "station_id": station, "connector_id": connector,
                "status": STATES[chance.randrange(len(STATES))],
                "event_time_us": BEGIN_US + (quarter * 15 + chance.randrange(10)) * MINUTE_US,
            }  # fmt: skip
            found.append((station.encode(), json.dumps(event).encode()))
    return found


def tick(quarter: int) -> Record:
    """Half a minute before the next slot begins."""
    at = BEGIN_US + (quarter + 1) * 15 * MINUTE_US - MINUTE_US // 2
    return None, json.dumps({"type": "clock_ticked", "time_us": at}).encode()


def session(until: int) -> list[Record]:
    """1.5 kWh in each quarter of an hour from the second one on, at a connector that reports no status."""
    common = {"station_id": "CP-0-2", "connector_id": 3, "transaction_id": "t1"}
    events: list[dict[str, object]] = [
        {"type": "meter_read", "event_time_us": BEGIN_US + quarter * 15 * MINUTE_US, "register_wh": quarter * 1_500}
        for quarter in range(1, until + 1)
    ]
    events[0]["type"], events[-1]["type"] = "session_started", "session_ended"
    return [(b"CP-0-2", json.dumps(common | event).encode()) for event in events]


def net(values: list[dict[str, int]]) -> Decimal:
    """What that session costs by the published values, a slot each; nothing in service: factor 1."""
    total = Decimal(0)
    for each in values:
        share = Decimal(each["free"]) / each["total"] if each["total"] else Decimal(1)
        factor = next(factor for least, factor in FACTORS.items() if share >= least)
        total += Decimal("1.5") * (Decimal("0.40") * factor).quantize(Decimal("0.0001"))
    return total


class Flow:
    """A broker, one worker of both stages that may be killed, and what stands in the topics."""

    def __init__(self, bootstrap: str, folder: Path) -> None:
        self.bootstrap, self.folder = bootstrap, folder
        self.producer = Producer({"bootstrap.servers": bootstrap, "partitioner": "murmur2_random"})
        write_keyring(folder / "keys.json")
        (folder / "sites.json").write_text(DOCUMENT)
        (folder / "tariffs.json").write_text(TARIFF)
        self.worker: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        settings = {
            "kafka": self.bootstrap, "keys_file": str(self.folder / "keys.json"), "tick_ms": "0",
            "sites_file": str(self.folder / "sites.json"), "checkpoint_ms": "100",
            "tariffs_file": str(self.folder / "tariffs.json"),
        }  # fmt: skip
        with (self.folder / "worker.log").open("ab") as log:
            self.worker = subprocess.Popen(  # noqa: S603 - our own command
                [*COMMAND, "worker", "--stage", "assemble", "--stage", "occupy"],
                env=environment(settings), cwd=REPOSITORY, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip

    def kill(self) -> None:
        if self.worker is not None:
            self.worker.kill()
            self.worker.wait(10)

    def write(self, topic: str, records: list[Record], partitions: int) -> None:
        for key, value in records:
            for number in range(partitions) if key is None else [-1]:
                self.producer.produce(topic, value, key, number)
        assert self.producer.flush(20) == 0

    def read(self, topic: str, enough: Callable[[list[Message]], bool], timeout_s: float = 60) -> list[Message]:
        """Committed records from the beginning, until there are enough, in order of partition and offset."""
        with reading(self.bootstrap, topic) as consumer:
            found: list[Message] = []
            until = time.monotonic() + timeout_s
            while not enough(found):
                assert time.monotonic() < until, (self.folder / "worker.log").read_text()[-3000:]
                found += [message for message in consumer.consume(1000, 0.1) if message.error() is None]
            return sorted(found, key=lambda message: (message.partition(), message.offset()))

    def await_changes(self, count: int) -> None:
        self.read(CONNECTOR_STATUS, lambda found: sum(map(changes, found)) >= count)


@contextmanager
def reading(bootstrap: str, topic: str) -> Iterator[Consumer]:
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap, "group.id": "test", "isolation.level": "read_committed",
            "enable.auto.commit": False,
        }
    )  # fmt: skip
    partitions = consumer.list_topics(topic, 10).topics[topic].partitions
    consumer.assign([TopicPartition(topic, number, 0) for number in partitions])
    try:
        yield consumer
    finally:
        consumer.close()


@pytest.fixture
def flow(tmp_path: Path) -> Iterator[Flow]:
    with EmbeddedKafka(tmp_path / "kafka", port=0) as broker:
        create_topics(AdminClient({"bootstrap.servers": broker.bootstrap}), declared_topics())
        flow = Flow(broker.bootstrap, tmp_path)
        try:
            yield flow
        finally:
            flow.kill()


def changes(message: Message) -> bool:
    return message.key() is not None


def test_signals_of_killed_workers_are_those_of_the_log(flow: Flow) -> None:
    keyring = Keyring({purpose: {"*": bytes(KEY_BYTES)} for purpose in PURPOSES})
    assembly = Offline(Assembly(Rating(keyring, decode_sites(DOCUMENT.encode(), "sites")), Decoder(keyring)))
    told: list[tuple[bytes, bytes | None]] = []
    flow.start()
    for quarter in range(QUARTERS):
        said = [*statuses(quarter), tick(quarter)]
        for key, value in said:
            told += [(o.key, o.value) for o in assembly.feed(key, value) if o.topic == CONNECTOR_STATUS]
        flow.write(topics.METER_EVENTS.name, said, 8)
        if quarter in (1, 5):
            flow.kill()  # while statuses pass
            flow.start()
        flow.await_changes(len(told))
        flow.write(CONNECTOR_STATUS, [tick(quarter)], 4)
        if quarter == 3:
            time.sleep(0.1)
            flow.kill()  # while values are published
            flow.start()

    found = flow.read(CONNECTOR_STATUS, lambda found: len(found) >= len(told) + 4 * QUARTERS)
    assert sorted((m.key(), m.value()) for m in found if changes(m)) == sorted(told)
    expected: dict[bytes, bytes | None] = {}
    for number in range(4):
        occupancy = Offline(Occupancy(keyring))
        for message in found:
            if message.partition() == number:
                outputs = occupancy.feed(message.key(), message.value() or b"")
                expected |= {output.key: output.value for output in outputs if output.topic == PRICE_SIGNALS}
    assert len(expected) == SITES * QUARTERS
    published = flow.read(PRICE_SIGNALS, lambda found: len({m.key() for m in found}) >= len(expected))
    assert set(Counter(message.key() for message in published).values()) == {1}
    assert {message.key(): message.value() for message in published} == expected

    priced = tick(QUARTERS - 1)[1][:-1] + b',"reference":[0,0,%d]}' % (1 + max(m.offset() or 0 for m in published))
    flow.write(topics.METER_EVENTS.name, [(None, priced), *session(QUARTERS)], 8)
    (record,) = flow.read(topics.SESSIONS.name, lambda found: len(found) >= 1)
    bill = json.loads(record.value() or b"")
    own = [json.loads(m.value() or b"") for m in published if (m.key() or b"").startswith(b"availability:SITE-0|")]
    own.sort(key=lambda each: str(each["start"]))
    assert (bill["bill_state"], bill["energy_wh"]) == ("FINAL", (QUARTERS - 1) * 1_500)
    assert Decimal(bill["total_excl_vat"]) == net(own[: QUARTERS - 1]) != Decimal("0.6") * (QUARTERS - 1)

    totals = [json.loads(message.value() or b"")["total"] for message in published]
    assert len(set(totals)) > 3, "the fleet is not always the same"
