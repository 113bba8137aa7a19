"""A second broker beside the embedded one, so that a partition can lose its only leader while the rest goes on."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

import confluent_kafka as ck

from pipeline.embedded.kafka import BROKER, HOST, EmbeddedKafka


class SecondBroker(EmbeddedKafka):
    """Node 2 of the cluster of `first`, which must run, and be the controller."""

    def __init__(self, first: EmbeddedKafka, data: Path) -> None:
        super().__init__(data, port=0, heap_mb=512)
        self._first = first

    def _configure(self) -> Path:
        own = dict(BROKER) | {
            "process.roles": "broker",
            "node.id": 2,
            "controller.quorum.voters": _property(self._first.data / "server.properties", "controller.quorum.voters"),
            "listeners": f"PLAINTEXT://{HOST}:{self.port}",
            "advertised.listeners": f"PLAINTEXT://{HOST}:{self.port}",
            "listener.security.protocol.map": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT",
            "log.dirs": str(self.data / "log"),
        }
        config = self.data / "server.properties"
        config.write_text("".join(f"{name}={value}\n" for name, value in own.items()), "utf-8")
        return config

    def _format(self, java: list[str], config: Path) -> None:
        cluster = _property(self._first.data / "log" / "meta.properties", "cluster.id")
        tool = [*java, "kafka.tools.StorageTool", "format", "-t", cluster, "-c", str(config)]
        subprocess.run(tool, capture_output=True, check=True)  # noqa: S603 - our own command


def settle_coordinators(bootstrap: str) -> None:
    """Makes Kafka's own topics now, while there is one broker: a test takes away leaders of our topics only."""
    producer = ck.Producer({"bootstrap.servers": bootstrap, "transactional.id": "settle"})
    producer.init_transactions(60)
    consumer = ck.Consumer({"bootstrap.servers": bootstrap, "group.id": "settle"})
    until = time.monotonic() + 60
    while True:
        try:
            consumer.committed([ck.TopicPartition("settle", 0)], 10)
            break
        except ck.KafkaException:  # the coordinator is just being made
            if time.monotonic() > until:
                raise
            time.sleep(0.2)
    consumer.close()


def _property(file: Path, name: str) -> str:
    lines = (line.partition("=") for line in file.read_text("utf-8").splitlines())
    return next(value for key, _, value in lines if key == name)
