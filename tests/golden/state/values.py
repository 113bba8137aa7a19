"""State records by name: a value for every field of a struct, a struct as names and values, the layout of its types."""

from __future__ import annotations

import re
from array import array
from collections.abc import Iterator
from itertools import count
from typing import Any, TypeVar

import msgspec
from msgspec import inspect

from pipeline.domain.station import MINUTE, STRIDE

Struct = TypeVar("Struct", bound=msgspec.Struct)
FIRST = 1_772_436_000_000_000
"""2026-03-02T07:20:00Z in us: numbers count up from here, so each could be a time, and none is there twice. Where a
type allows no such number, they count from 0."""
READINGS = 12
OLD = re.compile(r"_v\d+$")
"""The end of the name of a field that only older records have something in."""


class Filling:
    """Fills structs so that no two fields hold the same: two that are swapped show. Booleans differ by `variant`:

    of any two in one struct, one of the variants 0 to 3 sets one and not the other.
    """

    def __init__(self) -> None:
        self._numbers = count(FIRST + 1)
        self._flags = count()
        self._variant = 0

    def struct(self, kind: type[Struct], variant: int = 0) -> Struct:
        self._variant, self._flags = variant, count()
        filled = self._value(inspect.type_info(kind), kind.__name__)
        assert isinstance(filled, kind)
        return filled

    def _value(self, kind: inspect.Type, name: str) -> Any:
        match kind:
            case inspect.IntType(le=most):
                number = next(self._numbers)
                return number if most is None or number <= most else number - FIRST
            case inspect.StrType():
                return f"{name}-{next(self._numbers) - FIRST}"
            case inspect.BytesType():
                return next(self._numbers).to_bytes(32, "big")
            case inspect.BoolType():
                return bool(next(self._flags) >> self._variant & 1)
            case inspect.LiteralType():
                words = [word for word in kind.values if word]
                return words[self._variant % len(words)]
            case inspect.UnionType():
                return self._value(next(each for each in kind.types if _says_something(each)), name)
            case inspect.ListType() | inspect.VarTupleType():
                items = [self._value(kind.item_type, name) for _ in range(2)]
                return items if isinstance(kind, inspect.ListType) else tuple(items)
            case inspect.TupleType():
                return tuple(self._value(each, name) for each in kind.item_types)
            case inspect.DictType():
                return {self._value(kind.key_type, name): self._value(kind.value_type, name) for _ in range(2)}
            case inspect.StructType():
                fields = [each for each in kind.fields if not OLD.search(each.name)]
                return kind.cls(**{each.name: self._value(each.type, each.name) for each in fields})
            case inspect.CustomType(cls=cls) if cls is array:
                return array("q", self._readings())
            case inspect.AnyType():
                return None  # owned by somebody else, or never stored
        raise TypeError(f"{name}: say here what to fill a {type(kind).__name__} with")

    def _readings(self) -> Iterator[int]:
        """Every five minutes, so that each quarter of an hour has some that an archive leaves out."""
        first = next(self._numbers)
        for index in range(READINGS):
            yield first + index * 5 * MINUTE
            for _ in range(STRIDE - 1):
                yield next(self._numbers)


def _says_something(kind: inspect.Type) -> bool:
    return not isinstance(kind, inspect.NoneType) and kind != inspect.LiteralType(("",))


def named(value: Any) -> Any:
    """A state as JSON holds it: structs by field name, bytes in hex, keys of dictionaries as text."""
    match value:
        case msgspec.Struct():
            return {name: named(getattr(value, name)) for name in value.__struct_fields__}
        case dict():
            return {str(key): named(each) for key, each in value.items()}
        case list() | tuple() | array():
            return [named(each) for each in value]
        case bytes():
            return value.hex()
    return value


def defaults(kind: type[msgspec.Struct]) -> dict[str, Any]:
    """Field name -> what a record that does not have the field is read with; required fields are not there."""
    found = {}
    for field in msgspec.structs.fields(kind):
        if field.default is not msgspec.NODEFAULT:
            found[field.name] = named(field.default)
        elif field.default_factory is not msgspec.NODEFAULT:
            found[field.name] = named(field.default_factory())
    return found


def layout(*roots: type[msgspec.Struct]) -> dict[str, list[str]]:
    """Each struct that can be reached from `roots`: array or map, then its fields in order with their types."""
    found: dict[str, list[str]] = {}

    def text(kind: inspect.Type) -> str:
        match kind:
            case inspect.StructType(cls=cls):
                if cls.__name__ not in found:
                    shape = "array" if kind.array_like else "map"
                    fields = found[cls.__name__] = [f"({shape}, tag {kind.tag})"]
                    fields.extend(f"{each.encode_name}: {text(each.type)}" for each in kind.fields)
                return str(cls.__name__)
            case inspect.UnionType():
                return " | ".join(text(each) for each in kind.types)
            case inspect.ListType():
                return f"list[{text(kind.item_type)}]"
            case inspect.VarTupleType():
                return f"tuple[{text(kind.item_type)}, ...]"
            case inspect.TupleType():
                return f"tuple[{', '.join(text(each) for each in kind.item_types)}]"
            case inspect.DictType():
                return f"dict[{text(kind.key_type)}, {text(kind.value_type)}]"
            case inspect.LiteralType():
                return " | ".join(repr(each) for each in kind.values)
            case inspect.CustomType(cls=cls):
                return str(cls.__name__)
        return type(kind).__name__.removesuffix("Type").lower()

    for root in roots:
        text(inspect.type_info(root))
    return found
