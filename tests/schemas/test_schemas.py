"""schemas/ against the code, both ways; each check is shown something bad first."""

from __future__ import annotations

import base64
import copy
import json
import shutil
import struct
from collections import Counter
from pathlib import Path

import msgspec
import pytest
from jsonschema import Draft202012Validator

from pipeline.agents.assembly import Assembly
from pipeline.domain import events, frames, outputs, receipts, station
from pipeline.domain.pricing.bill import TaxTotal
from pipeline.domain.pseudonyms import KEY_BYTES, PURPOSES, Keyring
from pipeline.domain.rating import Rating
from pipeline.domain.sites import availability
from pipeline.edge.faults import parse_faults
from pipeline.edge.fleet import fleet_documents
from pipeline.edge.simulator import FleetConfig, simulate
from pipeline.errors import InvalidMessage
from pipeline.runtime.offline import Offline
from pipeline.topics import LARGEST_RECORD, TOPICS
from pipeline.wire.connector_status import decode_status, encode_change
from pipeline.wire.control import SignedDecision
from pipeline.wire.meter_events import Decoder, check
from pipeline.wire.price_signals import decode_signals, encode_price_slot
from pipeline.wire.quarantine import Mark
from pipeline.wire.sessions import decode_alert, decode_session, decode_update
from pipeline.wire.sites import decode_sites
from pipeline.wire.tariffs import decode_tariffs
from tests.schemas.declarations import (
    SCHEMAS,
    declared_topics,
    example_faults,
    orphans,
    schema_of,
    struct_faults,
    topic_faults,
)
from tests.schemas.produced import OFFSET, produced

EXAMPLES = sorted(SCHEMAS.glob("examples/*/v1/*.json"))
MADE_BY_WIRE = {
    events.SessionStarted: ("call", "billing_token", "analytics_token"),
    events.SessionAuthorized: ("billing_token", "analytics_token"),
    events.MeterRead: ("left_out",),
    SignedDecision: ("billing_token", "analytics_token"),
}
"""Fields that wire fills; no producer sends them."""
SENT = (
    events.SessionStarted,
    events.SessionAuthorized,
    events.MeterRead,
    events.SessionEnded,
    events.StatusReported,
    events.StationSeen,
    SignedDecision,
    events.ClockTicked,
)
STRUCTS: list[tuple[str, str, type[msgspec.Struct]]] = [
    ("sessions", "", outputs.StrippedSession),
    ("sessions", "line", outputs.Line),
    ("sessions", "slot", outputs.SessionSlot),
    ("session-updates", "", outputs.SessionUpdate),
    ("anomalies", "", outputs.Alert),
    ("receipts", "bill", receipts.Receipt),
    ("receipts", "credit", receipts.Credit),
    ("receipts", "account", receipts.Account),
    ("receipts", "hypothesis", receipts.Hypothesis),
    ("receipts", "decided", receipts.Decided),
    ("receipts", "left_out", receipts.LeftOut),
    ("receipts", "value", receipts.Value),
    ("receipts", "origin", receipts.Origin),
    ("receipts", "tax", TaxTotal),
    ("receipts", "line", outputs.Line),
    ("connector-status", "connector_changed", outputs.ConnectorChanged),
]


def test_nothing_is_declared_in_one_place_only() -> None:
    assert orphans(SCHEMAS, TOPICS) == []


@pytest.mark.parametrize("lost", ["topics/sessions.yaml", "messages/sessions.v1.schema.json", "examples/sessions/v1"])
def test_an_orphan_is_noticed(lost: str, tmp_path: Path) -> None:
    folder = tmp_path / "schemas"
    shutil.copytree(SCHEMAS, folder)
    path = folder / lost
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    assert any("sessions" in fault for fault in orphans(folder, TOPICS))


def test_a_topic_that_only_the_code_knows_is_noticed() -> None:
    assert orphans(SCHEMAS, {**TOPICS, "surprises": TOPICS["sessions"]}) == [
        "surprises: in pipeline/topics.py, not in schemas/topics"
    ]


@pytest.mark.parametrize("name", TOPICS)
def test_a_topic_is_declared_as_the_code_has_it(name: str) -> None:
    assert topic_faults(name, declared_topics(SCHEMAS)[name], TOPICS[name]) == []


@pytest.mark.parametrize(
    ("field", "value"),
    [("identifiers", True), ("name", "session"), ("key", "site_id"), ("config", {}), ("config", {"retention.ms": 5})],
)
def test_a_topic_that_contradicts_the_code_is_noticed(field: str, value: object) -> None:
    declared = declared_topics(SCHEMAS)["sessions"] | {field: value}
    assert topic_faults("sessions", declared, TOPICS["sessions"])


def test_state_has_a_partition_for_each_partition_of_its_source() -> None:
    topics = declared_topics(SCHEMAS)
    assert topics["station-state"]["partitions"] == topics["meter-events"]["partitions"]
    assert topics["site-state"]["partitions"] == topics["connector-status"]["partitions"]


