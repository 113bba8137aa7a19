"""OCPP-J frames -> events: which version it is, which answer belongs to which call.

A frame names neither its station nor its direction, and an answer does not name its action, so the meaning of a frame
depends on the calls that are still open: `Calls`, a part of the station's state. It holds keyed hashes only. A refused
frame leaves it as it was. Pairing is in calls.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, assert_never

import msgspec

from pipeline.domain.events import ChargeEvent, SessionConfirmed, SessionStarted, Sign, StationSeen
from pipeline.domain.frames import Call, CallError, CallResult, CallResultError, OcppFrame, Send
from pipeline.errors import InvalidMessage
from pipeline.wire import ocpp16, ocpp201
from pipeline.wire.calls import (
    KEEP_US,
    Calls,
    Confirmation,
    deadline_us,
    expire,
    note_answer,
    note_call,
    note_error,
    note_link,
    note_start,
)
from pipeline.wire.identifiers import Identifiers
from pipeline.wire.messages import Decode, Decoders, Meaning, Message
from pipeline.wire.timestamps import micros

__all__ = ["CENTRAL", "KEEP_US", "STATION", "Calls", "deadline_us", "expire", "interpret"]

STATION: Final = "cp->csms"
CENTRAL: Final = "csms->cp"

SIGNS: Final[Mapping[str, Sign]] = {"Heartbeat": "heartbeat", "Authorize": "authorize", "BootNotification": "boot"}
"""Actions that only prove that the station lives; every action that is in no table is `other`. The tag of Authorize is
not read: a refused one is personal data too, and an accepted one comes again with the start. Nor are serial number,
iccid and imsi of BootNotification, which says nothing about open transactions."""


VERSIONS: Final[Mapping[str, Decoders]] = {
    "ocpp1.6": ocpp16.DECODERS,
    "ocpp1.6j": ocpp16.DECODERS,
    "ocpp2.0": ocpp201.DECODERS,
    "ocpp2.0.1": ocpp201.DECODERS,
    "ocpp2.1": ocpp201.DECODERS,
}
"""Subprotocol, in any case of letters, also as people misspell it. OCPP 2.1 has the messages of 2.0.1 with more fields;
OCPP 2.0 was withdrawn, so whoever says it means 2.0.1."""


def interpret(calls: Calls, frame: OcppFrame, identifiers: Identifiers) -> Meaning:
    """Raises InvalidMessage (`calls` unchanged). No event: a frame of the central system, which proves nothing about
    the station; every frame of the station gives at least a StationSeen."""
    received = _received(frame)
    meaning = _interpret(calls, frame, received, identifiers)
    if not meaning.events and frame.direction == STATION:
        meaning.events.append(_seen(frame, received, "other"))
    for event in meaning.events:
        identifiers.conceal(event)
    return meaning


def _interpret(calls: Calls, frame: OcppFrame, received: int, identifiers: Identifiers) -> Meaning:
    sent = frame.frame
    if sent is None:
        note_link(calls, received, up=frame.link == "up")
        return Meaning([_seen(frame, received, "link_up" if frame.link == "up" else "link_down")], [])
    if not frame.direction:
        raise InvalidMessage("SCHEMA_VIOLATION", f"OCPP envelope: direction must be {STATION} or {CENTRAL}")
    from_station = frame.direction == STATION
    if isinstance(sent, (Call, Send)):
        return _called(calls, frame, sent, received, identifiers)
    meaning = Meaning([], [])
    key = identifiers.call_key(frame.station_id, CENTRAL if from_station else STATION, sent.message_id)
    match sent:
        case CallResult(payload=payload):
            found = note_answer(calls, key, received, lambda: _confirmation(frame, received, payload, identifiers))
            if found is not None:
                meaning.events.append(_confirmed(frame, *found))
        case CallError():
            note_error(calls, key, received)
        case CallResultError():
            pass  # what was answered stays so
        case _:
            assert_never(sent)
    if from_station:
        meaning.events.append(_seen(frame, received, "answer"))
    return meaning


def _called(calls: Calls, frame: OcppFrame, sent: Call | Send, received: int, identifiers: Identifiers) -> Meaning:
    """`calls` change only after the message was understood."""
    key = identifiers.call_key(frame.station_id, frame.direction, sent.message_id)
    meaning = Meaning([], [])
    if frame.direction == STATION:
        message = Message(frame.station_id, frame.clock, received, sent.action, sent.payload)
        meaning = _decoder(frame, sent)(message)
    if isinstance(sent, Send):
        return meaning
    started = meaning.events[0] if meaning.events else None
    if type(started) is not SessionStarted or started.transaction_id is not None:
        note_call(calls, key, received)
        return meaning
    started.call = _start_name(frame, sent, started, identifiers)
    answer = note_start(calls, key, started.call, received)
    if answer is not None:
        meaning.events.append(_confirmed(frame, started.call, answer))
    return meaning


# --- pairing ---------------------------------------------------------------------------------------------------------


def _start_name(frame: OcppFrame, call: Call, started: SessionStarted, identifiers: Identifiers) -> str:
    """Of a start without an id: message id and content together. The same start sent again has the same name, another
    one under the same message id (they restart with the station) has another. Without a time of its own its content
    says nothing of when."""
    at = None if "TIME_ASSUMED" in started.codes else started.event_time_us
    content = [call.message_id, started.connector_id, at, started.register_wh, started.token]
    return identifiers.call_key(frame.station_id, frame.direction, msgspec.json.encode(content).decode())


def _confirmation(frame: OcppFrame, received: int, payload: msgspec.Raw, identifiers: Identifiers) -> Confirmation:
    """Raises InvalidMessage."""
    sent = ocpp16.start_confirmation(payload)
    name = sent.transaction()
    return Confirmation(
        received,
        None if name is None else identifiers.transaction(frame.station_id, name),
        sent.accepted(),
        sent.is_one(),
    )


def _confirmed(frame: OcppFrame, name: str, answer: Confirmation) -> ChargeEvent:
    return SessionConfirmed(
        station_id=frame.station_id,
        clock=frame.clock,
        event_time_us=answer.received_us,
        received_time_us=answer.received_us,
        call=name,
        transaction_id=answer.transaction,
        accepted=answer.accepted,
    )


# --- versions --------------------------------------------------------------------------------------------------------


def _decoder(frame: OcppFrame, call: Call | Send) -> Decode:
    return _decoders(frame, call).get(call.action, _sign)


def _decoders(frame: OcppFrame, call: Call | Send) -> Decoders:
    """By the envelope's `protocol`; without it by the action, and where versions share it, by the payload."""
    if frame.protocol:
        known = VERSIONS.get(frame.protocol) or VERSIONS.get(frame.protocol.strip().lower())
        if known is None:
            raise InvalidMessage("UNSUPPORTED_VERSION", "OCPP envelope: protocol must be ocpp1.6, ocpp2.0.1 or ocpp2.1")
        return known
    if call.action not in ocpp16.DECODERS:
        return ocpp201.DECODERS
    if call.action in ocpp201.DECODERS and b'"evseId"' in bytes(call.payload) and _has_evse(call.payload):
        return ocpp201.DECODERS
    return ocpp16.DECODERS


class _Peek(msgspec.Struct, rename="camel", gc=False):
    evse_id: msgspec.Raw = msgspec.Raw(b"")


_PEEK = msgspec.json.Decoder(_Peek)


def _has_evse(payload: msgspec.Raw) -> bool:
    try:
        return bool(bytes(_PEEK.decode(payload).evse_id))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False  # the decoder of the version says what is wrong


def _sign(message: Message) -> Meaning:
    return message.seen(SIGNS.get(message.action, "other"))


def _received(frame: OcppFrame) -> int:
    try:
        return micros(frame.received_at)[0]
    except ValueError:
        raise InvalidMessage("BAD_TIMESTAMP", "OCPP envelope: received_at is not ISO 8601") from None


def _seen(frame: OcppFrame, received: int, what: Sign) -> ChargeEvent:
    return StationSeen(
        station_id=frame.station_id, clock=frame.clock, event_time_us=received, received_time_us=received, what=what
    )
