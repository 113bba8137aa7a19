"""Reading JSON documents strictly: numbers as Decimal, and every fault collected with the path of its element.

Used for documents that people write (tariffs, sites, CDRs), where one run should report all faults at once.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from functools import partial
from typing import Any

from pipeline.domain.pricing.units import us_of
from pipeline.errors import InvalidMessage


def parse(data: bytes, source: str, *, without: str | None = None) -> Any:
    """The document with every number as Decimal; raises InvalidMessage `bad_json` with line and column.

    The field `without` of the document (or of the documents in a list) is taken out, whatever stands in it.
    """
    flaws: list[_Flaw] = []
    try:
        document = json.loads(
            data.decode("utf-8-sig"),
            parse_float=Decimal,
            parse_int=Decimal,
            parse_constant=partial(_not_a_number, flaws),
            object_pairs_hook=partial(_object, flaws),
        )
        for each in document if isinstance(document, list) else [document]:
            if without is not None and isinstance(each, dict):
                each.pop(without, None)
        if flaws and (flaw := _first_flaw(document)) is not None:
            raise ValueError(flaw.text)
        return document
    except UnicodeDecodeError as error:
        raise InvalidMessage("bad_json", f"{source}: not UTF-8 at byte {error.start}") from error
    except json.JSONDecodeError as error:
        detail = f"{source}: not JSON at line {error.lineno} column {error.colno}: {error.msg}"
        raise InvalidMessage("bad_json", detail) from error
    except (ValueError, RecursionError) as error:
        raise InvalidMessage("bad_json", f"{source}: {error}") from error


def parse_many(data: bytes, source: str) -> list[tuple[str, Any]]:
    """One document, a list of them, or JSON lines; each with the name to use in messages about it."""
    try:
        whole = parse(data, source)
    except InvalidMessage:
        lines = [(number, line) for number, line in enumerate(data.splitlines(), 1) if line.strip()]
        if len(lines) < 2 or not lines[0][1].strip().endswith(b"}"):
            raise
        return [(f"{source} line {number}", parse(line, f"{source} line {number}")) for number, line in lines]
    if isinstance(whole, list):
        return [(f"{source} [{place}]", each) for place, each in enumerate(whole)]
    return [(source, whole)]


@dataclass(frozen=True, slots=True)
class _Flaw:
    """Stands for what Python reads although it is no JSON, or not clear."""

    text: str


def _not_a_number(flaws: list[_Flaw], name: str) -> _Flaw:
    flaws.append(_Flaw(f"{name} is not a JSON number"))
    return flaws[-1]


def _object(flaws: list[_Flaw], pairs: list[tuple[str, Any]]) -> dict[str, Any] | _Flaw:
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            flaws.append(_Flaw(f"field {name!r} occurs twice in one object"))
            return flaws[-1]
        found[name] = value
    return found


def _first_flaw(value: Any) -> _Flaw | None:
    if isinstance(value, _Flaw):
        return value
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return next((flaw for each in inner if (flaw := _first_flaw(each)) is not None), None)


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong in a document: stable code, path of the element, and what to do."""

    code: str
    where: str
    text: str


