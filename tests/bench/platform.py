"""The broker of a bench: one embedded Kafka, topics made anew for each measurement, a topic filled in advance."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Mapping
from itertools import islice
from pathlib import Path

from confluent_kafka import Consumer, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from pipeline import topics
from pipeline.cli.declared import declared_topics
from pipeline.cli.keys import write_keyring
from pipeline.cli.topics import create_topics
from pipeline.domain.pseudonyms import control_key
from pipeline.edge.producer import produce, signed
from pipeline.edge.uniform import Pace, bench_events
from pipeline.kafka_config import client_config, producer_config
from pipeline.settings import PREFIX, Settings
from pipeline.wire.control import Control

SOURCE = topics.METER_EVENTS.name
OUTPUTS = ("station-state", "session-updates", "sessions", "anomalies", "receipts", "dead-letters")
PEER_OUT = "bench-out"
PATIENCE_S = 30.0

HEADLINE = Pace(interval_s=10, pause_s=3600, spread=True, closing_h=0)
"""A reading every 10 s, as fast chargers do; with the pause of an hour, closed sessions leave the reorder window while
others charge, so that archiving is part of what is measured."""


class Platform:
    """A running broker at `kafka`, and the documents of `stations` uniform stations under `folder`."""

    def __init__(self, kafka: str, folder: Path) -> None:
        self.settings = Settings(kafka=kafka)
        self.folder = folder
        self.partitions = next(t.partitions for t in declared_topics() if t.name == SOURCE)
        self._admin = AdminClient(client_config(self.settings) | {"log_level": 0})
        if not (folder / "keys.json").exists():
            write_keyring(folder / "keys.json")

    def environment(self, **more: str) -> dict[str, str]:
        """Settings of a worker, as environment variables."""
        return {
            f"{PREFIX}KAFKA": self.settings.kafka,
            f"{PREFIX}KEYS_FILE": str(self.folder / "keys.json"),
            f"{PREFIX}SITES_FILE": str(self.folder / "sites.json"),
            f"{PREFIX}TARIFFS_FILE": str(self.folder / "tariffs.json"),
        } | {f"{PREFIX}{name}": value for name, value in more.items()}

    def renew(self, names: Iterable[str]) -> None:
        """Empties topics: deleted and made again, as declared."""
        wanted = set(names)
        existing = wanted & set(self._admin.list_topics(timeout=10).topics)
        if existing:
            for future in self._admin.delete_topics(sorted(existing)).values():
                future.result(PATIENCE_S)
        deadline = time.monotonic() + PATIENCE_S
        while wanted & set(self._admin.list_topics(timeout=10).topics):
            if time.monotonic() > deadline:
                raise TimeoutError(f"topics are not deleted after {PATIENCE_S:.0f} s: {sorted(existing)}")
            time.sleep(0.1)
        while True:
            try:
                create_topics(self._admin, [topic for topic in declared_topics() if topic.name in wanted])
                return
            except KafkaException:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.2)

    def renew_out(self) -> None:
        """The topic of the peers' outputs."""
        if PEER_OUT in self._admin.list_topics(timeout=10).topics:
            return
        for future in self._admin.create_topics([NewTopic(PEER_OUT, self.partitions, 1)]).values():
            future.result(PATIENCE_S)

    def fill(self, stations: int, sessions: int, pace: Pace, limit: int | None = None) -> Mapping[int, int]:
        """Writes the documents and a new source topic; returns the end of each partition."""
        write_documents(self.folder, stations)
        self.renew([SOURCE, *OUTPUTS])
        records = ((0, key, value) for key, value in islice(bench_events(stations, sessions, pace), limit))
        control = Control(control_key((self.folder / "keys.json").read_bytes(), "keyring"), SOURCE)
        report = produce(signed(records, control), SOURCE, producer_config(self.settings) | {"linger.ms": 50})
        if report.failed:
            raise RuntimeError(f"{report.failed} records were refused: {report.first_error}")
        return self.ends()

    def ends(self) -> dict[int, int]:
        consumer = Consumer(client_config(self.settings) | {"group.id": "bench-ends", "log_level": 0})
        try:
            return {
                number: consumer.get_watermark_offsets(TopicPartition(SOURCE, number), 10)[1]
                for number in range(self.partitions)
            }
        finally:
            consumer.close()


def write_documents(folder: Path, stations: int, per_site: int = 100) -> None:
    """Sites of `per_site` AC stations, and one tariff: two windows a day, energy and idle time, VAT.

    The day begins at 02:15 local, in the middle of the bench's second round, so that bills have lines of both windows.
    """
    day = {"start_time": "02:15", "end_time": "22:00"}
    tariff = {
        "country_code": "DE",
        "party_id": "CHL",
        "id": "BENCH",
        "currency": "EUR",
        "elements": [
            {"price_components": [{"type": "ENERGY", "price": 0.45, "vat": 19.0, "step_size": 1}], "restrictions": day},
            {"price_components": [{"type": "ENERGY", "price": 0.29, "vat": 19.0, "step_size": 1}]},
            {"price_components": [{"type": "PARKING_TIME", "price": 1.2, "vat": 19.0, "step_size": 60}]},
        ],
        "last_updated": "2026-01-01T00:00:00Z",
    }
    sites = [
        {
            "site_id": f"BENCH-{first // per_site:04d}",
            "name": f"Bench {first // per_site}",
            "time_zone": "Europe/Berlin",
            "country": "DEU",
            "tariff_ids": ["BENCH"],
            "stations": [
                {
                    "station_id": f"B{number:05d}",
                    "connectors": [{"connector_id": 1, "power_type": "AC", "max_power_w": 22_000}],
                }
                for number in range(first, min(first + per_site, stations))
            ],
        }
        for first in range(0, stations, per_site)
    ]
    (folder / "tariffs.json").write_text(json.dumps([tariff]), "utf-8")
    (folder / "sites.json").write_text(json.dumps(sites), "utf-8")
