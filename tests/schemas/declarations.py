"""Reads schemas/ and says what is wrong with it: each function returns its complaints, none means good."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import msgspec
import yaml
from jsonschema import Draft202012Validator

from pipeline.topics import Topic

SCHEMAS = Path(__file__).parents[2] / "schemas"
TOPIC_FIELDS = {
    "name", "description", "key", "partitioner", "partitions", "replication_factor", "config", "writers", "readers",
    "identifiers", "schema", "examples",
}  # fmt: skip


def declared_topics(folder: Path) -> dict[str, dict[str, Any]]:
    """File name without suffix -> its content."""
    return {file.stem: yaml.safe_load(file.read_text("utf-8")) for file in sorted(folder.glob("topics/*.yaml"))}


def orphans(folder: Path, topics: Mapping[str, Topic]) -> list[str]:
    """Whatever is declared in one place only: code, topics/*.yaml, messages/*.schema.json, examples/."""
    files = declared_topics(folder)
    found = [f"{name}: in schemas/topics, not in pipeline/topics.py" for name in files.keys() - topics.keys()]
    found += [f"{name}: in pipeline/topics.py, not in schemas/topics" for name in topics.keys() - files.keys()]
    schemas = {f"schemas/messages/{file.name}" for file in folder.glob("messages/*")}
    named = {file["schema"] for file in files.values()}
    found += [f"{name}: belongs to no topic" for name in schemas - named]
    found += [f"{name}: named by a topic, does not exist" for name in named - schemas]
    examples = {f"schemas/examples/{path.relative_to(folder / 'examples')}" for path in folder.glob("examples/*/*")}
    wanted = {file["examples"] for file in files.values()}
    found += [f"{name}: belongs to no topic" for name in examples - wanted]
    found += [f"{name}: no example" for name in wanted if not list(folder.parent.glob(f"{name}/*.json"))]
    return found


def topic_faults(name: str, declared: Mapping[str, Any], topic: Topic) -> list[str]:
    """Where a topic's file is incomplete or contradicts the code."""
    found = [f"{name}: {field} is missing" for field in TOPIC_FIELDS - declared.keys()]
    found += [f"{name}: {field} is not known" for field in declared.keys() - TOPIC_FIELDS]
    if found:
        return found
    if declared["name"] != name:
        found.append(f"{name}: is named {declared['name']} inside")
    if declared["identifiers"] is not topic.holds_identifiers:
        found.append(f"{name}: identifiers differs from pipeline/topics.py")
    if topic.key.split(",")[0].split(" ")[0] not in declared["key"]:
        found.append(f"{name}: the key differs from pipeline/topics.py")
    found += [
        f"{name}: config {key} must be text" for key, value in declared["config"].items() if type(value) is not str
    ]
    if declared["config"].get("cleanup.policy") != "compact" and "retention.ms" not in declared["config"]:
        found.append(f"{name}: retention.ms is missing")
    return found


def schema_of(topic: str, folder: Path = SCHEMAS) -> dict[str, Any]:
    schema: dict[str, Any] = json.loads((folder / "messages" / f"{topic}.v1.schema.json").read_text("utf-8"))
    return schema


def example_faults(schema: Mapping[str, Any], example: object) -> list[str]:
    return [f"{error.json_path}: {error.message}" for error in Draft202012Validator(schema).iter_errors(example)]


def struct_faults(
    schema: Mapping[str, Any], struct: type[msgspec.Struct], *, internal: Iterable[str] = (), all_sent: bool = False
) -> list[str]:
    """Where the properties of an object schema and the fields of a struct differ, either way.

    `internal`: fields that no record carries. `all_sent`: the encoder writes every field that is not UNSET, so each is
    required.
    """
    declared_fields = msgspec.structs.fields(struct)
    fields = {
        each.encode_name: each.required or (all_sent and each.default is not msgspec.UNSET) for each in declared_fields
    }
    config = struct.__struct_config__
    if config.tag_field:
        fields[config.tag_field] = True
    for name in internal:
        del fields[name]
    required = {name for name, needed in fields.items() if needed}
    found = [f"{struct.__name__}.{name}: not in the schema" for name in fields.keys() - schema["properties"].keys()]
    found += [f"{name}: in the schema, no field of {struct.__name__}" for name in schema["properties"].keys() - fields]
    found += [f"{struct.__name__}.{name}: required differs" for name in required ^ set(schema["required"])]
    if config.tag_field and schema["properties"].get(config.tag_field) != {"const": config.tag}:
        found.append(f"{struct.__name__}: the tag is not {config.tag}")
    found += [
        f"{struct.__name__}.{name}: no description"
        for name, declared in schema["properties"].items()
        if not ({"description", "const", "$ref"} & declared.keys()) and name not in PLAIN
    ]
    return found


PLAIN = {"station_id", "connector_id", "state", "severity", "site_id"}
"""Fields that every topic has in the same meaning; described once, in meter-events."""