def test_the_largest_record_and_its_dead_letter_fit_into_their_topics() -> None:
    topics = declared_topics(SCHEMAS)
    source = int(topics["meter-events"]["config"]["max.message.bytes"])
    assert source >= LARGEST_RECORD + 1024
    assert int(topics["dead-letters"]["config"]["max.message.bytes"]) >= source + 64 * 1024


@pytest.mark.parametrize("topic", TOPICS)
def test_a_schema_is_a_schema(topic: str) -> None:
    Draft202012Validator.check_schema(schema_of(topic))


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: f"{path.parts[-3]}-{path.stem}")
def test_an_example_is_valid(example: Path) -> None:
    assert example_faults(schema_of(example.parts[-3]), json.loads(example.read_text("utf-8"))) == []


@pytest.mark.parametrize("topic", TOPICS)
def test_an_example_without_any_one_required_field_is_invalid(topic: str) -> None:
    schema = schema_of(topic)
    example = json.loads(next(path for path in EXAMPLES if path.parts[-3] == topic).read_text("utf-8"))
    required = schema.get("required") or schema["$defs"][example["type"]]["required"]
    for field in required:
        assert example_faults(schema, {name: value for name, value in example.items() if name != field}), field


WRITTEN_BY_US = {topic for topic in TOPICS if topic not in ("meter-events", "sites", "tariffs", "price-signals")}
"""Others write the rest; receipts are compared in tests/wire/test_receipts.py."""


def test_an_example_of_what_we_write_is_what_we_write() -> None:
    """Written anew by `python -m tests.schemas.produced`."""
    made = produced()
    for name, example in made.items():
        file = SCHEMAS / "examples" / f"{name}.json"
        assert json.loads(file.read_text("utf-8")) == example, name
    ours = {f"{e.parts[-3]}/v1/{e.stem}" for e in EXAMPLES if e.parts[-3] in WRITTEN_BY_US - {"receipts"}}
    assert ours == made.keys() - {"price-signals/v1/availability"}


@pytest.mark.parametrize("topic", ["dead-letters", "rejections", "quarantine"])
def test_headers_are_those_of_the_schema(topic: str) -> None:
    """The examples are what we write, so a header that the schema does not know shows here."""
    headers = {name for e in EXAMPLES if e.parts[-3] == topic for name in json.loads(e.read_text("utf-8"))}
    assert headers == schema_of(topic)["properties"].keys()


def test_a_mark_has_the_fields_that_the_schema_of_quarantine_names() -> None:
    _, _, fields = schema_of("quarantine")["description"].partition("that of a mark is JSON: ")
    assert fields.rstrip(".").split(", ") == [field.encode_name for field in msgspec.structs.fields(Mark)]


def test_the_head_of_a_state_record_is_as_its_schema_describes_it() -> None:
    """One byte of format, two of codec version, eight of source offset."""
    for topic, version in (("station-state", station.CODEC_VERSION), ("site-state", availability.CODEC_VERSION)):
        value = next(e for e in EXAMPLES if e.parts[-3] == topic and e.stem in ("station", "site"))
        assert base64.b64decode(json.loads(value.read_text())["value"])[:11] == struct.pack(">BHQ", 1, version, OFFSET)


@pytest.mark.parametrize("example", [e for e in EXAMPLES if e.parts[-3] == "meter-events"], ids=lambda e: e.stem)
def test_the_decoder_takes_what_the_schema_promises(example: Path) -> None:
    record = check(example.read_bytes())
    assert isinstance(record, frames.OcppFrame) == ("ocpp" in example.stem)
    if not isinstance(record, frames.OcppFrame):  # as our commands and the simulator encode the same
        assert json.loads(msgspec.json.encode(record)) == json.loads(example.read_text("utf-8"))


@pytest.mark.parametrize("topic", ["sessions", "anomalies", "session-updates"])
def test_the_examples_decode_to_what_they_say(topic: str) -> None:
    decode = {"sessions": decode_session, "anomalies": decode_alert, "session-updates": decode_update}[topic]
    for example in (path for path in EXAMPLES if path.parts[-3] == topic):
        value = example.read_bytes()
        assert json.loads(msgspec.json.encode(decode(value))) == json.loads(value)


@pytest.mark.parametrize("example", [e for e in EXAMPLES if e.parts[-3] == "price-signals"], ids=lambda e: e.stem)
def test_the_examples_of_signals_are_read_and_written_alike(example: Path) -> None:
    (slot,) = decode_signals(example.read_bytes(), example.name)
    wanted = json.loads(example.read_text("utf-8"))
    if "end" in wanted:
        wanted["minutes"] = 60
        del wanted["end"]
    assert json.loads(encode_price_slot(slot)) == wanted


@pytest.mark.parametrize(
    "change", [{"end": "2026-03-02T08:00:00Z"}, {"price": 1}, {"free": None}, {"slot": 1}], ids=str
)
def test_schema_and_decoder_of_signals_refuse_the_same(change: dict[str, object]) -> None:
    example = json.loads((SCHEMAS / "examples/price-signals/v1/availability.json").read_text("utf-8")) | change
    assert example_faults(schema_of("price-signals"), example)
    with pytest.raises(InvalidMessage):
        decode_signals(json.dumps(example).encode(), "signals")


