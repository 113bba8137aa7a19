"""Who may move time and money: clock ticks, decisions about bills and releases of stations carry a keyed signature.

Whoever can write to a topic can write a tick or a decision; only who has the key of purpose `control` can sign one
(ops/decisions/0017).
"""

from __future__ import annotations

import hmac

import msgspec
from msgspec import structs

from pipeline.domain.events import BillDecided, ClockTicked
from pipeline.errors import InvalidMessage


class SignedDecision(BillDecided, tag="bill_decided", kw_only=True, omit_defaults=True, gc=False):
    """A decision as it is sent."""

    signature: str = ""


class Control:
    """Signs and checks the records of one topic. Without a key (offline commands) nothing is checked."""

    def __init__(self, key: bytes | None, topic: str) -> None:
        self._key = key
        self._topic = topic.encode()
        self._unsigned_counts = True

    def trust(self, unsigned: bool) -> bool:
        """Sets whether unsigned records count, as in logs without signatures; returns the previous value."""
        before, self._unsigned_counts = self._unsigned_counts, unsigned
        return before

    def sign(self, value: bytes) -> bytes:
        """The same tick or decision with a signature; as it is without a key."""
        if self._key is None:
            return value
        event = msgspec.json.decode(value, type=ClockTicked | SignedDecision)
        event.signature = self._signature(self._key, _content(event))
        return msgspec.json.encode(event)

    def check(self, event: ClockTicked | SignedDecision) -> bool:
        """Whether the record is signed. Raises InvalidMessage: BAD_SIGNATURE, or NOT_SIGNED where it must be signed."""
        return self._check(event.signature, _content(event))

    def sign_release(self, key: bytes, way: bytes, at_ms: int) -> bytes:
        """Of the station that was set aside at this broker time (wire/quarantine.py); empty without a key."""
        return b"" if self._key is None else self._signature(self._key, _release(key, way, at_ms)).encode()

    def check_release(self, key: bytes, way: bytes, at_ms: int, signature: bytes) -> None:
        """Raises InvalidMessage as `check`. One that was signed for an earlier time is a wrong one."""
        self._check(signature.decode(errors="replace"), _release(key, way, at_ms))

    def _check(self, signature: str, content: bytes) -> bool:
        if self._key is None:
            return False
        if signature:
            if hmac.compare_digest(signature.encode(), self._signature(self._key, content).encode()):
                return True
            raise InvalidMessage("BAD_SIGNATURE", "not made with the key of purpose control of this keyring")
        if not self._unsigned_counts:
            raise InvalidMessage(
                "NOT_SIGNED", "who moves time or money signs: give the command the keyring (CHARGELINE_KEYS_FILE)"
            )
        return False

    def _signature(self, key: bytes, content: bytes) -> str:
        return hmac.digest(key, b"control\0" + self._topic + b"\0" + content, "sha256").hex()


def _content(event: ClockTicked | SignedDecision) -> bytes:
    """In our own spelling, so that other white space is the same content."""
    return msgspec.json.encode(structs.replace(event, signature=""))


def _release(key: bytes, way: bytes, at_ms: int) -> bytes:
    return b"release\0%s\0%s\0%d" % (key, way, at_ms)


def plain(event: SignedDecision) -> BillDecided:
    """Without its signature, as it is kept."""
    return msgspec.convert(event, BillDecided, from_attributes=True)
