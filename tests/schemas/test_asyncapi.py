"""The AsyncAPI document names every topic and message, and only what exists."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from pipeline.topics import TOPICS
from tests.schemas.declarations import SCHEMAS, declared_topics

DOCUMENT: dict[str, Any] = yaml.safe_load((SCHEMAS / "asyncapi.yaml").read_text("utf-8"))


def references(part: object) -> list[str]:
    """All `$ref` values below `part`."""
    if isinstance(part, dict):
        return [found for name, value in part.items() for found in ([value] if name == "$ref" else references(value))]
    return [found for value in part for found in references(value)] if isinstance(part, list) else []


def dangling(document: dict[str, Any], folder: Path) -> list[str]:
    """References to a part of the document or to a file that is not there."""
    missing = []
    for reference in references(document):
        if not reference.startswith("#/"):
            if not (folder / reference).is_file():
                missing.append(reference)
            continue
        part: Any = document
        for step in reference[2:].split("/"):
            part = part.get(step) if isinstance(part, dict) else None
        if part is None:
            missing.append(reference)
    return missing


def test_every_topic_is_a_channel_and_every_channel_a_topic() -> None:
    assert DOCUMENT["asyncapi"].startswith("3.")
    assert DOCUMENT["channels"].keys() == TOPICS.keys()
    assert {channel["address"] for channel in DOCUMENT["channels"].values()} == TOPICS.keys()


def test_every_channel_has_the_partitions_of_its_topic_and_an_operation() -> None:
    used = {operation["channel"]["$ref"].rpartition("/")[2] for operation in DOCUMENT["operations"].values()}
    assert used == TOPICS.keys()
    for name, topic in declared_topics(SCHEMAS).items():
        assert DOCUMENT["channels"][name]["bindings"]["kafka"]["partitions"] == topic["partitions"]


def test_every_schema_is_mentioned() -> None:
    text = (SCHEMAS / "asyncapi.yaml").read_text("utf-8")
    mentioned = set(re.findall(r"\./messages/([\w.-]+\.json)", text))
    assert mentioned == {file.name for file in (SCHEMAS / "messages").iterdir()}


def test_no_reference_dangles() -> None:
    assert dangling(DOCUMENT, SCHEMAS) == []
    assert dangling({"a": {"$ref": "#/b"}, "c": [{"$ref": "./messages/none.json"}]}, SCHEMAS) == [
        "#/b",
        "./messages/none.json",
    ]
