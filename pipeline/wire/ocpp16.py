"""OCPP 1.6J messages of a charging station -> events. One struct with the fields we use, one function, one line in
DECODERS per message; what is not in a struct is skipped, so no vendor field can get in or do harm.

Times and energies stay as sent: whatever corrects them is in domain/session/.
"""

from __future__ import annotations

from typing import Final

import msgspec

from pipeline.domain.events import (
    ConnectorId,
    SessionEnded,
    SessionStarted,
    StatusReported,
    TxHint,
)
from pipeline.domain.outputs import Quarantined
from pipeline.errors import InvalidMessage
from pipeline.wire.messages import Decoders, Meaning, Message
from pipeline.wire.quantities import whole_wh
from pipeline.wire.refusals import DECODING_FAILED, refusal
from pipeline.wire.samples import MeterValue, readings

TransactionId = int | str
"""An integer by the standard; some firmware sends it as text."""
_UNACKNOWLEDGED: Final = "-1"
_ZERO: Final = "0"


class StartTransaction(msgspec.Struct, rename="camel", gc=False):
    """StartTransaction.req. `meter_start` in Wh; unreadable: the start counts, its register is unknown."""

    connector_id: ConnectorId
    timestamp: str
    meter_start: msgspec.Raw = msgspec.Raw(b"")
    id_tag: str | None = None
    reservation_id: int | None = None


class StopTransaction(msgspec.Struct, rename="camel", gc=False):
    """StopTransaction.req. No connector; `id_tag` is absent when the car, the power or a reset ended it."""

    transaction_id: TransactionId
    timestamp: str
    meter_stop: msgspec.Raw = msgspec.Raw(b"")
    id_tag: str | None = None
    reason: str | None = None
    transaction_data: list[MeterValue] | None = None


class MeterValues(msgspec.Struct, rename="camel", gc=False):
    """MeterValues.req. Connector 0 is the main meter; without a transaction it is station meter data."""

    connector_id: ConnectorId
    meter_value: list[MeterValue] = []
    transaction_id: TransactionId | None = None


class StatusNotification(msgspec.Struct, rename="camel", gc=False):
    """StatusNotification.req. Without a (readable) time: the time of receipt; info and vendor codes are free text."""

    connector_id: ConnectorId
    status: str
    error_code: str | None = None
    timestamp: str | None = None


class _IdTagInfo(msgspec.Struct, gc=False):
    status: str = "Accepted"


class StartConfirmation(msgspec.Struct, rename="camel", gc=False):
    """StartTransaction.conf; the parentIdTag is not read."""

    transaction_id: TransactionId | None = None
    id_tag_info: _IdTagInfo | None = None

    def transaction(self) -> str | None:
        """The id that was given; None where the central system gave none worth the name (0, -1)."""
        return _transaction(self.transaction_id)[0]

    def accepted(self) -> bool:
        return self.id_tag_info is None or self.id_tag_info.status == "Accepted"


_START = msgspec.json.Decoder(StartTransaction)
_STOP = msgspec.json.Decoder(StopTransaction)
_METER = msgspec.json.Decoder(MeterValues)
_STATUS = msgspec.json.Decoder(StatusNotification)
_CONFIRMATION = msgspec.json.Decoder(StartConfirmation)


def start_transaction(message: Message) -> Meaning:
    sent = message.read(_START)
    if sent.connector_id == 0:
        raise InvalidMessage("SCHEMA_VIOLATION", "StartTransaction: connectorId must be at least 1")
    at, codes = message.time(sent.timestamp)
    meaning = Meaning([], [])
    started = SessionStarted(
        station_id=message.station_id,
        clock=message.clock,
        event_time_us=at,
        received_time_us=message.received_us,
        connector_id=sent.connector_id,
        register_wh=_register(sent.meter_start, "meterStart", meaning),
        token=sent.id_tag or None,
        call=message.call,
        reservation=sent.reservation_id is not None,
        codes=codes,
    )
    meaning.events.append(started)
    return meaning


def stop_transaction(message: Message) -> Meaning:
    """The end, after the readings of transactionData, which belong to the session."""
    sent = message.read(_STOP)
    at, codes = message.time(sent.timestamp)
    transaction_id, hint = _transaction(sent.transaction_id)
    meaning = readings(
        message, sent.transaction_data or (), connector_id=None, transaction_id=transaction_id, tx_hint=hint
    )
    ended = SessionEnded(
        station_id=message.station_id,
        clock=message.clock,
        event_time_us=at,
        received_time_us=message.received_us,
        transaction_id=transaction_id,
        tx_hint=hint,
        register_wh=_register(sent.meter_stop, "meterStop", meaning),
        reason=sent.reason or "Local",
        token=sent.id_tag or None,
        codes=codes,
    )
    meaning.events.append(ended)
    return meaning


def meter_values(message: Message) -> Meaning:
    sent = message.read(_METER)
    transaction_id, hint = _transaction(sent.transaction_id)
    return readings(
        message, sent.meter_value, connector_id=sent.connector_id, transaction_id=transaction_id, tx_hint=hint
    )


def status_notification(message: Message) -> Meaning:
    sent = message.read(_STATUS)
    reported = StatusReported(
        station_id=message.station_id,
        clock=message.clock,
        event_time_us=message.time_or_receipt(sent.timestamp),
        received_time_us=message.received_us,
        connector_id=sent.connector_id,
        status=sent.status,
        error_code=sent.error_code or "NoError",
    )
    return Meaning([reported], [])


DECODERS: Final[Decoders] = {
    "MeterValues": meter_values,
    "StartTransaction": start_transaction,
    "StatusNotification": status_notification,
    "StopTransaction": stop_transaction,
}
"""Actions whose content we use; see ocpp.SIGNS for the others."""


def start_confirmation(payload: msgspec.Raw) -> StartConfirmation:
    """Of a CALLRESULT that answers a StartTransaction. Raises InvalidMessage."""
    try:
        return _CONFIRMATION.decode(payload)
    except DECODING_FAILED as error:
        raise refusal(error, "StartTransaction.conf") from None


def _transaction(sent: TransactionId | None) -> tuple[str | None, TxHint]:
    """The id as text, or why there is none (problems 19, 20 and 21)."""
    if sent is None or sent == "":
        return None, ""
    text = str(sent)
    if text == _ZERO:
        return None, "zero"
    return (None, "unacknowledged") if text == _UNACKNOWLEDGED else (text, "")


def _register(value: msgspec.Raw, field: str, meaning: Meaning) -> int | None:
    try:
        return whole_wh(value)
    except ValueError as error:
        meaning.quarantined.append(Quarantined("BAD_VALUE", f"{field}: {error}"))
        return None
