"""What the decoders of both OCPP versions share: a message with its circumstances, and what it means."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, NamedTuple, TypeVar

import msgspec

from pipeline.domain.events import ChargeEvent, Sign, StationSeen
from pipeline.domain.outputs import Quarantined
from pipeline.errors import InvalidMessage
from pipeline.wire.refusals import DECODING_FAILED, refusal
from pipeline.wire.timestamps import micros

TIME_ASSUMED: Final = "TIME_ASSUMED"
"""The code of an event without a readable time of its own: it happened when it was received."""

Payload = TypeVar("Payload")


class Meaning(NamedTuple):
    """Events in the order of the message, and the parts of it that were not used. Both empty: nothing was said."""

    events: list[ChargeEvent]
    quarantined: list[Quarantined]


class Message(NamedTuple):
    """A CALL of a station. `call` is its key (never its id), `received_us` when the central system got it."""

    station_id: str
    clock: str
    received_us: int
    call: str
    action: str
    payload: msgspec.Raw

    def read(self, decoder: msgspec.json.Decoder[Payload]) -> Payload:
        """The fields that we use; all others are skipped. Raises InvalidMessage."""
        try:
            return decoder.decode(self.payload)
        except DECODING_FAILED as error:
            raise refusal(error, self.action) from None

    def time(self, text: str) -> tuple[int, tuple[str, ...]]:
        """Microseconds UTC of a timestamp that the message cannot do without, and its codes. Raises InvalidMessage."""
        try:
            at, zone_assumed = micros(text)
        except ValueError:
            raise InvalidMessage("BAD_TIMESTAMP", f"{self.action}: timestamp is not ISO 8601") from None
        return at, ("ZONE_ASSUMED",) if zone_assumed else ()

    def time_or_receipt(self, text: str | None) -> int:
        """For hints that may lack a time, or have an unreadable one."""
        if text is None:
            return self.received_us
        try:
            return micros(text)[0]
        except ValueError:
            return self.received_us

    def seen(self, what: Sign) -> Meaning:
        """Nothing but a sign of life, at the time of receipt."""
        seen = StationSeen(
            station_id=self.station_id,
            clock=self.clock,
            event_time_us=self.received_us,
            received_time_us=self.received_us,
            what=what,
        )
        return Meaning([seen], [])


Decode = Callable[[Message], Meaning]
Decoders = Mapping[str, Decode]
