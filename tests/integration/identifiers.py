"""Finds identifiers of a charger log in bytes, in the forms in which they could hide."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import orjson

from pipeline.edge.replayer import open_log

NAMED = ("idTag", "parentIdTag", "transactionId")
LEAST_LENGTH = 5
"""Shorter ones occur by chance in any content, and prove nothing."""


class Scanner:
    """Knows identifiers as text, text in lower case, the bytes of a UUID, and a number as MessagePack writes it."""

    def __init__(self, identifiers: Iterable[str]) -> None:
        self.identifiers = frozenset(identifiers)
        self._by_length: dict[int, dict[bytes, str]] = {}
        for identifier in self.identifiers:
            for form in _forms(identifier):
                self._by_length.setdefault(len(form), {})[form] = identifier

    def found(self, content: bytes) -> set[str]:
        """A number counts only if it is no part of a longer one: times and registers are full of digits."""
        hits = set()
        for length, forms in self._by_length.items():
            for at in range(len(content) - length + 1):
                form = content[at : at + length]
                if form in forms and not (form.isdigit() and _inside_a_number(content, at, at + length)):
                    hits.add(forms[form])
        return hits


def of_log(path: Path) -> set[str]:
    """Tags, vehicle ids, transaction ids and message ids, wherever in the log they are."""
    found: set[str] = set()
    for _, key, value in open_log([path], "ocpp16").records(final_ticks=False):
        frame = orjson.loads(value).get("frame") if key is not None else None
        if frame is not None:
            found.add(str(frame[1]))
            found.update(_named(frame[2:]))
    return {identifier for identifier in found if len(identifier) >= LEAST_LENGTH}


def _named(content: Any) -> Iterator[str]:
    match content:
        case dict():
            for name, value in content.items():
                if name in NAMED:
                    yield str(value)
                    yield str(value).removeprefix("VID:")
                else:
                    yield from _named(value)
        case list():
            for value in content:
                yield from _named(value)
        case _:
            pass


def _forms(identifier: str) -> Iterator[bytes]:
    yield identifier.encode()
    yield identifier.lower().encode()
    if identifier.isdigit() and 2**16 <= int(identifier) < 2**32:
        yield b"\xce" + int(identifier).to_bytes(4, "big")
    with contextlib.suppress(ValueError):
        yield UUID(identifier).bytes


def _inside_a_number(content: bytes, start: int, end: int) -> bool:
    return content[start - 1 : start].isdigit() or content[end : end + 1].isdigit()
