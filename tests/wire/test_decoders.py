"""Each OCPP message that is decoded has an example in schemas/, a test of its version, and an answer of the gateway."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pipeline.gateway.answers import ANSWERS
from pipeline.wire import ocpp16, ocpp201
from pipeline.wire.ocpp import SIGNS

ROOT = Path(__file__).parents[2]
EXAMPLES = {
    path.name: json.loads(path.read_text("utf-8"))
    for path in (ROOT / "schemas" / "examples" / "meter-events" / "v1").glob("ocpp*.json")
}
DECODED = [("ocpp16", action) for action in ocpp16.DECODERS] + [("ocpp201", action) for action in ocpp201.DECODERS]


@pytest.mark.parametrize(("version", "action"), DECODED)
def test_each_message_has_an_example(version: str, action: str) -> None:
    called = [
        name
        for name, example in EXAMPLES.items()
        if name.startswith(version) and example.get("frame", [0])[0] == 2 and example["frame"][2] == action
    ]
    assert called, f"schemas/examples/meter-events/v1/{version}-<message>.json with a call of {action} is missing"


@pytest.mark.parametrize(("version", "action"), DECODED)
def test_each_message_has_a_test_of_its_version(version: str, action: str) -> None:
    assert f'"{action}"' in Path(__file__).with_name(f"test_{version}.py").read_text("utf-8")


@pytest.mark.parametrize(("version", "action"), DECODED)
def test_the_gateway_answers_each_message(version: str, action: str) -> None:
    assert action in ANSWERS["ocpp1.6" if version == "ocpp16" else "ocpp2.0.1"]


def test_each_call_of_an_example_is_decoded_or_a_sign_of_life() -> None:
    decoders = {"ocpp16": ocpp16.DECODERS, "ocpp201": ocpp201.DECODERS, "ocpp21": ocpp201.DECODERS}
    calls = {
        (name.partition("-")[0], example["frame"][2])
        for name, example in EXAMPLES.items()
        if example.get("frame", [0])[0] == 2 and example.get("direction") == "cp->csms"
    }
    assert len(calls) > 10
    assert [call for call in sorted(calls) if call[1] not in {*decoders[call[0]], *SIGNS}] == []
