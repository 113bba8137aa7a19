"""Why bytes were refused, in our own words. A decoder's own error text may repeat values, and values may identify."""

from __future__ import annotations

import re
from typing import Final

import msgspec

from pipeline.errors import InvalidMessage

DECODING_FAILED: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""All that msgspec raises for bytes: not JSON or not the type, bad UTF-8, deep nesting."""

_PATH = re.compile(r" - at `(\$[^`]*)`$")
_EXPECTED = re.compile(r"^Expected `([^`]*)`")
_MISSING = re.compile(r"^Object missing required field `([^`]*)`")


def refusal(error: Exception, subject: str, at: str = "$") -> InvalidMessage:
    """`subject` says what was being read, e.g. `StopTransaction`, `at` where in it. Paths and types come from our own
    declarations."""
    if isinstance(error, msgspec.ValidationError):
        text = str(error)
        found = _PATH.search(text)
        path = at + (found[1][1:] if found else "")
        if missing := _MISSING.match(text):
            return InvalidMessage("SCHEMA_VIOLATION", f"{subject}: required field {missing[1]} is missing at {path}")
        expected = _EXPECTED.match(text)
        wanted = f"expected {expected[1]}" if expected else "value not allowed"
        return InvalidMessage("SCHEMA_VIOLATION", f"{subject}: {wanted} at {path}")
    if isinstance(error, RecursionError):
        return InvalidMessage("MALFORMED_JSON", f"{subject}: nested too deeply")
    if isinstance(error, UnicodeDecodeError):
        return InvalidMessage("MALFORMED_JSON", f"{subject}: not UTF-8")
    return InvalidMessage("MALFORMED_JSON", f"{subject}: not JSON")
