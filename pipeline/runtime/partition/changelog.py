"""Format of changelog records and of the metadata of a committed offset.

A main record (key: the key of the state) is a header and what Logic.dump made; an archive record (key: the state's
key, a zero byte, the name) is what the Logic put. Metadata names the oldest offset that is not in the records.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from pipeline.runtime.logic import Watermark

FORMAT = 1
_HEADER = struct.Struct(">BHQ")
SEPARATOR = b"\x00"
LONGEST_KEY = 1024


class UnreadableState(Exception):
    """This version cannot read a changelog record or an offset's metadata: the worker stops and never guesses."""


class StateRecord(NamedTuple):
    version: int
    """Codec version of the Logic that dumped the body."""
    through: int
    """All records of the key below this source offset are in the state."""
    body: bytes


def encode_state(record: StateRecord) -> bytes:
    return _HEADER.pack(FORMAT, record.version, record.through) + record.body


def decode_state(value: bytes) -> StateRecord:
    """Raises UnreadableState when the header is of another format."""
    if len(value) < _HEADER.size or value[0] != FORMAT:
        raise UnreadableState(f"changelog record of format {value[:1].hex() or 'none'}, this version reads {FORMAT}")
    _, version, through = _HEADER.unpack_from(value)
    return StateRecord(version, through, value[_HEADER.size :])


def archive_key(key: bytes, name: bytes) -> bytes:
    return key + SEPARATOR + name


def split_key(key: bytes) -> tuple[bytes, bytes | None]:
    """The state's key and the archive name, which is None for a main record; without a key: a fact of the partition."""
    owner, separator, name = key.partition(SEPARATOR)
    return owner, name if separator else None


def encode_metadata(oldest: int, watermark: Watermark = ()) -> str:
    """The metadata of a committed offset: what a restore needs beside the offset itself."""
    return ":".join([str(FORMAT), str(oldest), *([",".join(map(str, watermark))] if watermark else [])])


ACCEPTED = "accepted"
"""Metadata of an offset that an operator has set: the source was replaced, offsets in state records are void."""


def decode_metadata(metadata: str | None) -> tuple[int | None, Watermark]:
    """The oldest offset (None: a tool set the offset without metadata) and the watermark at its record.

    Raises UnreadableState.
    """
    if not metadata or metadata == ACCEPTED:
        return None, ()
    version, *parts = metadata.split(":")
    numbers = [part for each in parts for part in each.split(",")]
    if version != str(FORMAT) or not 1 <= len(parts) <= 2 or not all(number.isdecimal() for number in numbers):
        raise UnreadableState(
            "metadata of the committed offset is not of this version; start the version that wrote it"
        )
    return int(numbers[0]), tuple(map(int, numbers[1:]))
