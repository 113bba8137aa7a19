"""Every call that a station may make gets an answer by the published schema, the rest the error of the standard."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from ocpp.messages import MessageType, get_validator
from ocpp.v16 import call as call16
from ocpp.v201 import call as call201

from pipeline.gateway.answers import ANSWERS, AUTHORIZATIONS, LARGEST_ID, Answers, transaction_id
from pipeline.gateway.frames import Call, Malformed, Protocol
from pipeline.gateway.validation import violation

NOW_US = 1_772_438_405_000_000
TAG = "CANARY04A1B2C3"
START = {"connectorId": 1, "idTag": TAG, "meterStart": 1000, "timestamp": "2026-03-02T08:00:00Z"}
EVENT = {
    "eventType": "Started",
    "timestamp": "2026-03-02T08:00:00Z",
    "triggerReason": "Authorized",
    "seqNo": 0,
    "transactionInfo": {"transactionId": "t-1"},
    "idToken": {"idToken": TAG, "type": "ISO14443"},
}
VALID: dict[Protocol, dict[str, dict[str, Any]]] = {
    "ocpp1.6": {
        "Authorize": {"idTag": TAG},
        "BootNotification": {"chargePointVendor": "V", "chargePointModel": "M"},
        "DataTransfer": {"vendorId": "V"},
        "DiagnosticsStatusNotification": {"status": "Idle"},
        "FirmwareStatusNotification": {"status": "Idle"},
        "Heartbeat": {},
        "LogStatusNotification": {"status": "Idle"},
        "MeterValues": {
            "connectorId": 1,
            "meterValue": [{"timestamp": "2026-03-02T08:00:00Z", "sampledValue": [{"value": "1"}]}],
        },
        "SecurityEventNotification": {"type": "StartupOfTheDevice", "timestamp": "2026-03-02T08:00:00Z"},
        "SignCertificate": {"csr": "x"},
        "SignedFirmwareStatusNotification": {"status": "Idle"},
        "StartTransaction": START,
        "StatusNotification": {"connectorId": 1, "errorCode": "NoError", "status": "Available"},
        "StopTransaction": {"transactionId": 1, "meterStop": 1, "timestamp": "2026-03-02T08:00:00Z", "idTag": TAG},
    },
    "ocpp2.0.1": {
        "Authorize": {"idToken": {"idToken": TAG, "type": "ISO14443"}},
        "BootNotification": {"chargingStation": {"model": "M", "vendorName": "V"}, "reason": "PowerUp"},
        "DataTransfer": {"vendorId": "V"},
        "Heartbeat": {},
        "NotifyEvent": {
            "generatedAt": "2026-03-02T08:00:00Z",
            "seqNo": 0,
            "eventData": [
                {
                    "eventId": 1,
                    "timestamp": "2026-03-02T08:00:00Z",
                    "trigger": "Delta",
                    "actualValue": "1",
                    "eventNotificationType": "CustomMonitor",
                    "component": {"name": "C"},
                    "variable": {"name": "V"},
                }
            ],
        },
        "SecurityEventNotification": {"type": "StartupOfTheDevice", "timestamp": "2026-03-02T08:00:00Z"},
        "StatusNotification": {
            "timestamp": "2026-03-02T08:00:00Z",
            "connectorStatus": "Available",
            "evseId": 1,
            "connectorId": 1,
        },
        "TransactionEvent": EVENT,
    },
}
EVERY = [(protocol, action) for protocol, actions in ANSWERS.items() for action in actions]


def answers(**changes: Any) -> Answers:
    values: dict[str, Any] = {"station": "SIM-1", "secret": b"k", "heartbeat_s": 300, "authorization": "Accepted"}
    return Answers(**values | changes)


def answer(protocol: Protocol, action: str, payload: object, **changes: Any) -> list[Any]:
    decoded: list[Any] = json.loads(answers(**changes).answer(protocol, Call("m-1", action, payload), NOW_US))
    return decoded


@pytest.mark.parametrize(("protocol", "action"), EVERY)
@pytest.mark.parametrize("authorization", AUTHORIZATIONS)
def test_every_answer_follows_its_schema(protocol: Protocol, action: str, authorization: str) -> None:
    sent = VALID[protocol].get(action, {})
    made = ANSWERS[protocol][action](answers(authorization=authorization), sent, NOW_US)
    version = protocol.removeprefix("ocpp")
    assert list(get_validator(MessageType.CallResult, action, version).iter_errors(made)) == []


@pytest.mark.parametrize(("protocol", "action"), [(p, a) for p, calls in VALID.items() for a in calls])
def test_a_valid_call_is_answered_under_its_message_id(protocol: Protocol, action: str) -> None:
    assert answer(protocol, action, VALID[protocol][action])[:2] == [3, "m-1"]


def test_every_action_of_1_6_has_a_valid_example() -> None:
    assert VALID["ocpp1.6"].keys() == ANSWERS["ocpp1.6"].keys()


@pytest.mark.parametrize(("protocol", "library"), [("ocpp1.6", call16), ("ocpp2.0.1", call201)])
def test_every_action_is_one_of_the_library(protocol: Protocol, library: Any) -> None:
    assert all(hasattr(library, action) for action in ANSWERS[protocol])


def test_what_the_answers_say() -> None:
    assert answer("ocpp1.6", "BootNotification", VALID["ocpp1.6"]["BootNotification"])[2] == {
        "status": "Accepted", "currentTime": "2026-03-02T08:00:05.000000Z", "interval": 300,
    }  # fmt: skip
    assert answer("ocpp1.6", "DataTransfer", {"vendorId": "V"})[2] == {"status": "UnknownVendorId"}
    blocked = answer("ocpp1.6", "Authorize", {"idTag": TAG}, authorization="Blocked")
    assert blocked[2] == {"idTagInfo": {"status": "Blocked"}}
    assert answer("ocpp2.0.1", "TransactionEvent", EVENT)[2] == {"idTokenInfo": {"status": "Accepted"}}
    without = {name: value for name, value in EVENT.items() if name != "idToken"}
    assert answer("ocpp2.0.1", "TransactionEvent", without)[2] == {}, "and no cost"


@pytest.mark.parametrize(
    ("protocol", "action", "payload", "code"),
    [
        ("ocpp1.6", "Nonsense", {}, "NotImplemented"),
        ("ocpp1.6", "../../v201/schemas/Heartbeat", {}, "NotImplemented"),
        ("ocpp2.0.1", "StartTransaction", START, "NotImplemented"),
        ("ocpp1.6", "RemoteStartTransaction", {"idTag": TAG}, "NotSupported"),
        ("ocpp2.0.1", "Reset", {"type": "Immediate"}, "NotSupported"),
        ("ocpp1.6", "Heartbeat", [], "FormationViolation"),
        ("ocpp2.0.1", "Heartbeat", None, "FormatViolation"),
        ("ocpp1.6", "StartTransaction", START | {"meterStart": TAG}, "TypeConstraintViolation"),
        ("ocpp1.6", "StartTransaction", START | {"idTag": TAG * 9}, "PropertyConstraintViolation"),
        ("ocpp1.6", "StartTransaction", {"idTag": TAG}, "OccurenceConstraintViolation"),
        ("ocpp2.0.1", "TransactionEvent", EVENT | {"eventType": TAG}, "PropertyConstraintViolation"),
    ],
)
def test_a_call_that_cannot_be_answered_gets_its_error_and_nothing_of_it_is_repeated(
    protocol: Protocol, action: str, payload: object, code: str
) -> None:
    found = answer(protocol, action, payload)
    assert found[:3] == [4, "m-1", code]
    assert "CANARY" not in str(found)


def test_what_is_no_call_gets_a_formation_violation() -> None:
    for protocol, code in (("ocpp1.6", "FormationViolation"), ("ocpp2.0.1", "RpcFrameworkError")):
        found = json.loads(answers().answer(protocol, Malformed("-1", json=False), NOW_US))  # type: ignore[arg-type]  # a literal
        assert found[:3] == [4, "-1", code]


def test_vendor_fields_are_no_violation() -> None:
    assert violation("ocpp1.6", "StartTransaction", START | {"vendorField": {"a": 1}}) is None
    assert answer("ocpp2.0.1", "TransactionEvent", EVENT | {"vendorField": 1})[0] == 3


def test_a_retransmitted_start_gets_the_same_transaction_id_also_from_another_process() -> None:
    assert transaction_id(b"k", "SIM-1", START) == 836518314, "a constant: nothing of the process is in it"
    again = START | {"timestamp": "2026-03-02T09:00:00+01:00", "vendorField": "x"}
    assert transaction_id(b"k", "SIM-1", again) == transaction_id(b"k", "SIM-1", START)


@pytest.mark.parametrize(
    "change",
    [{"connectorId": 2}, {"idTag": "OTHER"}, {"meterStart": 1001}, {"timestamp": "2026-03-02T08:00:01Z"}],
)
def test_another_start_gets_another_transaction_id(change: dict[str, object]) -> None:
    assert transaction_id(b"k", "SIM-1", START | change) != transaction_id(b"k", "SIM-1", START)


def test_transaction_ids_are_keyed_positive_and_spread() -> None:
    assert transaction_id(b"other", "SIM-1", START) != transaction_id(b"k", "SIM-1", START)
    ids = {transaction_id(b"k", f"SIM-{n % 50}", START | {"meterStart": n}) for n in range(5_000)}
    assert all(0 < number <= LARGEST_ID for number in ids)
    assert len(ids) > 4_990
    assert max(ids) > LARGEST_ID // 2 > min(ids)


@pytest.mark.parametrize(("protocol", "action"), EVERY)
def test_references_put_in_place_change_no_verdict(protocol: Protocol, action: str) -> None:
    """Each valid example and what it becomes when any one of its values, at any depth, is another or missing."""
    library = get_validator(MessageType.Call, action, protocol.removeprefix("ocpp"))
    valid = VALID[protocol].get(action, {})
    for sent in [valid, *mutated(valid)]:
        first = next((fault for fault in library.iter_errors(sent) if fault.validator != "additionalProperties"), None)
        found = violation(protocol, action, sent)
        assert (found is None) == (first is None)
        if found is not None and first is not None:
            assert found.where == f"{'.'.join(map(str, first.path)) or 'payload'}: {first.validator}"


def mutated(value: Any) -> Iterator[Any]:
    """`value` with one part of it replaced or left out."""
    if isinstance(value, dict):
        for name, inner in value.items():
            yield {key: each for key, each in value.items() if key != name}
            for other in [["x"], "x" * 3000, -1.5, *mutated(inner)]:
                yield value | {name: other}
    elif isinstance(value, list):
        yield []
        for number, inner in enumerate(value):
            for other in mutated(inner):
                yield [*value[:number], other, *value[number + 1 :]]
