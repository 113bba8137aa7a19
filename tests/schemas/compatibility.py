"""What of a change of schemas/ would break somebody: the schemas against those that were published.

Topics that others write (WRITTEN_BY_OTHERS) must go on to take what their producers send. Breaks: a field is removed
or newly required, a type or a bound is narrower, a word of an enum is gone, a pattern is new. Allowed: new optional
fields, wider types and bounds, new words.

Topics that we write must go on to hold what their consumers read. Breaks: a field is removed or no longer always
there, a type is wider (null among them), a word of an enum is new, a pattern is gone. Allowed: new fields, narrower
types and bounds.

Of a topic: its key, its partitioner and the number of its partitions stay. Of ClickHouse: every column of every view
and table stays with its type.

What has to break gets a new version of the topic. `python -m tests.schemas.compatibility` records what is published,
for a release.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from clickhouse_connect.driver.client import Client

from pipeline.embedded.clickhouse import EmbeddedClickHouse
from pipeline.storage import migrate
from pipeline.storage.connection import connect
from tests.endpoint import owner_url
from tests.schemas.declarations import SCHEMAS

PUBLISHED = Path(__file__).with_name("published")
COLUMNS = PUBLISHED / "clickhouse.json"
WRITTEN_BY_OTHERS = frozenset({"meter-events", "sites", "tariffs", "price-signals"})
LEAST = ("minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties")
MOST = ("maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties")
AS_IT_IS = ("$ref", "pattern", "format", "contentEncoding", "patternProperties", "dependentRequired", "multipleOf")
ALTERNATIVES = ("oneOf", "anyOf", "allOf", "prefixItems")
OF_A_TOPIC = ("key", "partitioner", "partitions")


def breaks(topic: str, before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """A line for each field that breaks a producer or a consumer of the topic."""
    found = [f"{path}: is removed" for path in _removed("$", before, now)]
    if topic in WRITTEN_BY_OTHERS:
        return found + list(_refused("$", before, now))
    return found + [f"{line} (what was published against what is now)" for line in _refused("$", now, before)]


def _removed(path: str, before: Any, now: Any) -> Iterator[str]:
    """Fields and definitions that are no more."""
    for keyword in ("properties", "$defs"):
        for name, field in before.get(keyword, {}).items():
            here = f"{path}.{name}"
            if name in now.get(keyword, {}):
                yield from _removed(here, field, now[keyword][name])
            else:
                yield here
    if isinstance(before.get("items"), dict) and isinstance(now.get("items"), dict):
        yield from _removed(f"{path}[]", before["items"], now["items"])


def _refused(path: str, taken: Mapping[str, Any], by: Mapping[str, Any]) -> Iterator[str]:
    """Where the schema `by` refuses what the schema `taken` takes; fields that only one of them has are left out."""
    for keyword in ("type", "enum"):
        known, words = _words(keyword, taken), _words(keyword, by)
        if words and (not known or known - words):
            yield f"{path}: {keyword} {sorted(map(str, known)) or 'anything'} is narrower: {sorted(map(str, words))}"
    for keyword in (*LEAST, *MOST):
        bound, was = by.get(keyword), taken.get(keyword)
        if bound is not None and (was is None or (bound > was if keyword in LEAST else bound < was)):
            yield f"{path}: {keyword} {was} is narrower: {bound}"
    for keyword in AS_IT_IS:
        if keyword in by and by[keyword] != taken.get(keyword):
            yield f"{path}: {keyword} {taken.get(keyword)!r} is another: {by[keyword]!r}"
    for name in sorted(set(by.get("required", ())) - set(taken.get("required", ()))):
        yield f"{path}.{name}: is required by one and not by the other"
    for keyword in ALTERNATIVES:
        one, other = taken.get(keyword, []), by.get(keyword, [])
        if other and len(one) != len(other):
            yield f"{path}: {keyword} has {len(one)} alternatives in one and {len(other)} in the other"
        for place, (each, against) in enumerate(zip(one, other, strict=False)):
            yield from _refused(f"{path}({place})", each, against)
    for keyword in ("properties", "$defs"):
        for name, field in taken.get(keyword, {}).items():
            if name in by.get(keyword, {}):
                yield from _refused(f"{path}.{name}", field, by[keyword][name])
    if isinstance(taken.get("items"), dict) and isinstance(by.get("items"), dict):
        yield from _refused(f"{path}[]", taken["items"], by["items"])


def _words(keyword: str, schema: Mapping[str, Any]) -> set[Any]:
    """The types of a schema, or the values that it allows; a number may be an integer."""
    if keyword == "enum":
        return set(schema.get("enum", [schema["const"]] if "const" in schema else []))
    types = schema.get("type", [])
    found: set[Any] = {types} if isinstance(types, str) else set(types)
    return found | {"integer"} if "number" in found else found


def topic_breaks(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    return [f"{name}: {before[name]} became {now[name]}" for name in OF_A_TOPIC if before[name] != now[name]]


Columns = dict[str, dict[str, str]]
"""Table or view -> column -> type."""


def columns(client: Client, database: str) -> Columns:
    query = f"SELECT table, name, type FROM system.columns WHERE database = '{database}'"  # noqa: S608 - ours
    found: Columns = {}
    for table, name, kind in client.query(f"{query} AND table != 'schema_migrations' ORDER BY table, name").result_rows:
        found.setdefault(table, {})[name] = kind
    return found


def column_breaks(now: Columns) -> list[str]:
    published: Columns = json.loads(COLUMNS.read_text("utf-8"))
    return [
        f"{table}.{name}: was {kind}, is {now.get(table, {}).get(name)}"
        for table, known in published.items()
        for name, kind in known.items()
        if now.get(table, {}).get(name) != kind
    ]


def record() -> None:
    shutil.rmtree(PUBLISHED, ignore_errors=True)
    for kind in ("messages", "topics"):
        shutil.copytree(SCHEMAS / kind, PUBLISHED / kind)
    with tempfile.TemporaryDirectory() as folder, EmbeddedClickHouse(Path(folder), port=0) as server:
        client = connect(owner_url(server), "default", "")
        migrate.migrate(client, "charging", migrate.read(SCHEMAS / "clickhouse"))
        COLUMNS.write_text(json.dumps(columns(client, "charging"), indent=1) + "\n", "utf-8")
        client.close()


def read(topic: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((PUBLISHED / "messages" / f"{topic}.v1.schema.json").read_text("utf-8"))
    return found


if __name__ == "__main__":
    record()