@dataclass(slots=True)
class Reader:
    """Takes values out of one JSON object; what is missing or wrong becomes a fault and reads as None."""

    value: Mapping[str, Any]
    where: str
    faults: list[Fault]
    _seen: set[str] = field(default_factory=set)

    def fault(self, code: str, name: str, text: str) -> None:
        self.faults.append(Fault(code, self.path(name), text))

    def path(self, name: str) -> str:
        return f"{self.where}.{name}" if self.where else name

    def get(self, name: str) -> Any:
        self._seen.add(name)
        return self.value.get(name)

    def unknown(self) -> list[str]:
        """Fields that nobody asked for."""
        return sorted(set(self.value) - self._seen)

    def text(self, name: str, *, required: bool = True, code: str = "bad_value") -> str | None:
        value = self.get(name)
        if value is None:
            if required:
                self.fault(code, name, "is missing")
            return None
        if not isinstance(value, str) or not value:
            self.fault(code, name, f"{_shown(value)} is not a text")
            return None
        return value

    def choice(self, name: str, allowed: Iterable[str], *, required: bool = True) -> str | None:
        value = self.text(name, required=required)
        if value is not None and value not in allowed:
            self.fault("bad_value", name, f"{value!r} is unknown; use one of {', '.join(allowed)}")
            return None
        return value

    def number(self, name: str, *, required: bool = True, least: int | None = None) -> Decimal | None:
        value = self.get(name)
        if value is None:
            if required:
                self.fault("bad_value", name, "is missing")
            return None
        if not isinstance(value, Decimal) or not value.is_finite():
            self.fault("bad_value", name, f"{_shown(value)} is not a number")
            return None
        if abs(value) >= 10**18 or int(value.as_tuple().exponent) < -20:
            self.fault("bad_value", name, f"{value} is out of range; at most 18 digits and 20 decimals")
            return None
        if least is not None and value < least:
            self.fault("bad_value", name, f"{value} must not be below {least}")
            return None
        return value

    def integer(self, name: str, *, required: bool = True, least: int | None = None) -> int | None:
        value = self.number(name, required=required, least=least)
        if value is None:
            return None
        if value != int(value):
            self.fault("bad_value", name, f"{value} is not a whole number")
            return None
        return int(value)

    def flag(self, name: str) -> bool:
        value = self.get(name)
        if value is not None and not isinstance(value, bool):
            self.fault("bad_value", name, f"{_shown(value)} is not true or false")
        return value is True

    def instant(self, name: str, *, required: bool = True) -> int | None:
        """An OCPI DateTime in microseconds UTC: RFC 3339, and without offset it is UTC."""
        value = self.text(name, required=required)
        if value is None:
            return None
        try:
            return instant(value)
        except ValueError:
            self.fault("bad_value", name, f"{value!r} is not a time such as 2025-06-13T19:30:00Z")
            return None

    def day(self, name: str) -> date | None:
        value = self.text(name, required=False, code="bad_clock_or_date")
        if value is None:
            return None
        try:
            if len(value) != 10:
                raise ValueError
            return date.fromisoformat(value)
        except ValueError:
            self.fault("bad_clock_or_date", name, f"{value!r} is not YYYY-MM-DD")
            return None

    def clock(self, name: str) -> int | None:
        """HH:MM as minutes since midnight."""
        value = self.text(name, required=False, code="bad_clock_or_date")
        if value is None:
            return None
        hours, colon, minutes = value.partition(":")
        is_clock = (len(hours), colon, len(minutes)) == (2, ":", 2) and value.isascii() and (hours + minutes).isdigit()
        if is_clock and int(hours) < 24 and int(minutes) < 60:
            return int(hours) * 60 + int(minutes)
        self.fault("bad_clock_or_date", name, f"{value!r} is not HH:MM; use 00:00-23:59")
        return None

    def objects(self, name: str, *, required: bool = True) -> list[Reader]:
        value = self.get(name)
        if value is None and not required:
            return []
        if not isinstance(value, list):
            self.fault("bad_value", name, "is missing" if value is None else f"{_shown(value)} is not a list")
            return []
        readers = [self._reader(each, f"{name}[{place}]") for place, each in enumerate(value)]
        return [reader for reader in readers if reader is not None]

    def object(self, name: str) -> Reader | None:
        value = self.get(name)
        return None if value is None else self._reader(value, name)

    def texts(self, name: str, *, required: bool = True) -> tuple[str, ...]:
        value = self.get(name)
        if value is None and not required:
            return ()
        if not isinstance(value, list) or not all(isinstance(each, str) and each for each in value):
            self.fault("bad_value", name, "is missing" if value is None else f"{_shown(value)} is not a list of texts")
            return ()
        return tuple(value)

    def _reader(self, value: Any, name: str) -> Reader | None:
        if not isinstance(value, dict):
            self.fault("bad_value", name, f"{_shown(value)} is not an object")
            return None
        return Reader(value, self.path(name), self.faults)


def instant(text: str) -> int:
    """Microseconds UTC of an OCPI DateTime; raises ValueError."""
    if "T" not in text:
        raise ValueError("no time of day")
    moment = datetime.fromisoformat(text if _has_offset(text) else text + "Z")
    return us_of(moment)


def _has_offset(text: str) -> bool:
    clock = text.partition("T")[2]
    return clock.endswith(("Z", "z")) or "+" in clock or "-" in clock


def _shown(value: object) -> str:
    text = repr(value) if not isinstance(value, Decimal) else str(value)
    return text if len(text) <= 40 else text[:37] + "..."


def canonical(value: object) -> str:
    """The document as one text that depends on its content only: keys sorted, numbers in plain notation."""
    if isinstance(value, Decimal):
        if abs(int(value.as_tuple().exponent)) > 40:  # written out, 1e999999999 would not fit in memory
            return str(value)
        plain = f"{value:f}"
        return plain.rstrip("0").rstrip(".") if "." in plain else plain
    if isinstance(value, dict):
        return "{" + ",".join(f"{json.dumps(name)}:{canonical(value[name])}" for name in sorted(value)) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(canonical, value)) + "]"
    return json.dumps(value)
