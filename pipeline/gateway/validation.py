"""Payloads against the published JSON Schemas of OCPP, as the library `ocpp` ships them.

Fields that the standard does not know are no error: they are skipped downstream by an allow-list. Cost in CPU time
(jsonschema 4.26): 5 us for a Heartbeat, 40 us for a StartTransaction, 50 to 80 us per sampled value: 0.3 ms for
MeterValues of 6, 1.0 ms of 13 (two charger logs). Of a TransactionEvent of 13 it is 0.7 ms, and would be 1.4 ms if
references were followed each time: they are put in place once.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any, Final, NamedTuple

from ocpp.exceptions import (
    FormationViolationError,
    FormatViolationError,
    OccurenceConstraintViolationError,
    PropertyConstraintViolationError,
    TypeConstraintViolationError,
)
from ocpp.messages import MessageType, get_validator

from pipeline.gateway.frames import Protocol

_CODES: Final[Mapping[str, str]] = {
    "type": TypeConstraintViolationError.code,
    "required": OccurenceConstraintViolationError.code,
    "minItems": OccurenceConstraintViolationError.code,
    "maxItems": OccurenceConstraintViolationError.code,
}
"""Keyword of JSON Schema -> error code of OCPP-J; every other keyword judges a value."""
_TOLERATED: Final = "additionalProperties"


class Violation(NamedTuple):
    """`where` names the field and the keyword in the words of the standard, and repeats nothing that was sent."""

    code: str
    where: str


def violation(protocol: Protocol, action: str, payload: Mapping[str, Any]) -> Violation | None:
    """The first violation; `action` must be one that the library has a schema for."""
    version = protocol.removeprefix("ocpp")
    try:
        for fault in _validator(action, version).iter_errors(payload):
            if fault.validator != _TOLERATED:
                code = _CODES.get(fault.validator, PropertyConstraintViolationError.code)
                return Violation(code, f"{'.'.join(map(str, fault.path)) or 'payload'}: {fault.validator}")
    except RecursionError:  # a value nested so deeply that it cannot be looked at
        wrong = FormationViolationError if protocol == "ocpp1.6" else FormatViolationError
        return Violation(wrong.code, "nested too deeply")
    return None


@cache
def _validator(action: str, version: str) -> Any:
    """The library's, without a reference to look up for each value."""
    found = get_validator(MessageType.Call, action, version)
    return found.evolve(schema=_in_place(found.schema, found.schema.get("definitions", {})))


def _in_place(part: Any, definitions: Mapping[str, Any]) -> Any:
    """No definition of OCPP refers to itself."""
    if isinstance(part, dict):
        if "$ref" in part:
            return _in_place(definitions[part["$ref"].removeprefix("#/definitions/")], definitions)
        return {name: _in_place(inner, definitions) for name, inner in part.items() if name != "definitions"}
    if isinstance(part, list):
        return [_in_place(inner, definitions) for inner in part]
    return part
