"""A call of a tape in OCPP 2.0.1: action, payload and the answer of the central system."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import msgspec

from pipeline.edge.chargers.tape import Call, Sample, Tape
from pipeline.edge.chargers.values import meter_value

Written = tuple[str, dict[str, Any], dict[str, Any]]
ACCEPTED = {"status": "Accepted"}
EVENT = {"start": "Started", "activity": "Updated", "sample": "Updated", "stop": "Ended"}
TRIGGER = {
    "start": "Authorized",
    "activity": "ChargingStateChanged",
    "sample": "MeterValuePeriodic",
    "stop": "EVCommunicationLost",
}


def write(tape: Tape, call: Call) -> Written:
    match call.kind:
        case "boot":
            station = {"vendorName": "Virtual", "model": "Quirk-1", "firmwareVersion": "1.0.0"}
            boot = {"reason": "PowerUp", "chargingStation": station}
            return "BootNotification", boot, ACCEPTED | {"currentTime": Tape.utc(call.sent_us), "interval": 900}
        case "heartbeat":
            return "Heartbeat", {}, {"currentTime": Tape.utc(call.sent_us)}
        case "authorize":
            return "Authorize", {"idToken": _token(call.token)}, {"idTokenInfo": ACCEPTED}
        case "status":
            sent = {"evseId": call.connector_id, "connectorId": 1, "connectorStatus": call.status}
            return "StatusNotification", sent | {"timestamp": tape.stamp(call.at_us)}, {}
        case "sample" if not call.in_transaction:
            return (
                "MeterValues",
                {"evseId": call.connector_id, "meterValue": meter_value(tape, call.entries, _number)},
                {},
            )
        case "start" | "activity" | "sample" | "stop":
            return "TransactionEvent", _event(tape, call), {"idTokenInfo": ACCEPTED} if call.token else {}


def _event(tape: Tape, call: Call) -> dict[str, Any]:
    about: dict[str, Any] = {"transactionId": call.transaction}
    if call.state:
        about["chargingState"] = call.state
    if call.kind == "stop":
        about["stoppedReason"] = call.reason
    sent: dict[str, Any] = {
        "eventType": EVENT[call.kind],
        "timestamp": tape.stamp(call.at_us),
        "triggerReason": TRIGGER[call.kind],
        "seqNo": call.seq_no,
        "transactionInfo": about,
    }
    if call.queued:
        sent["offline"] = True
    if call.names_evse:
        sent["evse"] = {"id": call.connector_id, "connectorId": 1}
    if call.token:
        sent["idToken"] = _token(call.token)
    if call.entries:
        sent["meterValue"] = meter_value(tape, call.entries, _number)
    return sent


def _token(token: str | None) -> dict[str, Any]:
    return {"idToken": token, "type": "ISO14443"}


def _number(sample: Sample) -> dict[str, Any]:
    """A JSON number, as the standard requires; a Decimal keeps its digits and is never converted to a float."""
    value = msgspec.Raw(str(sample.value).encode()) if isinstance(sample.value, Decimal) else sample.value
    return {"value": value, "unitOfMeasure": {"unit": sample.unit}}
