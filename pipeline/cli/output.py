"""Output for a terminal or a spreadsheet: no character of a record controls either.

The rule of the file: every command writes through `echo`, a line that holds values of records through `echo_line`,
cells of a table or a CSV file through `shown` and `cell`. A character is escaped as \\uXXXX, which JSON reads as the
same character.
"""

from __future__ import annotations

import re
import sys
from typing import Any

import click
from rich.text import Text

_STEERING = "\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff"
"""C0 and C1 controls, DEL, line separators, and what turns the direction of writing around."""
_IN_A_LINE = re.compile(f"[{_STEERING}]")
_IN_A_TEXT = re.compile(f"(?![\t\n])[{_STEERING}]")
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def echo(text: str | bytes, *, err: bool = False) -> None:
    """Lines on stdout or stderr. Bytes are a whole record, whose control characters only a terminal does not get."""
    if isinstance(text, bytes):
        if not sys.stdout.isatty():
            click.echo(text, err=err)  # noqa: TID251 - here
            return
        text = text.decode("utf-8", "backslashreplace")
    click.echo(_IN_A_TEXT.sub(_escaped, text), err=err)  # noqa: TID251 - here


def echo_line(text: str) -> None:
    """One line that holds values of a record; it stays one line."""
    echo(plain(text))


def plain(value: object) -> str:
    """A value inside a line: it can neither end the line nor begin another."""
    return _IN_A_LINE.sub(_escaped, str(value))


def shown(value: object) -> Text:
    """The same for a cell of a table: rich takes `[...]` in a plain string for markup."""
    return Text(plain(value))


def cell(value: Any) -> Any:
    """A cell of CSV. A text that a spreadsheet would compute is marked as text; numbers stay numbers."""
    if isinstance(value, list):
        value = " ".join(map(str, value))
    if not isinstance(value, str):
        return value
    return plain(f"'{value}" if value.startswith(_FORMULA) and not _is_number(value) else value)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _escaped(found: re.Match[str]) -> str:
    return f"\\u{ord(found[0]):04x}"
