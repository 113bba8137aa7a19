"""OCPP-J frames -> events: which version it is, which answer belongs to which call.

A frame names neither its station nor its direction, and an answer does not name its action, so the meaning of a frame
depends on the calls that are still open: `Calls`, a part of the station's state. It holds keyed hashes only. A refused
frame leaves it as it was.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, assert_never

import msgspec

from pipeline.domain.events import (
    Call,
    CallError,
    CallResult,
    ChargeEvent,
    OcppFrame,
    SessionConfirmed,
    Sign,
    StationSeen,
)
from pipeline.errors import InvalidMessage
from pipeline.wire import ocpp16, ocpp201
from pipeline.wire.identifiers import Identifiers
from pipeline.wire.messages import Decode, Decoders, Meaning, Message
from pipeline.wire.timestamps import micros

KEEP_US: Final = 30 * 60 * 1_000_000
"""How long a call waits for its answer, and an answer for its call."""
MOST_KEPT: Final = 128
"""Of each kind and station; beyond it the oldest is given up. Reached only where one direction is not logged."""
SLOW_US: Final = 10 * 1_000_000
STATION: Final = "cp->csms"
CENTRAL: Final = "csms->cp"

SIGNS: Final[Mapping[str, Sign]] = {"Heartbeat": "heartbeat", "Authorize": "authorize", "BootNotification": "boot"}
"""Actions that only prove that the station lives; every action that is in no table is `other`. The tag of Authorize is
not read: a refused one is personal data too, and an accepted one comes again with the start. Nor are serial number,
iccid and imsi of BootNotification, which says nothing about open transactions."""


class Confirmation(msgspec.Struct, array_like=True, gc=False):
    """What is kept of an answer to StartTransaction, or of one that came before its call: no identifier."""

    received_us: int
    transaction: str | None = None
    accepted: bool = True


class Calls(msgspec.Struct, array_like=True):
    """Open calls and early answers of one station, by call key. Encode with msgspec.msgpack."""

    starts: dict[str, int] = {}
    """StartTransaction without an answer: when it was received."""
    confirmed: dict[str, Confirmation] = {}
    """StartTransaction with its answer: the first one wins, also when call or answer are repeated."""
    others: dict[str, int] = {}
    """Any other call without an answer, of both directions."""
    early: dict[str, Confirmation] = {}
    answered: int = 0
    surplus: int = 0
    """Answers to no call, or to one that was answered."""
    unanswered: int = 0
    errors: int = 0
    """CALLERRORs; they end a call without confirming it."""
    slow: int = 0
    """Answers more than 10 s after their call."""


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
        return Meaning([_seen(frame, received, "link_up" if frame.link == "up" else "link_down")], [])
    if not frame.direction:
        raise InvalidMessage("SCHEMA_VIOLATION", f"OCPP envelope: direction must be {STATION} or {CENTRAL}")
    from_station = frame.direction == STATION
    if isinstance(sent, Call):
        key = identifiers.call_key(frame.station_id, frame.direction, sent.message_id)
        meaning = Meaning([], [])
        if from_station:
            message = Message(frame.station_id, frame.clock, received, key, sent.action, sent.payload)
            meaning = _decoder(frame, sent)(message)
        _open(calls, key, received, meaning, start=from_station and sent.action == "StartTransaction", frame=frame)
        return meaning
    key = identifiers.call_key(frame.station_id, CENTRAL if from_station else STATION, sent.message_id)
    match sent:
        case CallResult():
            meaning = _answer(calls, key, received, frame, sent.payload, identifiers)
        case CallError():
            calls.errors += 1
            _close(calls, key, received)
            meaning = Meaning([], [])
        case _:
            assert_never(sent)
    if from_station:
        meaning.events.append(_seen(frame, received, "answer"))
    return meaning


def expire(calls: Calls, now_us: int) -> None:
    """Gives up what has waited for 30 minutes, and counts it."""
    horizon = now_us - KEEP_US
    for waiting in (calls.starts, calls.others):
        for key in [key for key, at in waiting.items() if at <= horizon]:
            del waiting[key]
            calls.unanswered += 1
    for key in [key for key, answer in calls.early.items() if answer.received_us <= horizon]:
        del calls.early[key]
        calls.surplus += 1
    for key in [key for key, answer in calls.confirmed.items() if answer.received_us <= horizon]:
        del calls.confirmed[key]


def deadline_us(calls: Calls) -> int | None:
    """When `expire` has something to do next; None: nothing waits."""
    waiting = [min(times.values()) for times in (calls.starts, calls.others) if times]
    waiting += [min(a.received_us for a in answers.values()) for answers in (calls.confirmed, calls.early) if answers]
    return min(waiting) + KEEP_US if waiting else None


# --- pairing ---------------------------------------------------------------------------------------------------------


def _open(calls: Calls, key: str, received: int, meaning: Meaning, *, start: bool, frame: OcppFrame) -> None:
    """The call waits for its answer, or takes the one that came before it; a repeated start takes its answer again."""
    if start and key in calls.confirmed:
        _confirm(calls, key, calls.confirmed[key], frame, meaning)
    elif key in calls.early:
        answer = calls.early.pop(key)
        calls.answered += 1
        if start:
            _confirm(calls, key, answer, frame, meaning)
    else:
        waiting = calls.starts if start else calls.others
        waiting.setdefault(key, received)
        calls.unanswered += _give_up_oldest(waiting)


def _answer(
    calls: Calls, key: str, received: int, frame: OcppFrame, payload: msgspec.Raw, identifiers: Identifiers
) -> Meaning:
    """First answer wins. One that finds no call waits for it: it may be the one that names a transaction."""
    meaning = Meaning([], [])
    if key in calls.starts:
        answer = _confirmation(frame, received, payload, identifiers)
        _close(calls, key, received)
        _confirm(calls, key, answer, frame, meaning)
    elif key in calls.others:
        _close(calls, key, received)
    elif key in calls.confirmed or key in calls.early:
        calls.surplus += 1
    else:
        try:
            answer = _confirmation(frame, received, payload, identifiers)
        except InvalidMessage:  # an answer of another kind
            answer = Confirmation(received)
        calls.early[key] = answer
        calls.surplus += _give_up_oldest(calls.early)
    return meaning


def _close(calls: Calls, key: str, received: int) -> None:
    called = calls.starts.pop(key, None)
    if called is None:
        called = calls.others.pop(key, None)
    if called is not None:
        calls.answered += 1
        calls.slow += received - called > SLOW_US


def _confirm(calls: Calls, key: str, answer: Confirmation, frame: OcppFrame, meaning: Meaning) -> None:
    calls.confirmed[key] = answer
    _give_up_oldest(calls.confirmed)
    meaning.events.append(
        SessionConfirmed(
            station_id=frame.station_id,
            clock=frame.clock,
            event_time_us=answer.received_us,
            received_time_us=answer.received_us,
            call=key,
            transaction_id=answer.transaction,
            accepted=answer.accepted,
        )
    )


def _confirmation(frame: OcppFrame, received: int, payload: msgspec.Raw, identifiers: Identifiers) -> Confirmation:
    sent = ocpp16.start_confirmation(payload)
    name = sent.transaction()
    return Confirmation(
        received, None if name is None else identifiers.transaction(frame.station_id, name), sent.accepted()
    )


def _give_up_oldest(waiting: dict[str, int] | dict[str, Confirmation]) -> int:
    """Keeps the state small; returns how many were given up."""
    if len(waiting) <= MOST_KEPT:
        return 0
    del waiting[next(iter(waiting))]
    return 1


# --- versions --------------------------------------------------------------------------------------------------------


def _decoder(frame: OcppFrame, call: Call) -> Decode:
    return _decoders(frame, call).get(call.action, _sign)


def _decoders(frame: OcppFrame, call: Call) -> Decoders:
    """By the envelope's `protocol`; without it by the action, and where both versions have it, by the payload."""
    protocol = frame.protocol
    if protocol == "ocpp1.6":
        return ocpp16.DECODERS
    if protocol in ("ocpp2.0.1", "ocpp2.1"):
        return ocpp201.DECODERS
    if protocol:
        raise InvalidMessage("UNSUPPORTED_VERSION", "OCPP envelope: protocol must be ocpp1.6 or ocpp2.0.1")
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
