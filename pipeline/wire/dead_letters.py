"""Records of the topic `dead-letters`: the original bytes are the value, and headers say why and where they were read.

Header values are UTF-8 text. No header holds a part of the original bytes, which may hold identifiers.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple

from pipeline.errors import InvalidMessage

Headers = Sequence[tuple[str, bytes]]

_REASON = re.compile(r"[A-Z][A-Z0-9_]{0,63}")
_LONGEST_DETAIL: Final = 1000


class DeadLetter(NamedTuple):
    """Why a record, or a part of it, was not used, and the place of the record."""

    reason: str
    detail: str
    topic: str
    partition: int
    offset: int


def why(reason: str, detail: str) -> Headers:
    """What a decoder or an assembler knows: `reason` is a code like MALFORMED_JSON, `detail` what to do."""
    return [("reason", reason.encode()), ("detail", detail[:_LONGEST_DETAIL].encode())]


def where(topic: str, partition: int, offset: int) -> Headers:
    """What the runtime adds: the place from which the record was read."""
    return [("topic", topic.encode()), ("partition", b"%d" % partition), ("offset", b"%d" % offset)]


def instead_of(value: bytes) -> Headers:
    """What stands for a value that is too large to be kept: somebody who has it can prove that it was this one."""
    return [("sha256", hashlib.sha256(value).hexdigest().encode()), ("length", b"%d" % len(value))]


def reason_of(headers: Headers) -> str:
    """The code that `why` put into `headers`; "" where it put none."""
    return next((value.decode() for name, value in headers if name == "reason"), "")


def headers_of(
    found: Sequence[tuple[str, str | bytes | None]] | Mapping[str, str | bytes | None] | None,
) -> list[tuple[str, bytes | None]]:
    """A record's headers as `decode` takes them, of whatever form Kafka's client has given."""
    pairs = found.items() if isinstance(found, Mapping) else found or ()
    return [(name, value.encode() if isinstance(value, str) else value) for name, value in pairs]


def decode(headers: Iterable[tuple[str, bytes | None]] | None) -> DeadLetter:
    """Of a record's headers, in any order; the last of a name wins. Raises InvalidMessage: not our dead letter."""
    found = {name: value for name, value in headers or () if value is not None}
    try:
        letter = DeadLetter(
            reason=found["reason"].decode(),
            detail=found["detail"].decode(),
            topic=found["topic"].decode(),
            partition=_count(found["partition"]),
            offset=_count(found["offset"]),
        )
    except KeyError as error:
        raise InvalidMessage("NOT_A_DEAD_LETTER", f"header {error.args[0]} is missing") from None
    except ValueError:  # UnicodeDecodeError is one
        raise InvalidMessage(
            "NOT_A_DEAD_LETTER", "a header is not UTF-8, or partition or offset is not a number"
        ) from None
    if not _REASON.fullmatch(letter.reason):
        raise InvalidMessage("NOT_A_DEAD_LETTER", "header reason is not a code like MALFORMED_JSON")
    return letter


def _count(text: bytes) -> int:
    if not text.isdigit() or len(text) > 19:
        raise ValueError("not a number")
    return int(text)
