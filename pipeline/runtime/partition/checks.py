"""Checks of records and outputs that need no decoding. Without them Kafka's producer would end the worker."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.errors import InvalidMessage
from pipeline.runtime.logic import Output
from pipeline.runtime.murmur import partition_of
from pipeline.runtime.partition.changelog import LONGEST_KEY, SEPARATOR
from pipeline.topics import LARGEST, LARGEST_RECORD

TOO_LARGE, NO_VALUE = "TOO_LARGE", "EMPTY_VALUE"
UNBOUNDED = 1 << 62


class TooLarge(Exception):
    """A state, or an output of a key, is above its bound: the key is set aside. The text says how large."""


def check_key(key: bytes, number: int, partitions: int) -> None:
    """Raises InvalidMessage for a key that no state can have, or that belongs to another partition than `number`."""
    if not key or len(key) > LONGEST_KEY or SEPARATOR in key or not _is_text(key):
        raise InvalidMessage("INVALID_KEY", "a key is 1 to 1024 bytes of UTF-8 without a zero byte")
    if partition_of(key, partitions) != number:
        raise InvalidMessage(
            "WRONG_PARTITION", "set the producer's partitioner to murmur2 (librdkafka: partitioner=murmur2_random)"
        )


def check_value(value: bytes | None) -> bytes:
    """Raises InvalidMessage for a missing value and for one above the bound."""
    if value is None:
        raise InvalidMessage(NO_VALUE, "the record has no value; only compacted topics have tombstones")
    if len(value) > LARGEST_RECORD:
        raise InvalidMessage(
            TOO_LARGE, f"a value of {len(value)} bytes, at most {LARGEST_RECORD} are taken; it is not kept"
        )
    return value


def fits(outputs: Sequence[Output]) -> None:
    """Raises TooLarge for an output that is too large for its topic."""
    for topic, _, value, _ in outputs:
        if value is not None and len(value) > LARGEST.get(topic, UNBOUNDED):
            raise TooLarge(f"an output of {len(value)} bytes to {topic}, the bound is {LARGEST[topic]}")


def _is_text(key: bytes) -> bool:
    try:
        key.decode()
    except UnicodeDecodeError:
        return False
    return True
