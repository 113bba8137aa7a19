"""Records of the topic `connector-status` <-> ConnectorChanged, and the clock ticks among them."""

from __future__ import annotations

from typing import Final

import msgspec

from pipeline.domain.events import ClockTicked
from pipeline.domain.outputs import ConnectorChanged
from pipeline.wire.refusals import DECODING_FAILED, refusal

_ENCODER: Final = msgspec.json.Encoder()
_DECODER: Final[msgspec.json.Decoder[ConnectorChanged | ClockTicked]] = msgspec.json.Decoder(
    ConnectorChanged | ClockTicked
)


def encode_change(change: ConnectorChanged) -> bytes:
    return _ENCODER.encode(change)


def decode_status(value: bytes) -> ConnectorChanged | ClockTicked:
    """Raises InvalidMessage for anything else: MALFORMED_JSON, SCHEMA_VIOLATION."""
    try:
        return _DECODER.decode(value)
    except DECODING_FAILED as error:
        raise refusal(error, "connector status") from None
