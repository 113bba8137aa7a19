"""Builders for the frames of a charger that no log has: every identifier in them is invented."""

from __future__ import annotations

import hashlib
import json

from pipeline.domain.events import ChargeEvent
from pipeline.domain.frames import OcppFrame
from pipeline.domain.pseudonyms import PURPOSES, Keyring
from pipeline.wire.messages import Meaning
from pipeline.wire.meter_events import Decoder
from pipeline.wire.ocpp import Calls

KEYS = Keyring({purpose: {"*": hashlib.sha256(purpose.encode()).digest()} for purpose in PURPOSES})
STATION = "SIM-00007"
RECEIVED = "2026-03-02T08:00:05Z"
RECEIVED_US = 1_772_438_405_000_000
NOON_US = 1_772_452_800_000_000
NOON = "2026-03-02T12:00:00Z"


def call(action: str, payload: object, message_id: str = "m-1", **envelope: object) -> bytes:
    """A CALL of the station, in its envelope."""
    return enveloped([2, message_id, action, payload], **envelope)


def answer(payload: object, message_id: str = "m-1", **envelope: object) -> bytes:
    """A CALLRESULT of the central system."""
    return enveloped([3, message_id, payload], **{"direction": "csms->cp", **envelope})


def enveloped(frame: object, **envelope: object) -> bytes:
    fields = {"station_id": STATION, "received_at": RECEIVED, "direction": "cp->csms", "frame": frame, **envelope}
    return json.dumps({name: value for name, value in fields.items() if value is not None}).encode()


def interpreted(value: bytes, calls: Calls | None = None) -> Meaning:
    """What one record means for a station with these open calls."""
    decoder = Decoder(KEYS)
    frame = decoder.decode(value)
    assert isinstance(frame, OcppFrame)
    return decoder.interpret(Calls() if calls is None else calls, frame)


def events(value: bytes, calls: Calls | None = None) -> list[ChargeEvent]:
    """The events of a record of which nothing may be refused."""
    meaning = interpreted(value, calls)
    assert meaning.quarantined == []
    return meaning.events
