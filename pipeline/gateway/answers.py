"""What the gateway answers, per version and action. Pure: payloads in, payloads out; the time is an argument.

It accepts stations and records what they report; deciding on drivers, certificates or schedules is the work of a
charging station management system. So every token gets the answer of the settings, and a request that needs a decision
is refused.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import msgspec
from ocpp.exceptions import FormationViolationError, FormatViolationError, NotImplementedError, NotSupportedError
from ocpp.v16.enums import Action as Action16
from ocpp.v201.enums import Action as Action201

from pipeline.gateway import frames
from pipeline.gateway.frames import Call, Malformed, Protocol
from pipeline.gateway.validation import violation
from pipeline.wire.timestamps import micros

Payload = dict[str, Any]
Make = Callable[["Answers", Payload, int], Payload]

AUTHORIZATIONS: Final = ("Accepted", "Blocked", "Invalid")
"""Statuses that both versions know."""
LARGEST_ID: Final = 2**31 - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """Of one station. `secret` keys its transaction ids; `heartbeat_s` goes into BootNotification."""

    station: str
    secret: bytes
    heartbeat_s: int
    authorization: str

    def answer(self, protocol: Protocol, frame: Call | Malformed, now_us: int) -> bytes:
        """A CALLRESULT or CALLERROR."""
        if isinstance(frame, Malformed):
            code = FormationViolationError.code if protocol == "ocpp1.6" else "RpcFrameworkError"
            return frames.error(frame.message_id, code, "not an OCPP-J call: [2, id, action, payload]")
        make = ANSWERS[protocol].get(frame.action)
        if make is None:
            known = frame.action in _OF_EITHER_SIDE[protocol]
            unusable = NotSupportedError if known else NotImplementedError
            return frames.error(frame.message_id, unusable.code, unusable.default_description)
        if not isinstance(frame.payload, dict):
            wrong = FormationViolationError if protocol == "ocpp1.6" else FormatViolationError
            return frames.error(frame.message_id, wrong.code, "the payload must be an object")
        if (found := violation(protocol, frame.action, frame.payload)) is not None:
            return frames.error(frame.message_id, found.code, found.where)
        return frames.result(frame.message_id, make(self, frame.payload, now_us))

    def id_info(self) -> Payload:
        return {"status": self.authorization}


def transaction_id(secret: bytes, station: str, start: Payload) -> int:
    """The id of a StartTransaction.req: 1 to 2**31 - 1, and the same for the same start, also after a restart and from
    another gateway; see ops/decisions/0007. The message id is not part of it: a retry may change it
    (ops/spec/sessions.md, section 3)."""
    try:
        began: object = micros(start["timestamp"])[0]
    except ValueError:
        began = start["timestamp"]
    identity = [station, start["connectorId"], began, start["meterStart"], start["idTag"]]
    digest = hmac.digest(secret, msgspec.json.encode(identity), hashlib.sha256)
    return 1 + int.from_bytes(digest[:16]) % LARGEST_ID


def _nothing(answers: Answers, sent: Payload, now_us: int) -> Payload:
    return {}


def _boot(answers: Answers, sent: Payload, now_us: int) -> Payload:
    return {"status": "Accepted", "currentTime": frames.iso(now_us), "interval": answers.heartbeat_s}


def _heartbeat(answers: Answers, sent: Payload, now_us: int) -> Payload:
    return {"currentTime": frames.iso(now_us)}


def _authorize16(answers: Answers, sent: Payload, now_us: int) -> Payload:
    return {"idTagInfo": answers.id_info()}


def _start16(answers: Answers, sent: Payload, now_us: int) -> Payload:
    return {
        "idTagInfo": answers.id_info(),
        "transactionId": transaction_id(answers.secret, answers.station, sent),
    }


def _stop16(answers: Answers, sent: Payload, now_us: int) -> Payload:
    return {"idTagInfo": answers.id_info()} if "idTag" in sent else {}


def _authorize201(answers: Answers, sent: Payload, now_us: int) -> Payload:
    return {"idTokenInfo": answers.id_info()}


def _transaction_event(answers: Answers, sent: Payload, now_us: int) -> Payload:
    """Has no totalCost: an omitted one means not known, and bills are made elsewhere."""
    return {"idTokenInfo": answers.id_info()} if "idToken" in sent else {}


def _status(word: str, **more: str) -> Make:
    return lambda answers, sent, now_us: {"status": word, **more}


ANSWERS: Final[Mapping[Protocol, Mapping[str, Make]]] = {
    "ocpp1.6": {
        "Authorize": _authorize16,
        "BootNotification": _boot,
        "DataTransfer": _status("UnknownVendorId"),
        "DiagnosticsStatusNotification": _nothing,
        "FirmwareStatusNotification": _nothing,
        "Heartbeat": _heartbeat,
        "LogStatusNotification": _nothing,
        "MeterValues": _nothing,
        "SecurityEventNotification": _nothing,
        "SignCertificate": _status("Rejected"),
        "SignedFirmwareStatusNotification": _nothing,
        "StartTransaction": _start16,
        "StatusNotification": _nothing,
        "StopTransaction": _stop16,
    },
    "ocpp2.0.1": {
        "Authorize": _authorize201,
        "BootNotification": _boot,
        "ClearedChargingLimit": _nothing,
        "DataTransfer": _status("UnknownVendorId"),
        "FirmwareStatusNotification": _nothing,
        "Get15118EVCertificate": _status("Failed", exiResponse=""),
        "GetCertificateStatus": _status("Failed"),
        "Heartbeat": _heartbeat,
        "LogStatusNotification": _nothing,
        "MeterValues": _nothing,
        "NotifyChargingLimit": _nothing,
        "NotifyCustomerInformation": _nothing,
        "NotifyDisplayMessages": _nothing,
        "NotifyEVChargingNeeds": _status("Rejected"),
        "NotifyEVChargingSchedule": _status("Accepted"),
        "NotifyEvent": _nothing,
        "NotifyMonitoringReport": _nothing,
        "NotifyReport": _nothing,
        "PublishFirmwareStatusNotification": _nothing,
        "ReportChargingProfiles": _nothing,
        "ReservationStatusUpdate": _nothing,
        "SecurityEventNotification": _nothing,
        "SignCertificate": _status("Rejected"),
        "StatusNotification": _nothing,
        "TransactionEvent": _transaction_event,
    },
}
"""Every call that a station may make."""

_OF_EITHER_SIDE: Final[Mapping[Protocol, frozenset[str]]] = {
    "ocpp1.6": frozenset(action.value for action in Action16),
    "ocpp2.0.1": frozenset(action.value for action in Action201),
}
"""The others are calls that only the central system may make: recognised, not supported."""
