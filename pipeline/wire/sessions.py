"""Bytes of the output topics: deterministic JSON, the same facts give the same bytes.

A StrippedSession is encoded once; its last three fields (revision, its reason, the hash of everything before them) are
put on afterwards, because whether there is a new revision depends on that hash.
"""

from __future__ import annotations

from hashlib import sha256

import msgspec

from pipeline.domain.outputs import Alert, SessionUpdate, StrippedSession
from pipeline.errors import InvalidMessage

_ENCODER = msgspec.json.Encoder()
_SESSION = msgspec.json.Decoder(StrippedSession)
_ALERT = msgspec.json.Decoder(Alert)
_UPDATE = msgspec.json.Decoder(SessionUpdate)
_TAIL = b',"revision":0,"revision_reason":"","content_hash":""}'


def encode_facts(record: StrippedSession) -> tuple[bytes, str]:
    """All fields before the revision, and their hash. `record` has no revision yet."""
    encoded = _ENCODER.encode(record)
    if not encoded.endswith(_TAIL):
        raise ValueError("a StrippedSession is hashed before it gets a revision, and its last fields are the tail")
    facts = encoded[: -len(_TAIL)]
    return facts, sha256(facts).hexdigest()[:32]


def with_revision(facts: bytes, content_hash: str, revision: int, reason: str) -> bytes:
    """The record of topic `sessions`. `reason` is one of our own codes."""
    return b'%s,"revision":%d,"revision_reason":"%s","content_hash":"%s"}' % (
        facts,
        revision,
        reason.encode(),
        content_hash.encode(),
    )


def decode_session(value: bytes) -> StrippedSession:
    """Raises InvalidMessage for anything that is not a record of topic `sessions`."""
    try:
        return _SESSION.decode(value)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidMessage("MALFORMED_SESSION", str(error)) from error


def encode_alert(alert: Alert) -> bytes:
    return _ENCODER.encode(alert)


def decode_alert(value: bytes) -> Alert:
    """Raises InvalidMessage for anything that is not a record of topic `anomalies`."""
    try:
        return _ALERT.decode(value)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidMessage("MALFORMED_ALERT", str(error)) from error


def encode_update(update: SessionUpdate) -> bytes:
    return _ENCODER.encode(update)


class LiveTemplate:
    """The fixed parts of a session's live updates, so that each next one is put together in 1 us.

    Writes what `encode_update` writes; energy, costs and times are known, or the general way is taken.
    """

    __slots__ = ("_head", "_tail", "key")

    def __init__(self, update: SessionUpdate) -> None:
        encoded = _ENCODER.encode(update).decode()
        self.key = update.session_id.encode()
        self._head = encoded[: encoded.index(_AS_OF) + len(_AS_OF)]
        self._tail = encoded[encoded.index(_CURRENCY) :]

    def encode(
        self, as_of_us: int, energy_wh: int, power_w: int, soc_percent: int, state: str, cost: tuple[str, str]
    ) -> bytes:
        """`power_w` and `soc_percent` below 0: not given. `state` is one of our own words."""
        power = power_w if power_w >= 0 else "null"
        soc = soc_percent if soc_percent >= 0 else "null"
        return (
            f'{self._head}{as_of_us},"energy_wh":{energy_wh},"power_w":{power},"soc_percent":{soc},"state":"{state}",'
            f'"running_cost_excl_vat":"{cost[0]}","running_cost_incl_vat":"{cost[1]}"{self._tail}'
        ).encode()


_AS_OF = '"as_of_us":'
_CURRENCY = ',"currency":'


def decode_update(value: bytes) -> SessionUpdate:
    """Raises InvalidMessage for anything that is not a record of topic `session-updates`."""
    try:
        return _UPDATE.decode(value)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidMessage("MALFORMED_UPDATE", str(error)) from error
