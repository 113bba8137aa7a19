"""OCPP-J frames as they arrive, and their envelope as records of `meter-events`.

A frame keeps the received bytes: numbers as sent, vendor fields included. Pure: the time is an argument.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final, Literal, NamedTuple

import msgspec

from pipeline.wire.ocpp import CENTRAL, STATION
from pipeline.wire.refusals import DECODING_FAILED

Protocol = Literal["ocpp1.6", "ocpp2.0.1"]
PROTOCOLS: Final[tuple[Protocol, ...]] = ("ocpp1.6", "ocpp2.0.1")
UNKNOWN_ID: Final = "-1"
"""Message id of the answer to a frame whose own cannot be read (OCPP-J 2.0.1, 4.2.3)."""
LONGEST_ID: Final = 255
"""Longer ids do not fit the envelope; OCPP allows 36."""
GROWTH: Final = 6
"""A byte that is not JSON takes at most so many bytes in its record."""
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class Call(NamedTuple):
    """`[2, message_id, action, payload]`; the payload may still be anything."""

    message_id: str
    action: str
    payload: object


class Answer(NamedTuple):
    """A CALLRESULT or CALLERROR of the station: evidence, which gets no answer."""


class Malformed(NamedTuple):
    """Not an OCPP-J frame. `json` is false if it cannot be put into an envelope unchanged."""

    message_id: str
    json: bool


Frame = Call | Answer | Malformed


def parse(data: bytes) -> Frame:
    """The frame in `data`; any bytes give a value."""
    try:
        match msgspec.json.decode(data):
            case [2, str(message_id), str(action), payload] if 0 < len(message_id) <= LONGEST_ID:
                return Call(message_id, action, payload)
            case [3, str(), _] | [4, str(), *_]:
                return Answer()
            case [_, str(message_id), *_] if 0 < len(message_id) <= LONGEST_ID:
                return Malformed(message_id, json=True)
            case _:
                return Malformed(UNKNOWN_ID, json=True)
    except DECODING_FAILED:
        return Malformed(UNKNOWN_ID, json=False)


def received(station: str, at_us: int, protocol: Protocol, data: bytes, *, json: bool = True) -> bytes:
    """The record of a frame of the station; bytes that are no JSON become a text, which the worker's decoder refuses
    with its reason: a dead letter is evidence, too."""
    return _envelope(station, at_us, protocol, STATION, data if json else _as_text(data))


def answered(station: str, at_us: int, protocol: Protocol, answer: bytes) -> bytes:
    """The record of our answer."""
    return _envelope(station, at_us, protocol, CENTRAL, answer)


def link(station: str, at_us: int, state: Literal["up", "down"]) -> bytes:
    """The record of a connection that came or went."""
    return msgspec.json.encode({"station_id": station, "received_at": iso(at_us), "link": state})


def result(message_id: str, payload: object) -> bytes:
    """A CALLRESULT."""
    return msgspec.json.encode([3, message_id, payload])


def error(message_id: str, code: str, description: str) -> bytes:
    """A CALLERROR; `description` names fields of the standard, never values."""
    return msgspec.json.encode([4, message_id, code, description[:255], {}])


def iso(at_us: int) -> str:
    """Microseconds UTC as ISO 8601."""
    return (_EPOCH + timedelta(microseconds=at_us)).isoformat(timespec="microseconds").replace("+00:00", "Z")


def _envelope(station: str, at_us: int, protocol: Protocol, direction: str, frame: bytes) -> bytes:
    one_line = frame.replace(b"\n", b" ").replace(b"\r", b" ")  # in JSON both can only be white space
    fields = {"station_id": station, "received_at": iso(at_us), "protocol": protocol, "direction": direction}
    return msgspec.json.encode(fields | {"frame": msgspec.Raw(one_line)})


def _as_text(data: bytes) -> bytes:
    return msgspec.json.encode(data.decode("utf-8", "backslashreplace"))