@pytest.mark.parametrize("example", [e for e in EXAMPLES if e.parts[-3] == "connector-status"], ids=lambda e: e.stem)
def test_the_examples_of_statuses_are_read_and_written_alike(example: Path) -> None:
    record = decode_status(example.read_bytes())
    again = encode_change(record) if isinstance(record, outputs.ConnectorChanged) else msgspec.json.encode(record)
    assert json.loads(again) == json.loads(example.read_text("utf-8"))


@pytest.mark.parametrize("struct", SENT, ids=lambda struct: struct.__name__)
def test_a_meter_event_has_the_fields_of_its_struct(struct: type[msgspec.Struct]) -> None:
    schema = schema_of("meter-events")["$defs"][struct.__struct_config__.tag]
    assert struct_faults(schema, struct, internal=MADE_BY_WIRE.get(struct, ())) == []


def test_an_envelope_has_the_fields_of_its_struct() -> None:
    assert struct_faults(schema_of("meter-events")["$defs"]["ocpp_frame"], frames.OcppFrame) == []


@pytest.mark.parametrize(("topic", "part", "struct"), STRUCTS, ids=lambda value: getattr(value, "__name__", value))
def test_an_output_has_the_fields_of_its_struct(topic: str, part: str, struct: type[msgspec.Struct]) -> None:
    schema = schema_of(topic)
    assert struct_faults(schema["$defs"][part] if part else schema, struct, all_sent=True) == []


def test_a_field_in_one_place_only_is_noticed() -> None:
    schema = schema_of("anomalies")
    lacking, surplus, lax = copy.deepcopy(schema), copy.deepcopy(schema), copy.deepcopy(schema)
    del lacking["properties"]["rule"]
    surplus["properties"]["idTag"] = {"type": "string", "description": "-"}
    lax["required"].remove("rule")
    assert "Alert.rule: not in the schema" in struct_faults(lacking, outputs.Alert, all_sent=True)
    assert "idTag: in the schema, no field of Alert" in struct_faults(surplus, outputs.Alert, all_sent=True)
    assert "Alert.rule: required differs" in struct_faults(lax, outputs.Alert, all_sent=True)


def test_every_kind_of_event_has_an_example() -> None:
    kinds = {
        json.loads(path.read_text()).get("type", "ocpp_frame") for path in EXAMPLES if path.parts[-3] == "meter-events"
    }
    assert kinds == set(schema_of("meter-events")["$defs"])


@pytest.mark.parametrize(
    "change",
    [
        {"version": 2},
        {"station_id": ""},
        {"soc_percent": 101},
        {"register_wh": -1},
        {"power_w": 11.5},
        {"event_time_us": "2026-03-02T08:00:00Z"},
        {"state": "resting"},
    ],
    ids=lambda change: next(iter(change)),
)
def test_schema_and_decoder_refuse_the_same(change: dict[str, object]) -> None:
    example = json.loads((SCHEMAS / "examples/meter-events/v1/meter-read.json").read_text("utf-8")) | change
    assert example_faults(schema_of("meter-events"), example)
    with pytest.raises(InvalidMessage):
        check(json.dumps(example).encode())


def test_what_the_simulator_sends_is_valid() -> None:
    validator = Draft202012Validator(schema_of("meter-events"))
    config = FleetConfig(stations=4, sites=2, sessions=3, faults=parse_faults("all"))
    kinds: dict[str, int] = {}
    for number, (_, _, value) in enumerate(simulate(config)):
        event = json.loads(value)
        kinds[event["type"]] = kinds.get(event["type"], 0) + 1
        if kinds[event["type"]] <= 20 or number % 50 == 0:
            validator.validate(event)
    assert kinds.keys() == {
        "session_started", "meter_read", "session_ended", "status_reported", "station_seen", "clock_ticked",
    }  # fmt: skip


def test_what_the_pipeline_sends_is_valid() -> None:
    """Every output of a simulated day, and some of each topic at least."""
    config = FleetConfig(stations=12, sites=3, sessions=4, faults=parse_faults("all"))
    sites, tariffs = fleet_documents(config.seed, config.stations, config.sites)
    keyring = Keyring({purpose: {"*": bytes(KEY_BYTES)} for purpose in PURPOSES})
    rating = Rating(
        keyring,
        decode_sites(json.dumps(sites).encode(), "sites"),
        decode_tariffs(json.dumps(tariffs).encode(), "tariffs"),
    )
    stage = Offline(Assembly(rating, Decoder(keyring)))
    told = ("sessions", "receipts", "anomalies", "session-updates", "connector-status")
    validators = {topic: Draft202012Validator(schema_of(topic)) for topic in told}
    sent: Counter[str] = Counter()
    for _, key, value in simulate(config):
        for output in stage.feed(key, value):
            if output.topic in validators and output.value is not None:
                sent[output.topic] += 1
                if output.topic != "session-updates" or sent[output.topic] % 20 == 0:
                    validators[output.topic].validate(json.loads(output.value))
    assert sent.keys() == validators.keys()
    assert sent["sessions"] > 50
