"""What the decoders of both OCPP versions share: a message with its circumstances, and what it means."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple, TypeVar

import msgspec

from pipeline.domain.events import HIGHEST_CONNECTOR, ChargeEvent, Sign, StationSeen
from pipeline.domain.outputs import Quarantined
from pipeline.wire.lenient import salvage
from pipeline.wire.refusals import DECODING_FAILED
from pipeline.wire.timestamps import micros

Payload = TypeVar("Payload", bound=msgspec.Struct)


class Meaning(NamedTuple):
    """Events in the order of the message, and its unused parts. Both empty: the message means nothing to us."""

    events: list[ChargeEvent]
    quarantined: list[Quarantined]


class Message(NamedTuple):
    """A CALL of a station; `received_us` is when the central system got it."""

    station_id: str
    clock: str
    received_us: int
    action: str
    payload: msgspec.Raw

    def read(self, decoder: msgspec.json.Decoder[Payload], quarantined: list[Quarantined]) -> Payload:
        """The fields that we use; all others are skipped. What is malformed and can be missed goes to `quarantined`.
        Raises InvalidMessage."""
        try:
            return decoder.decode(self.payload)
        except DECODING_FAILED:
            sent, lost = salvage(decoder.type, self.payload, self.action)
        quarantined.extend(Quarantined("BAD_VALUE", each) for each in lost)
        return sent

    def time(self, text: str | None, quarantined: list[Quarantined]) -> tuple[int, tuple[str, ...]]:
        """Microseconds UTC of an event that must have a time, and its codes: without a readable one it happened when it
        was received, since no start and no stop may be lost for it."""
        if text is None:
            return self.received_us, ("TIME_ASSUMED",)
        try:
            at, zone_assumed = micros(text)
        except ValueError:
            quarantined.append(Quarantined("BAD_TIMESTAMP", f"{self.action}: timestamp is not ISO 8601"))
            return self.received_us, ("TIME_ASSUMED",)
        if not at:  # before 1970: what happened later is stamped alike
            return self.received_us, ("TIME_ASSUMED",)
        return at, ("ZONE_ASSUMED",) if zone_assumed else ()

    def place(self, sent: int | str | None, quarantined: list[Quarantined], field: str) -> int | None:
        """A connector or an EVSE, also one that is written as text; None: not named, or not readable."""
        if sent is None or isinstance(sent, int):
            return sent
        if sent.isascii() and sent.isdigit() and len(sent) <= 5 and int(sent) <= HIGHEST_CONNECTOR:
            return int(sent)
        quarantined.append(Quarantined("BAD_VALUE", f"{self.action}: {field} is no number of a connector"))
        return None

    def time_or_receipt(self, text: str | None) -> int:
        """For hints that may lack a time, or have an unreadable one."""
        if text is None:
            return self.received_us
        try:
            return micros(text)[0] or self.received_us
        except ValueError:
            return self.received_us

    def seen(self, what: Sign) -> Meaning:
        """Only a sign of life, at the time of receipt."""
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
