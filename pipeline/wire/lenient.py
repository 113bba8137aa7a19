"""Decodes a message with malformed parts: reads what is readable and names the rest.

The rule of this file: a required field that cannot be read costs its object, an optional one costs itself, an entry of
a list costs itself. Of a sampled value no field can be missed (without its unit a number says nothing): it becomes one
whose value cannot be read, so that it is still accounted for.
"""

from __future__ import annotations

from types import UnionType
from typing import Any, Final, TypeVar, Union, get_args, get_origin

import msgspec

from pipeline.errors import InvalidMessage
from pipeline.wire.quantities import SampledValue
from pipeline.wire.refusals import DECODING_FAILED, refusal

Wanted = TypeVar("Wanted", bound=msgspec.Struct)
_OBJECT: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])
_LIST: Final = msgspec.json.Decoder(list[msgspec.Raw])


def salvage(wanted: type[Wanted], sent: msgspec.Raw, subject: str) -> tuple[Wanted, list[str]]:
    """The message without its malformed parts, and what they were: `<subject>: expected ... at <path>`, never a value.

    Raises InvalidMessage: not JSON, no object, or a required field is missing or malformed."""
    lost: list[str] = []
    return _Reader(subject, lost).struct(wanted, sent, "$"), lost


class _Reader:
    def __init__(self, subject: str, lost: list[str]) -> None:
        self._subject = subject
        self._lost = lost

    def struct(self, wanted: type[Wanted], sent: msgspec.Raw, path: str) -> Wanted:
        try:
            given = _OBJECT.decode(sent)
        except DECODING_FAILED as error:
            raise refusal(error, self._subject, path) from None
        read: dict[str, Any] = {}
        for field in msgspec.structs.fields(wanted):
            name = field.encode_name
            if name not in given:
                if field.required:
                    raise InvalidMessage(
                        "SCHEMA_VIOLATION", f"{self._subject}: required field {name} is missing at {path}"
                    )
                continue
            try:
                read[field.name] = self._value(field.type, given[name], f"{path}.{name}")
            except InvalidMessage as error:
                if field.required:
                    raise
                self._lost.append(error.detail)
        return wanted(**read)

    def _value(self, wanted: Any, sent: msgspec.Raw, path: str) -> Any:
        try:
            return msgspec.json.decode(sent, type=wanted)
        except DECODING_FAILED as error:
            whole = refusal(error, self._subject, path)
        for part in get_args(wanted) if get_origin(wanted) in (Union, UnionType) else (wanted,):
            if isinstance(part, type) and issubclass(part, msgspec.Struct):
                return self.struct(part, sent, path)
            if get_origin(part) is list and bytes(sent).startswith(b"["):
                return self._entries(get_args(part)[0], sent, path)
        raise whole

    def _entries(self, wanted: Any, sent: msgspec.Raw, path: str) -> list[Any]:
        read = []
        for index, entry in enumerate(_LIST.decode(sent)):
            if wanted is SampledValue:
                read.append(_sample(entry))
                continue
            try:
                read.append(self._value(wanted, entry, f"{path}[{index}]"))
            except InvalidMessage as error:
                self._lost.append(error.detail)
        return read


def _sample(sent: msgspec.Raw) -> SampledValue:
    try:
        return msgspec.json.decode(sent, type=SampledValue)
    except DECODING_FAILED:
        try:
            sample, _ = salvage(SampledValue, sent, "")
        except InvalidMessage:
            return SampledValue()
        sample.value = msgspec.Raw(b"")
        return sample
