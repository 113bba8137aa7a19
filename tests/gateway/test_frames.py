"""Any bytes become a frame or a refusal, and a record that the worker's decoder can take or refuse by name."""

from __future__ import annotations

import json

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.cli.gateway import LARGEST_FRAME
from pipeline.domain.frames import OcppFrame
from pipeline.errors import InvalidMessage
from pipeline.gateway import frames
from pipeline.gateway.frames import LONGEST_ID, Answer, Call, Malformed, parse
from pipeline.topics import LARGEST_RECORD
from pipeline.wire.meter_events import check

AT_US = 1_772_438_405_000_123
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b'[2,"7","Heartbeat",{}]', Call("7", "Heartbeat", {})),
        (b'[2,"7","Heartbeat",[]]', Call("7", "Heartbeat", [])),
        (b'[3,"7",{}]', Answer()),
        (b'[4,"7","GenericError","",{}]', Answer()),
        (b'[2,"7","Heartbeat"]', Malformed("7", json=True)),
        (b'[9,"7"]', Malformed("7", json=True)),
        (b'[2,7,"Heartbeat",{}]', Malformed("-1", json=True)),
        (b'[2,"","Heartbeat",{}]', Malformed("-1", json=True)),
        (b'[2,"' + b"x" * (LONGEST_ID + 1) + b'","Heartbeat",{}]', Malformed("-1", json=True)),
        (b'{"a":1}', Malformed("-1", json=True)),
        (b'[2,"7","Heartbeat",{', Malformed("-1", json=False)),
        (b"\xff\xfe", Malformed("-1", json=False)),
        (b"[" * 100_000, Malformed("-1", json=False)),
    ],
)
def test_what_a_frame_is(data: bytes, expected: frames.Frame) -> None:
    assert parse(data) == expected


@settings(max_examples=60)
@given(st.binary() | JSON.map(lambda value: json.dumps(value).encode()))
def test_any_bytes_give_a_frame_and_a_record_with_these_bytes_as_evidence(data: bytes) -> None:
    frame = parse(data)
    assert isinstance(frame, Call | Answer | Malformed)
    is_json = not (isinstance(frame, Malformed) and not frame.json)
    record = frames.received("SIM-1", AT_US, "ocpp1.6", data, json=is_json)
    assert b"\n" not in record
    kept = json.loads(record)["frame"]
    assert kept == (json.loads(data) if is_json else data.decode("utf-8", "backslashreplace"))


def test_a_record_is_the_envelope_that_the_worker_decodes_with_the_bytes_as_sent() -> None:
    data = b'[2, "7", "MeterValues",\r\n {"connectorId": 1, "vendor": 1.10}]'
    record = frames.received("SIM-1", AT_US, "ocpp1.6", data)
    assert b'{"connectorId": 1, "vendor": 1.10}' in record
    assert not {b"\n", b"\r"} & {bytes([byte]) for byte in record}, "one line of a log"
    decoded = check(record)
    assert isinstance(decoded, OcppFrame)
    assert (decoded.station_id, decoded.direction, decoded.protocol) == ("SIM-1", "cp->csms", "ocpp1.6")
    assert decoded.received_at == "2026-03-02T08:00:05.000123Z"
    answer = check(frames.answered("SIM-1", AT_US, "ocpp2.0.1", frames.result("7", {})))
    assert isinstance(answer, OcppFrame)
    assert (answer.direction, answer.protocol) == ("csms->cp", "ocpp2.0.1")
    link = check(frames.link("SIM-1", AT_US, "down"))
    assert isinstance(link, OcppFrame)
    assert link.link == "down"


def test_what_is_no_frame_becomes_a_dead_letter_with_its_reason() -> None:
    for data, is_json in ((b"{}", True), (b"\x00nonsense", False)):
        with pytest.raises(InvalidMessage) as refused:
            check(frames.received("SIM-1", AT_US, "ocpp1.6", data, json=is_json))
        assert refused.value.reason == "SCHEMA_VIOLATION"


def test_the_largest_frame_fits_a_record_whatever_its_bytes() -> None:
    for byte in (b"\x00", b"\xff", b'"'):
        assert len(frames.received("S" * 48, AT_US, "ocpp2.0.1", byte * LARGEST_FRAME, json=False)) <= LARGEST_RECORD


def test_a_time_is_iso_8601_in_utc() -> None:
    assert frames.iso(0) == "1970-01-01T00:00:00.000000Z"
    assert msgspec.json.decode(frames.link("S", 1_000_000, "up"))["received_at"] == "1970-01-01T00:00:01.000000Z"
