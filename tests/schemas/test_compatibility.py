"""No change of schemas/ breaks who writes to our topics or reads them."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

from pipeline.topics import TOPICS
from tests.schemas.compatibility import PUBLISHED, breaks, read, topic_breaks
from tests.schemas.declarations import SCHEMAS, declared_topics, schema_of

PUBLISHED_TOPICS = declared_topics(PUBLISHED)


@pytest.mark.parametrize("topic", PUBLISHED_TOPICS)
def test_nothing_that_was_published_breaks(topic: str) -> None:
    assert topic in TOPICS
    assert breaks(topic, read(topic), schema_of(topic)) == [], "tests/schemas/compatibility.py says what is allowed"
    assert topic_breaks(PUBLISHED_TOPICS[topic], declared_topics(SCHEMAS)[topic]) == []


Change = Callable[[dict[str, Any]], object]


def of(kind: str, field: str, **keywords: Any) -> Change:
    return lambda schema: schema["$defs"][kind]["properties"][field].update(keywords)


@pytest.mark.parametrize(
    ("change", "names"),
    [
        (lambda s: s["$defs"]["meter_read"]["properties"].pop("power_w"), "power_w: is removed"),
        (lambda s: s["$defs"]["meter_read"]["required"].append("power_w"), "power_w: is required"),
        (of("meter_read", "soc_percent", type="string"), "soc_percent: type"),
        (of("meter_read", "soc_percent", maximum=99), "soc_percent: maximum"),
        (of("meter_read", "register_wh", minimum=1), "register_wh: minimum"),
        (of("meter_read", "state", enum=["charging"]), "state: enum"),
        (of("meter_read", "transaction_id", pattern="^[0-9]+$"), "transaction_id: pattern"),
        (lambda s: s["$defs"].pop("station_seen"), "station_seen: is removed"),
    ],
    ids=["removed", "required", "type", "maximum", "minimum", "word", "pattern", "kind"],
)
def test_what_breaks_a_producer_is_named(change: Change, names: str) -> None:
    changed = copy.deepcopy(read("meter-events"))
    change(changed)
    assert any(names in line for line in breaks("meter-events", read("meter-events"), changed))


@pytest.mark.parametrize(
    "change",
    [
        of("meter_read", "new", type="integer"),
        of("meter_read", "soc_percent", type=["integer", "null"]),
        of("meter_read", "soc_percent", maximum=1000),
        lambda s: s["$defs"]["meter_read"]["properties"]["state"]["enum"].append("resting"),
        lambda s: s["$defs"]["meter_read"]["required"].remove("station_id"),
    ],
    ids=["field", "type", "bound", "word", "optional"],
)
def test_what_a_producer_need_not_care_for_is_allowed(change: Change) -> None:
    changed = copy.deepcopy(read("meter-events"))
    changed["$defs"]["meter_read"]["properties"].setdefault("new", {})
    change(changed)
    assert breaks("meter-events", read("meter-events"), changed) == []


@pytest.mark.parametrize(
    ("change", "names"),
    [
        (lambda s: s["properties"].pop("energy_wh"), "energy_wh: is removed"),
        (lambda s: s["required"].remove("energy_wh"), "energy_wh: is required"),
        (lambda s: s["properties"]["duration_s"].update(type=["integer", "null"]), "duration_s: type"),
        (lambda s: s["properties"]["status"]["enum"].append("lost"), "status: enum"),
        (lambda s: s["$defs"]["line"]["properties"].pop("unit"), "line.unit: is removed"),
    ],
    ids=["removed", "optional", "null", "word", "nested"],
)
def test_what_breaks_a_consumer_is_named(change: Change, names: str) -> None:
    changed = copy.deepcopy(read("sessions"))
    change(changed)
    assert any(names in line for line in breaks("sessions", read("sessions"), changed))


def test_what_a_consumer_need_not_care_for_is_allowed() -> None:
    changed = copy.deepcopy(read("sessions"))
    changed["properties"]["new"] = {"type": "string"}
    changed["required"].append("new")
    changed["properties"]["duration_s"]["minimum"] = 1
    changed["properties"]["energy_wh"]["type"] = "integer"
    assert breaks("sessions", read("sessions"), changed) == []


def test_a_topic_with_other_partitions_is_named() -> None:
    before = PUBLISHED_TOPICS["sessions"]
    assert topic_breaks(before, before | {"partitions": 1}) == [f"partitions: {before['partitions']} became 1"]
