"""Who may move time and money: clock ticks and decisions about bills carry a keyed signature (ops/decisions/0017).

Whoever can write to a topic can write a tick or a decision; only who has the key of purpose `control` can sign one.
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
        """Whether unsigned records count, as in logs from before there were signatures; returns what was so before."""
        before, self._unsigned_counts = self._unsigned_counts, unsigned
        return before

    def sign(self, value: bytes) -> bytes:
        """The same tick or decision with a signature; as it is without a key."""
        if self._key is None:
            return value
        event = msgspec.json.decode(value, type=ClockTicked | SignedDecision)
        event.signature = self._signature(self._key, event)
        return msgspec.json.encode(event)

    def check(self, event: ClockTicked | SignedDecision) -> bool:
        """Is it signed? Raises InvalidMessage: BAD_SIGNATURE, or NOT_SIGNED where it must be."""
        if self._key is None:
            return False
        if event.signature:
            if hmac.compare_digest(event.signature.encode(), self._signature(self._key, event).encode()):
                return True
            raise InvalidMessage("BAD_SIGNATURE", "not made with the key of purpose control of this keyring")
        if not self._unsigned_counts:
            raise InvalidMessage(
                "NOT_SIGNED", "who moves time or money signs: give the command the keyring (CHARGELINE_KEYS_FILE)"
            )
        return False

    def _signature(self, key: bytes, event: ClockTicked | SignedDecision) -> str:
        """Over the topic and the content in our own spelling, so that other white space is the same content."""
        content = msgspec.json.encode(structs.replace(event, signature=""))
        return hmac.digest(key, b"control\0" + self._topic + b"\0" + content, "sha256").hex()


def plain(event: SignedDecision) -> BillDecided:
    """Without its signature, as it is kept."""
    return msgspec.convert(event, BillDecided, from_attributes=True)
