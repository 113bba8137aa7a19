"""Payloads against the published JSON Schemas of OCPP, as the library `ocpp` ships them.

Fields that the standard does not know are no error: they are skipped downstream by an allow-list. Cost (measured with
`jsonschema` 4.26 on two charger logs): 5 us for a Heartbeat, 40 us for a StartTransaction, 25 us per sampled value, so
0.3 to 1.0 ms for MeterValues.
"""

from __future__ import annotations

from collections.abc import Mapping
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
    """`where` names the field and the keyword, as the standard spells them: nothing of what was sent."""

    code: str
    where: str


def violation(protocol: Protocol, action: str, payload: Mapping[str, Any]) -> Violation | None:
    """The first violation; `action` must be one that the library has a schema for."""
    version = protocol.removeprefix("ocpp")
    try:
        for fault in get_validator(MessageType.Call, action, version).iter_errors(payload):
            if fault.validator != _TOLERATED:
                code = _CODES.get(fault.validator, PropertyConstraintViolationError.code)
                return Violation(code, f"{'.'.join(map(str, fault.path)) or 'payload'}: {fault.validator}")
    except RecursionError:  # a value nested so deeply that it cannot be looked at
        wrong = FormationViolationError if protocol == "ocpp1.6" else FormatViolationError
        return Violation(wrong.code, "nested too deeply")
    return None
