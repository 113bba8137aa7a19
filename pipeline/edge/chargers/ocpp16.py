"""A call of a tape in OCPP 1.6J: action, payload and the answer of the central system."""

from __future__ import annotations

from typing import Any

from pipeline.edge.chargers.tape import Call, Sample, Tape
from pipeline.edge.chargers.values import meter_value

Written = tuple[str, dict[str, Any], dict[str, Any]]
ACCEPTED = {"status": "Accepted"}


def write(tape: Tape, call: Call) -> Written:
    match call.kind:
        case "boot":
            boot = {"chargePointVendor": "Virtual", "chargePointModel": "Quirk-1", "firmwareVersion": "1.0.0"}
            return "BootNotification", boot, ACCEPTED | {"currentTime": _central(call), "interval": 900}
        case "heartbeat":
            return "Heartbeat", {}, {"currentTime": _central(call)}
        case "authorize":
            return "Authorize", {"idTag": call.token}, {"idTagInfo": ACCEPTED}
        case "status" | "activity":
            sent = {"connectorId": call.connector_id, "status": call.status or call.state, "errorCode": "NoError"}
            return "StatusNotification", _stamped(tape, call, sent), {}
        case "start":
            sent = _stamped(tape, call, {"connectorId": call.connector_id, "idTag": call.token})
            answer = {"transactionId": int(call.given), "idTagInfo": ACCEPTED}
            return "StartTransaction", _with(sent, meterStart=call.register_wh), answer
        case "sample":
            values = {"connectorId": call.connector_id, "meterValue": meter_value(tape, call.entries, _number_text)}
            return "MeterValues", _with(values, transactionId=_number(call.transaction)), {}
        case "stop":
            sent = _stamped(tape, call, {"transactionId": _number(call.transaction), "reason": call.reason})
            data = meter_value(tape, call.entries, _number_text) or None
            sent = _with(sent, idTag=call.token, meterStop=call.register_wh, transactionData=data)
            return "StopTransaction", sent, {"idTagInfo": ACCEPTED} if call.token else {}


def _stamped(tape: Tape, call: Call, sent: dict[str, Any]) -> dict[str, Any]:
    return sent | {"timestamp": tape.stamp(call.at_us)} if call.stamped else sent


def _with(sent: dict[str, Any], **optional: object) -> dict[str, Any]:
    return sent | {name: value for name, value in optional.items() if value is not None}


def _number(name: str | None) -> int | None:
    return None if name is None else int(name)


def _central(call: Call) -> str:
    """The central system's clock is right; the station nevertheless follows its quirk."""
    return Tape.utc(call.sent_us)


def _number_text(sample: Sample) -> dict[str, Any]:
    return {"value": str(sample.value), "unit": sample.unit}
