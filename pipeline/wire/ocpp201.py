"""OCPP 2.0.1 messages of a charging station -> events; the same form as ocpp16.py.

The station makes the transaction id, so nothing needs pairing. `connector_id` of our events is the EVSE's id: an EVSE
charges one car at a time, whatever its number of plugs. evse and idToken are sent once, in any message of the
transaction: the events say which had them, the assembler carries them forward.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Final, Literal, NamedTuple

import msgspec

from pipeline.domain.events import (
    ChargingState,
    ConnectorId,
    MeterRead,
    ReadingContext,
    SeqNo,
    SessionAuthorized,
    SessionEnded,
    SessionStarted,
    StatusReported,
)
from pipeline.domain.outputs import Quarantined
from pipeline.wire.messages import Decoders, Meaning, Message
from pipeline.wire.ocpp16 import is_reservation
from pipeline.wire.samples import MeterValue, readings

_STATES: Final[Mapping[str, ChargingState]] = {
    "Charging": "charging",
    "EVConnected": "idle",
    "SuspendedEV": "suspended_ev",
    "SuspendedEVSE": "suspended_evse",
    "Idle": "idle",
}


Place = ConnectorId | str
"""An EVSE, an integer by the standard."""


class _Evse(msgspec.Struct, gc=False):
    id: Place


class _IdToken(msgspec.Struct, rename="camel", gc=False):
    id_token: str | int = ""
    type: str = ""


class _TransactionInfo(msgspec.Struct, rename="camel", gc=False):
    transaction_id: Annotated[str, msgspec.Meta(min_length=1, max_length=255)] | int
    charging_state: str | None = None
    stopped_reason: str | None = None


class TransactionEvent(msgspec.Struct, rename="camel", gc=False):
    """TransactionEventRequest. None of the new fields of OCPP 2.1 is read: costs and limits say nothing of energy."""

    event_type: Literal["Started", "Updated", "Ended"]
    transaction_info: _TransactionInfo
    timestamp: str | None = None
    seq_no: SeqNo | None = None
    evse: _Evse | None = None
    id_token: _IdToken | None = None
    reservation_id: int | None = None
    meter_value: list[MeterValue] | None = None


class MeterValues(msgspec.Struct, rename="camel", gc=False):
    """MeterValuesRequest: readings outside transactions; EVSE 0 is the main meter."""

    evse_id: Place | None = None
    meter_value: list[MeterValue] = []


class StatusNotification(msgspec.Struct, rename="camel", gc=False):
    """StatusNotificationRequest."""

    connector_status: str
    evse_id: Place
    timestamp: str | None = None


class _Component(msgspec.Struct, gc=False):
    evse: _Evse | None = None


class _Variable(msgspec.Struct, gc=False):
    name: str = ""


class _EventData(msgspec.Struct, rename="camel", gc=False):
    timestamp: str | None = None
    actual_value: str | None = None
    component: _Component | None = None
    variable: _Variable | None = None


class NotifyEvent(msgspec.Struct, rename="camel", gc=False):
    """NotifyEventRequest; of its many variables only AvailabilityState of an EVSE, the successor of the status."""

    event_data: list[_EventData] = []


_TRANSACTION = msgspec.json.Decoder(TransactionEvent)
_METER = msgspec.json.Decoder(MeterValues)
_STATUS = msgspec.json.Decoder(StatusNotification)
_NOTIFY = msgspec.json.Decoder(NotifyEvent)


def transaction_event(message: Message) -> Meaning:
    """Start or token first, then the readings in their order, then the end; readings, start and end carry the seqNo."""
    refused: list[Quarantined] = []
    sent = message.read(_TRANSACTION, refused)
    at, codes = message.time(sent.timestamp, refused)
    evse_id = message.place(sent.evse.id, refused, "evse.id") if sent.evse is not None else None
    event = _Event(message, sent, at, codes, str(sent.transaction_info.transaction_id), evse_id)
    meaning = readings(
        message,
        sent.meter_value or (),
        connector_id=evse_id,
        transaction_id=event.transaction_id,
        seq_no=sent.seq_no,
    )
    meaning.quarantined.extend(refused)
    reads = [read for read in meaning.events if isinstance(read, MeterRead)]
    event.add_state(reads, meaning)
    match sent.event_type:
        case "Started":
            meaning.events.insert(0, event.started(_register(reads, at, "begin", other="end")))
        case "Updated":
            if event.token is not None:
                meaning.events.insert(0, event.authorized(event.token))
        case "Ended":
            meaning.events.append(event.ended(_register(reads, at, "end", other="begin")))
    return meaning


class _Event(NamedTuple):
    """A TransactionEvent with its circumstances."""

    message: Message
    sent: TransactionEvent
    at_us: int
    codes: tuple[str, ...]
    transaction_id: str
    evse_id: int | None

    @property
    def token(self) -> str | None:
        """NoAuthorization comes with an empty token: nobody was named."""
        token = self.sent.id_token
        return None if token is None or token.id_token == "" else str(token.id_token)

    @property
    def token_type(self) -> str:
        return self.sent.id_token.type if self.sent.id_token is not None and self.token is not None else ""

    def started(self, register_wh: int | None) -> SessionStarted:
        return SessionStarted(
            station_id=self.message.station_id,
            clock=self.message.clock,
            event_time_us=self.at_us,
            received_time_us=self.message.received_us,
            connector_id=self.evse_id,
            transaction_id=self.transaction_id,
            register_wh=register_wh,
            token=self.token,
            token_type=self.token_type,
            seq_no=self.sent.seq_no,
            reservation=is_reservation(self.sent.reservation_id),
            codes=self.codes,
        )

    def authorized(self, token: str) -> SessionAuthorized:
        return SessionAuthorized(
            station_id=self.message.station_id,
            clock=self.message.clock,
            event_time_us=self.at_us,
            received_time_us=self.message.received_us,
            connector_id=self.evse_id,
            transaction_id=self.transaction_id,
            token=token,
            token_type=self.token_type,
            reservation=is_reservation(self.sent.reservation_id),
        )

    def ended(self, register_wh: int | None) -> SessionEnded:
        return SessionEnded(
            station_id=self.message.station_id,
            clock=self.message.clock,
            event_time_us=self.at_us,
            received_time_us=self.message.received_us,
            connector_id=self.evse_id,
            transaction_id=self.transaction_id,
            register_wh=register_wh,
            reason=self.sent.transaction_info.stopped_reason or "Local",
            token=self.token,
            token_type=self.token_type,
            seq_no=self.sent.seq_no,
            codes=self.codes,
        )

    def add_state(self, reads: Sequence[MeterRead], meaning: Meaning) -> None:
        """The charging state holds from the event's own time, not from the older samples that it brings along. An
        Updated without samples still has its seqNo, so a MeterRead without values carries both."""
        state = _STATES.get(self.sent.transaction_info.charging_state or "")
        now = [read for read in reads if read.event_time_us == self.at_us]
        if now:
            # Beside a frozen value of the begin the reading of this moment has the state.
            next((read for read in now if read.context != "begin"), now[0]).state = state
            return
        if state is None and (reads or self.sent.event_type != "Updated"):
            return
        bare = MeterRead(
            station_id=self.message.station_id,
            clock=self.message.clock,
            event_time_us=self.at_us,
            received_time_us=self.message.received_us,
            connector_id=self.evse_id,
            transaction_id=self.transaction_id,
            state=state,
            context="other",
            seq_no=self.sent.seq_no,
            codes=self.codes,
        )
        meaning.events.append(bare)


def meter_values(message: Message) -> Meaning:
    refused: list[Quarantined] = []
    sent = message.read(_METER, refused)
    evse_id = message.place(sent.evse_id, refused, "evseId")
    meaning = readings(message, sent.meter_value, connector_id=evse_id)
    meaning.quarantined.extend(refused)
    return meaning


def status_notification(message: Message) -> Meaning:
    meaning = Meaning([], [])
    sent = message.read(_STATUS, meaning.quarantined)
    evse_id = message.place(sent.evse_id, meaning.quarantined, "evseId")
    if evse_id is not None:
        meaning.events.append(_status(message, evse_id, sent.connector_status, sent.timestamp))
    return meaning


def notify_event(message: Message) -> Meaning:
    """A component without EVSE is the station: 0."""
    meaning = Meaning([], [])
    for data in message.read(_NOTIFY, meaning.quarantined).event_data:
        if data.variable is not None and data.variable.name == "AvailabilityState" and data.actual_value is not None:
            evse = data.component.evse if data.component is not None else None
            evse_id = message.place(evse.id if evse is not None else 0, meaning.quarantined, "component.evse.id")
            if evse_id is not None:
                meaning.events.append(_status(message, evse_id, data.actual_value, data.timestamp))
    return meaning


DECODERS: Final[Decoders] = {
    "MeterValues": meter_values,
    "NotifyEvent": notify_event,
    "StatusNotification": status_notification,
    "TransactionEvent": transaction_event,
}
"""Actions whose content we use; see ocpp.SIGNS for the others."""


def _status(message: Message, evse_id: int, status: str, timestamp: str | None) -> StatusReported:
    return StatusReported(
        station_id=message.station_id,
        clock=message.clock,
        event_time_us=message.time_or_receipt(timestamp),
        received_time_us=message.received_us,
        connector_id=evse_id,
        status=status,
    )


def _register(reads: Sequence[MeterRead], at_us: int, context: ReadingContext, *, other: ReadingContext) -> int | None:
    """The register at the begin or the end of the transaction: of the sample that the station marked so, else of the
    one at the event's own time; not of the other end, whose value some stations repeat in every message. A sum of one
    or two phases stays a reading: what it stands for is not known here."""
    stated = [read for read in reads if read.register_wh is not None and (not read.phases or read.from_phases)]
    marked = [read for read in stated if read.context == context]
    now = [read for read in stated if read.event_time_us == at_us and read.context != other]
    return next((read.register_wh for read in (*marked, *now)), None)
