"""OCPP 1.6J messages of a charging station -> events. One struct with the fields we use, one function, one line in
DECODERS per message; what is not in a struct is skipped, so no vendor field can get in or do harm.

Times and energies stay as sent: whatever corrects them is in domain/session/.
"""

from __future__ import annotations

import re
from decimal import Decimal
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
from pipeline.wire.messages import Decoders, Meaning, Message
from pipeline.wire.quantities import whole_wh
from pipeline.wire.refusals import DECODING_FAILED, refusal
from pipeline.wire.samples import MeterValue, readings

TransactionId = int | float | str
"""An integer by the standard; some firmware sends it as text."""
LARGEST_TRANSACTION_ID: Final = 2**31 - 1
_INTEGER = re.compile(r"[+-]?\d{1,300}(\.0*)?", re.ASCII)

Place = ConnectorId | str
"""A connector, an integer by the standard."""


class StartTransaction(msgspec.Struct, rename="camel", gc=False):
    """StartTransaction.req. `meter_start` in Wh; unreadable: the start counts, its register is unknown."""

    connector_id: Place | None = None
    timestamp: str | None = None
    meter_start: msgspec.Raw = msgspec.Raw(b"")
    id_tag: str | int | None = None
    reservation_id: int | None = None


class StopTransaction(msgspec.Struct, rename="camel", gc=False):
    """StopTransaction.req. No connector; `id_tag` is absent when the car, the power or a reset ended it."""

    transaction_id: TransactionId | None = None
    timestamp: str | None = None
    meter_stop: msgspec.Raw = msgspec.Raw(b"")
    id_tag: str | int | None = None
    reason: str | None = None
    transaction_data: list[MeterValue] | None = None


class MeterValues(msgspec.Struct, rename="camel", gc=False):
    """MeterValues.req. Connector 0 is the main meter."""

    connector_id: Place | None = None
    meter_value: list[MeterValue] = []
    transaction_id: TransactionId | None = None


class StatusNotification(msgspec.Struct, rename="camel", gc=False):
    """StatusNotification.req. Without a (readable) time: the time of receipt; info and vendor codes are free text."""

    connector_id: Place
    status: str
    error_code: str | None = None
    timestamp: str | None = None


class _IdTagInfo(msgspec.Struct, gc=False):
    status: str = "Accepted"


class StartConfirmation(msgspec.Struct, rename="camel", gc=False):
    """StartTransaction.conf; the parentIdTag is not read."""

    transaction_id: TransactionId | msgspec.UnsetType | None = msgspec.UNSET
    id_tag_info: _IdTagInfo | msgspec.UnsetType | None = msgspec.UNSET

    def is_one(self) -> bool:
        """Both fields are required: what has neither answers another call."""
        return self.transaction_id is not msgspec.UNSET or self.id_tag_info is not msgspec.UNSET

    def transaction(self) -> str | None:
        """The id that was given; None where the central system gave none worth the name (0, -1)."""
        return None if self.transaction_id is msgspec.UNSET else _transaction(self.transaction_id)[0]

    def accepted(self) -> bool:
        return not isinstance(self.id_tag_info, _IdTagInfo) or self.id_tag_info.status == "Accepted"


_START = msgspec.json.Decoder(StartTransaction)
_STOP = msgspec.json.Decoder(StopTransaction)
_METER = msgspec.json.Decoder(MeterValues)
_STATUS = msgspec.json.Decoder(StatusNotification)
_CONFIRMATION = msgspec.json.Decoder(StartConfirmation)


def start_transaction(message: Message) -> Meaning:
    """What a start lacks is unknown, and no reason to lose it. `call` is left to ocpp.py, which pairs it."""
    meaning = Meaning([], [])
    sent = message.read(_START, meaning.quarantined)
    at, codes = message.time(sent.timestamp, meaning.quarantined)
    connector_id = message.place(sent.connector_id, meaning.quarantined, "connectorId")
    if connector_id == 0:
        connector_id = None
        meaning.quarantined.append(Quarantined("BAD_VALUE", "StartTransaction: connectorId must be at least 1"))
    started = SessionStarted(
        station_id=message.station_id,
        clock=message.clock,
        event_time_us=at,
        received_time_us=message.received_us,
        connector_id=connector_id,
        register_wh=_register(sent.meter_start, "meterStart", meaning),
        token=_tag(sent.id_tag),
        reservation=is_reservation(sent.reservation_id),
        codes=codes,
    )
    meaning.events.append(started)
    return meaning


def stop_transaction(message: Message) -> Meaning:
    """The end, after the readings of transactionData, which belong to the session."""
    refused: list[Quarantined] = []
    sent = message.read(_STOP, refused)
    at, codes = message.time(sent.timestamp, refused)
    transaction_id, hint = _transaction(sent.transaction_id)
    if transaction_id is None:
        hint = hint or "unacknowledged"  # a stop is always a transaction's
    meaning = readings(
        message, sent.transaction_data or (), connector_id=None, transaction_id=transaction_id, tx_hint=hint
    )
    meaning.quarantined.extend(refused)
    ended = SessionEnded(
        station_id=message.station_id,
        clock=message.clock,
        event_time_us=at,
        received_time_us=message.received_us,
        transaction_id=transaction_id,
        tx_hint=hint,
        register_wh=_register(sent.meter_stop, "meterStop", meaning),
        reason=sent.reason or "Local",
        token=_tag(sent.id_tag),
        codes=codes,
    )
    meaning.events.append(ended)
    return meaning


def meter_values(message: Message) -> Meaning:
    refused: list[Quarantined] = []
    sent = message.read(_METER, refused)
    transaction_id, hint = _transaction(sent.transaction_id)
    connector_id = message.place(sent.connector_id, refused, "connectorId")
    meaning = readings(
        message, sent.meter_value, connector_id=connector_id, transaction_id=transaction_id, tx_hint=hint
    )
    meaning.quarantined.extend(refused)
    return meaning


def status_notification(message: Message) -> Meaning:
    meaning = Meaning([], [])
    sent = message.read(_STATUS, meaning.quarantined)
    connector_id = message.place(sent.connector_id, meaning.quarantined, "connectorId")
    if connector_id is None:
        return meaning
    reported = StatusReported(
        station_id=message.station_id,
        clock=message.clock,
        event_time_us=message.time_or_receipt(sent.timestamp),
        received_time_us=message.received_us,
        connector_id=connector_id,
        status=sent.status,
        error_code=sent.error_code or "NoError",
    )
    meaning.events.append(reported)
    return meaning


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


def is_reservation(sent: int | None) -> bool:
    """Firmware sends 0 or -1 for none."""
    return sent is not None and sent > 0


def _tag(sent: str | int | None) -> str | None:
    return None if sent is None or sent == "" else str(sent)


def _transaction(sent: TransactionId | None) -> tuple[str | None, TxHint]:
    """The id as text, or why there is none (problems 19 and 20). A number that no central system gives names nothing;
    text that is no number is somebody's id."""
    if sent is None or sent == "":
        return None, ""
    text = str(sent).strip()
    if isinstance(sent, str) and not _INTEGER.fullmatch(text):
        return text, ""
    number = Decimal(text)
    if number == 0:
        return None, "zero"
    if number != int(number) or not 1 <= number <= LARGEST_TRANSACTION_ID:
        return None, "unacknowledged"
    return str(int(number)), ""


def _register(value: msgspec.Raw, field: str, meaning: Meaning) -> int | None:
    try:
        return whole_wh(value)
    except ValueError as error:
        meaning.quarantined.append(Quarantined("BAD_VALUE", f"{field}: {error}"))
        return None
