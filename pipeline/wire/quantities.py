"""What one sampled value says: its quantity, and its number in Wh, W or percent. Decimals, never floats.

OCPP 1.6 has value texts and unit prefixes, 2.0.1 and 2.1 have numbers and a multiplier. Rounded once, half up, to whole
Wh, W and percent.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import ROUND_HALF_UP, Decimal
from typing import Final, NamedTuple

import msgspec

Number = int | Decimal


class UnitOfMeasure(msgspec.Struct, gc=False):
    """OCPP 2.0.1 UnitOfMeasureType."""

    unit: str | None = None
    multiplier: int = 0


class SampledValue(msgspec.Struct, rename="camel", gc=False):
    """OCPP 1.6 SampledValue and OCPP 2.0.1 SampledValueType. Absent means the default of the standard."""

    value: msgspec.Raw = msgspec.Raw(b"")
    context: str | None = None
    measurand: str | None = None
    phase: str | None = None
    location: str | None = None
    format: str | None = None
    unit: str | None = None
    unit_of_measure: UnitOfMeasure | None = None
    signed_meter_value: msgspec.Raw = msgspec.Raw(b"")


class Quantity(NamedTuple):
    field: str
    """Of MeterRead."""
    units: Mapping[str, int]
    """Unit -> power of ten that leads to Wh, W or percent; "" if the unit may be missing."""
    highest: int


_HIGHEST: Final = 100_000_000_000
"""Wh or W; keeps a sum of three phases inside domain.events.Quantity."""
_ENERGY: Final = {"": 0, "Wh": 0, "kWh": 3}
_POWER: Final = {"": 0, "W": 0, "kW": 3}
_PERCENT: Final = {"": 0, "Percent": 0, "%": 0}
REGISTER: Final = "Energy.Active.Import.Register"

QUANTITIES: Final[Mapping[str, Quantity]] = {
    REGISTER: Quantity("register_wh", _ENERGY, _HIGHEST),
    "Energy.Active.Import.Interval": Quantity("interval_wh", _ENERGY, _HIGHEST),
    "Power.Active.Import": Quantity("power_w", _POWER, _HIGHEST),
    "Power.Offered": Quantity("offered_w", _POWER, _HIGHEST),
    "Power.Import.Offered": Quantity("offered_w", _POWER, _HIGHEST),
    "SoC": Quantity("soc_percent", _PERCENT, 100),
}
"""Measurand -> field of MeterRead. Power.Import.Offered is what OCPP 2.1 calls Power.Offered. `Current.Offered` is not
here: amperes are no power without knowing the phases. Nor are the Display.* and EnergyRequest.* of OCPP 2.1: what a car
shows or asks for is no energy."""

_DECIMAL = re.compile(rb"[+-]?(?:\d{1,20}(?:\.\d{0,20})?|\.\d{1,20})(?:[eE][+-]?\d{1,2})?")


def value_of(sample: SampledValue, quantity: Quantity) -> Number:
    """In Wh, W or percent. Raises ValueError: no number, unknown unit, out of range."""
    number = _number(bytes(sample.value))
    exponent = _exponent(sample, quantity)
    if exponent:
        number = Decimal(number).scaleb(exponent)
    return _bounded(number, quantity.highest)


def step_of(sample: SampledValue) -> Decimal:
    """The last decimal place of a value that `value_of` can read: of 12.34 kWh 10 Wh."""
    number = _number(bytes(sample.value))
    places = 0 if isinstance(number, int) else int(number.as_tuple().exponent)
    return Decimal(1).scaleb(places + _exponent(sample, QUANTITIES[sample.measurand or REGISTER]))


def _exponent(sample: SampledValue, quantity: Quantity) -> int:
    unit = sample.unit_of_measure
    exponent = quantity.units.get((unit.unit if unit is not None else sample.unit) or "")
    if exponent is None:
        raise ValueError("unknown unit")
    if unit is None:
        return exponent
    if not -9 <= unit.multiplier <= 9:
        raise ValueError("multiplier out of range")
    return exponent + unit.multiplier


def _number(text: bytes) -> Number:
    """A JSON number, or a JSON text that holds one."""
    if text[:1] == b'"':
        text = text[1:-1].strip()
    if text.isdigit() and len(text) <= 15:
        return int(text)
    if not _DECIMAL.fullmatch(text):
        raise ValueError("not a number")
    return Decimal(text.decode())


def _bounded(number: Number, highest: int) -> Number:
    if not 0 <= number <= highest:
        raise ValueError("out of range")
    return number


def whole(number: Number) -> int:
    """Rounded half up."""
    return number if isinstance(number, int) else int(number.to_integral_value(ROUND_HALF_UP))


def whole_wh(value: bytes | msgspec.Raw) -> int:
    """A register that a message carries outside sampled values (1.6 meterStart, meterStop). Raises ValueError."""
    return whole(_bounded(_number(bytes(value)), _HIGHEST))
