"""Format of keys that are set aside: a mark, and their records in the topic `quarantine` until a release.

The mark says up to which offset outputs are published. It is in the changelog beside the state record (key: the key,
two zero bytes) and in the topic under the key itself. The topic holds the records from that offset on and the ticks
between them, in the partition of the source's number. Header values are UTF-8 text.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import msgspec
from msgspec import field

from pipeline.errors import InvalidMessage

Headers = Sequence[tuple[str, bytes]]

SEPARATOR = b"\x00"
MARK = SEPARATOR
"""Name of the mark among the archive records of its key; no state has an archive record of this name."""
RELEASE, SIGNATURE = "release", "signature"
"""Headers of the record without a value that releases its key: one of WAYS, and who may (wire/control.py)."""
WAYS = (b"", b"afresh")
"""Go on with the state as it was recorded, or with an empty one because the record cannot be read."""


class Order(NamedTuple):
    """To release a key, as it is sent."""

    way: bytes
    signature: bytes = b""


class Releasing(msgspec.Struct, frozen=True):
    """An order that is being carried out."""

    way: str
    at_ms: int
    offset: int
    """Broker time and source offset of the order."""


class Mark(msgspec.Struct, frozen=True):
    """Why and since when a key is set aside."""

    reason: str
    at_ms: int
    """Broker time of the record at which it was set aside."""
    published: int
    """Source offset below which outputs are published: records below it are applied again without outputs."""
    through: int
    """Source offset below which its records are in the state record."""
    watermark: tuple[int, ...] = field(name="view", default=())
    """How much of the reference data was visible then."""
    releasing: Releasing | None = None
    """The release in progress: some of the kept records may be applied already."""


class Kept:
    """A record or a tick (without a key) of the source as it was read; implements runtime.partition.ports.Message."""

    __slots__ = ("_at_ms", "_key", "_offset", "_value")

    def __init__(self, key: bytes | None, value: bytes | None, offset: int, at_ms: int) -> None:
        self._key = key
        self._value = value
        self._offset = offset
        self._at_ms = at_ms

    def key(self) -> bytes | None:
        return self._key

    def value(self) -> bytes | None:
        return self._value

    def offset(self) -> int:
        return self._offset

    def timestamp(self) -> tuple[int, int]:
        """As Kafka's client gives it: 1 is a time of the producer; ms UTC."""
        return 1, self._at_ms

    def headers(self) -> None:
        return None


def encode_mark(mark: Mark) -> bytes:
    return msgspec.json.encode(mark)


def decode_mark(value: bytes) -> Mark:
    """Raises InvalidMessage."""
    try:
        return msgspec.json.decode(value, type=Mark)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidMessage("MALFORMED_MARK", str(error)) from error


def kept_key(key: bytes, record: Kept) -> bytes:
    """Offset and time: the offsets of a recreated source start again."""
    return b"%s%s%020d %d" % (key, SEPARATOR, record.offset(), record.timestamp()[1])


def headers_of(source: str, record: Kept, kind: str = "") -> Headers:
    """What a kept record needs beside key and value to be applied later. `kind`: mark; else it follows."""
    kind = kind or ("tick" if record.key() is None else "record")
    numbers = [("offset", b"%d" % record.offset()), ("at_ms", b"%d" % record.timestamp()[1])]
    return [("topic", source.encode()), *numbers, ("kind", kind.encode())]


def decode_kept(key: bytes, value: bytes, headers: Iterable[tuple[str, bytes | None]], source: str) -> Kept | None:
    """A record of the key that is set aside; None: a mark, or of another source.

    Raises InvalidMessage for what is none of ours.
    """
    found = {name: text for name, text in headers if text is not None}
    owner, separator, _ = key.partition(SEPARATOR)
    if not separator or found.get("topic") != source.encode():
        return None
    try:
        is_tick = found["kind"] == b"tick"
        return Kept(None if is_tick else owner, value, int(found["offset"]), int(found["at_ms"]))
    except (KeyError, ValueError) as error:
        raise InvalidMessage("MALFORMED_QUARANTINE", "a header is missing or no number") from error


def release_of(value: bytes | None, headers: Iterable[tuple[str, bytes]] | None) -> Order | None:
    """What the record orders for its key; None: it is no release."""
    found = dict(headers or ()) if value is None else {}
    way = found.get(RELEASE)
    return Order(way, found.get(SIGNATURE, b"")) if way in WAYS else None
