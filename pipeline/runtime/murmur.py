"""Kafka's murmur2, which chooses the partition of a key. Called once per key, never per record."""

from __future__ import annotations

_SEED, _M, _MASK = 0x9747B28C, 0x5BD1E995, 0xFFFFFFFF


def partition_of(key: bytes, partitions: int) -> int:
    """The partition that the Java clients, and librdkafka with `murmur2_random`, choose for `key`."""
    return (murmur2(key) & 0x7FFFFFFF) % partitions


def murmur2(data: bytes) -> int:
    """org.apache.kafka.common.utils.Utils.murmur2 as an unsigned number."""
    length = len(data)
    value = (_SEED ^ length) & _MASK
    whole = length - length % 4
    for at in range(0, whole, 4):
        k = int.from_bytes(data[at : at + 4], "little") * _M & _MASK
        k = (k ^ k >> 24) * _M & _MASK
        value = (value * _M & _MASK) ^ k
    if whole < length:
        value ^= int.from_bytes(data[whole:], "little")
        value = value * _M & _MASK
    value = (value ^ value >> 13) * _M & _MASK
    return value ^ value >> 15
