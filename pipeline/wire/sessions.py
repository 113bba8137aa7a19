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


def decode_update(value: bytes) -> SessionUpdate:
    """Raises InvalidMessage for anything that is not a record of topic `session-updates`."""
    try:
        return _UPDATE.decode(value)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidMessage("MALFORMED_UPDATE", str(error)) from error
