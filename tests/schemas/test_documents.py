"""Schemas of what others write against the decoders that read it: the same fields, and the same values refused.

The examples of a topic together show each of its fields; by them the schema and the decoder are compared.
"""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import pytest

from pipeline.errors import InvalidMessage
from pipeline.wire.json_values import Reader
from pipeline.wire.meter_events import check
from pipeline.wire.price_signals import decode_signals
from pipeline.wire.sites import decode_sites
from pipeline.wire.tariffs import _IGNORED, decode_tariffs
from tests.schemas.declarations import SCHEMAS, example_faults, schema_of


class Document(NamedTuple):
    topic: str
    decode: Callable[[bytes, str], object]
    unread: frozenset[str] = frozenset()
    """Fields in which anything may stand, because nobody reads them."""
    beyond: Mapping[str, str] = {}
    """Fields of which the decoder refuses more than a schema can say, and what."""


BELOW = "its limit on the other side is crossed"
DOCUMENTS = (
    Document(
        "tariffs",
        decode_tariffs,
        frozenset(_IGNORED),
        dict.fromkeys(
            [f"{end}_{of}" for end in ("min", "max") for of in ("kwh", "current", "power", "duration")], BELOW
        )
        | dict.fromkeys(("x_min_idle", "x_max_idle", "floor", "cap"), BELOW)
        | dict.fromkeys(("excl_vat", "incl_vat", "before_taxes", "after_taxes"), BELOW)
        | {"from_share": "one has to begin at 0"},
    ),
    Document("sites", decode_sites, beyond={"time_zone": "a name that the time zone rules have"}),
    Document("price-signals", decode_signals),
)
EVENTS = Document("meter-events", lambda data, _: check(data))
"""Its fields are compared in test_schemas.py: they are those of structs. OCPP's own frames are not ours to describe."""
ABSENT = object()
WRONG: tuple[Any, ...] = (True, "", "x", -1, 0, 1.5, [], {}, [{}], ["x"], 10**18 - 1, "x" * 1000)


def examples(topic: str) -> list[dict[str, Any]]:
    found = [json.loads(file.read_text("utf-8")) for file in sorted(SCHEMAS.glob(f"examples/{topic}/v1/*.json"))]
    return [example for example in found if "frame" not in example]


def declared(schema: Any, root: Any, path: str = "") -> Iterator[str]:
    """The path of each field below a schema; `[]` is any element of a list."""
    if "$ref" in schema:
        yield from declared(root["$defs"][schema["$ref"].rpartition("/")[2]], root, path)
    for each in schema.get("oneOf", []):
        yield from declared(each, root, path)
    for name, field in schema.get("properties", {}).items():
        here = f"{path}.{name}" if path else name
        yield here
        yield from declared(field, root, here)
    if "items" in schema:
        yield from declared(schema["items"], root, f"{path}[]")


def places(document: Any, path: str = "") -> Iterator[tuple[str, dict[str, Any], str]]:
    """Path, object and name of each field."""
    if isinstance(document, dict):
        for name, value in list(document.items()):
            here = f"{path}.{name}" if path else name
            yield here, document, name
            yield from places(value, here)
    for each in document if isinstance(document, list) else ():
        yield from places(each, f"{path}[]")


def top(path: str) -> str:
    return re.split(r"[.\[]", path)[0]


def accepts(each: Document, document: Any) -> bool:
    try:
        each.decode(json.dumps(document).encode(), "document")
    except InvalidMessage:
        return False
    return True


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Every field that a decoder asks for, whether it is there or not."""
    found: set[str] = set()
    get = Reader.get

    def noted(reader: Reader, name: str) -> Any:
        found.add(re.sub(r"\[\d+\]", "[]", reader.path(name)))
        return get(reader, name)

    monkeypatch.setattr(Reader, "get", noted)
    return found


@pytest.mark.parametrize("each", DOCUMENTS, ids=lambda each: each.topic)
def test_schema_decoder_and_examples_have_the_same_fields(each: Document, asked: set[str]) -> None:
    schema = schema_of(each.topic)
    fields = set(declared(schema, schema))
    for example in examples(each.topic):
        each.decode(json.dumps(example).encode(), each.topic)
    assert asked == fields
    of_examples = {path for example in examples(each.topic) for path, _, _ in places(example)}
    assert {path for path in of_examples if top(path) not in each.unread} == fields - each.unread


@pytest.mark.parametrize("each", [*DOCUMENTS, EVENTS], ids=lambda each: each.topic)
def test_schema_and_decoder_refuse_the_same(each: Document) -> None:
    schema = schema_of(each.topic)
    stricter: set[str] = set()
    for example in examples(each.topic):
        assert accepts(each, example)
        changed = copy.deepcopy(example)
        for path, holder, name in places(changed):
            if top(path) in each.unread:
                continue
            right = holder.pop(name)
            for wrong in (ABSENT, *WRONG):
                if wrong is not ABSENT:
                    holder[name] = wrong
                taken, valid = accepts(each, changed), not example_faults(schema, changed)
                assert valid or not taken, f"{path} = {wrong!r}: the decoder takes what the schema refuses"
                if valid and not taken:
                    stricter.add(name)
            holder[name] = right
    assert stricter == each.beyond.keys()
