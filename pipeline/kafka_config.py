"""Settings as librdkafka properties: what every Kafka client of this package starts from.

No client is made here. Security properties come from the operator's properties file and never appear in an error.
"""

from __future__ import annotations

from pathlib import Path

from pipeline.errors import WrongUsage
from pipeline.settings import Settings
from pipeline.topics import LARGEST_RECORD

PARTITIONER = "murmur2_random"
"""Kafka's own: librdkafka's default puts the same key elsewhere (ops/spec/architecture.md, section 2)."""

RECORD_OVERHEAD = 242_880
"""Headers of a dead letter and what Kafka adds: with it a batch of one largest record is 5 MiB."""


def client_config(settings: Settings) -> dict[str, str | int | float | bool]:
    """Properties of any client: the bootstrap servers and the operator's file, which wins.

    Raises WrongUsage that names the file and line of a property that cannot be read.
    """
    config: dict[str, str | int | float | bool] = {"bootstrap.servers": settings.kafka}
    if settings.kafka_properties_file is not None:
        config.update(read_properties(settings.kafka_properties_file))
    return config


def producer_config(settings: Settings) -> dict[str, str | int | float | bool]:
    """Properties of an idempotent producer whose records land where every Java client would put them."""
    return client_config(settings) | {
        "enable.idempotence": True,
        "acks": "all",
        "partitioner": PARTITIONER,
        "compression.type": "lz4",
        "linger.ms": 10,
        "message.max.bytes": LARGEST_RECORD + RECORD_OVERHEAD,
        "queue.buffering.max.messages": 500_000,
    }


def read_properties(file: Path) -> dict[str, str]:
    """`name=value` lines of a Java-style properties file; `#` begins a comment line. Raises WrongUsage."""
    try:
        lines = file.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise WrongUsage(
            f"{file}: cannot be read ({type(error).__name__}); see CHARGELINE_KAFKA_PROPERTIES_FILE"
        ) from error
    properties: dict[str, str] = {}
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        name, separator, value = line.partition("=")
        if not separator or not name.strip():
            raise WrongUsage(f"{file}:{number}: expected name=value")  # without the text: it may be a secret
        properties[name.strip()] = value.strip()
    return properties
