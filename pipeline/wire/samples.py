"""Sampled values of OCPP 1.6 and 2.0.1 -> readings. Values are decimals, never floats; only what we use is read.

Both versions send the same shape; 1.6 has value texts and unit prefixes, 2.0.1 numbers and a multiplier. A bad value
costs its sample, not its batch. Rounded once, half up, to whole Wh, W and percent.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from decimal import ROUND_HALF_UP, Decimal
from typing import Final, NamedTuple

import msgspec

from pipeline.domain.events import ChargingState, MeterRead, ReadingContext, TxHint
from pipeline.domain.outputs import Quarantined
from pipeline.wire.messages import Meaning, Message
from pipeline.wire.timestamps import micros

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


class MeterValue(msgspec.Struct, rename="camel", gc=False):
    """Samples of one instant; one frame may hold several with the same timestamp."""

    timestamp: str
    sampled_value: list[SampledValue] = []


class _Quantity(NamedTuple):
    field: str
    units: Mapping[str, int]
    """Unit -> power of ten that leads to Wh, W or percent; "" if the unit may be missing."""
    highest: int


_HIGHEST: Final = 100_000_000_000
"""Wh or W; keeps a sum of three phases inside domain.events.Quantity."""
_ENERGY: Final = {"": 0, "Wh": 0, "kWh": 3}
_POWER: Final = {"": 0, "W": 0, "kW": 3}
_PERCENT: Final = {"": 0, "Percent": 0, "%": 0}
_REGISTER: Final = "Energy.Active.Import.Register"

QUANTITIES: Final[Mapping[str, _Quantity]] = {
    _REGISTER: _Quantity("register_wh", _ENERGY, _HIGHEST),
    "Energy.Active.Import.Interval": _Quantity("interval_wh", _ENERGY, _HIGHEST),
    "Power.Active.Import": _Quantity("power_w", _POWER, _HIGHEST),
    "Power.Offered": _Quantity("offered_w", _POWER, _HIGHEST),
    "SoC": _Quantity("soc_percent", _PERCENT, 100),
}
"""Measurand -> field of MeterRead. `Current.Offered` is not here: amperes are no power without knowing the phases."""

_CONTEXTS: Final[Mapping[str, ReadingContext]] = {
    "Transaction.Begin": "begin",
    "Sample.Periodic": "periodic",
    "Sample.Clock": "clock",
    "Interruption.Begin": "interruption",
    "Interruption.End": "interruption",
    "Transaction.End": "end",
    "Trigger": "trigger",
}
_PHASES: Final[Mapping[str, int]] = {"": 0, "L1": 1, "L2": 2, "L3": 3, "L1-N": 1, "L2-N": 2, "L3-N": 3}
"""0 is the total. N and line-to-line are absent: never summed."""
_LOCATIONS: Final[Mapping[str, int]] = {"Outlet": 0, "Cable": 1, "Body": 2, "Inlet": 3, "EV": 4}
"""Which meter counts when several report the same: the one nearest to what the driver gets."""
_MISMATCH_FLOOR: Final = 1000
"""Wh or W; phases and total may differ by 10 %, and below this by as much as at this: noise."""

_DECIMAL = re.compile(rb"[+-]?(?:\d{1,20}(?:\.\d{0,20})?|\.\d{1,20})(?:[eE][+-]?\d{1,2})?")


def readings(
    message: Message,
    entries: Iterable[MeterValue],
    *,
    connector_id: int | None,
    transaction_id: str | None = None,
    tx_hint: TxHint = "",
    seq_no: int | None = None,
    state: ChargingState | None = None,
) -> Meaning:
    """One MeterRead per distinct timestamp and context with a measurand that we use, in the order of the message."""
    groups: dict[tuple[str, str], list[SampledValue]] = {}
    for entry in entries:
        for sample in entry.sampled_value:
            if (sample.measurand or _REGISTER) not in QUANTITIES:
                continue  # problem 28: what we do not use never makes a reading
            groups.setdefault((entry.timestamp, sample.context or "Sample.Periodic"), []).append(sample)
    meaning = Meaning([], [])
    for (timestamp, context), samples in groups.items():
        try:
            at, zone_assumed = micros(timestamp)
        except ValueError:
            meaning.quarantined.append(Quarantined("BAD_TIMESTAMP", f"{message.action}: meterValue.timestamp"))
            continue
        values = _fold(samples, meaning.quarantined)
        if not values.totals and not values.codes:
            continue
        meaning.events.append(
            MeterRead(
                station_id=message.station_id,
                event_time_us=at,
                received_time_us=message.received_us,
                clock=message.clock,
                connector_id=connector_id,
                transaction_id=transaction_id,
                tx_hint=tx_hint,
                register_wh=values.whole("register_wh"),
                interval_wh=values.whole("interval_wh"),
                power_w=values.whole("power_w"),
                offered_w=values.whole("offered_w"),
                soc_percent=values.whole("soc_percent"),
                state=state,
                context=_CONTEXTS.get(context, "other"),
                from_phases="register_wh" in values.summed,
                seq_no=seq_no,
                codes=(*values.codes, "ZONE_ASSUMED") if zone_assumed else tuple(values.codes),
            )
        )
    return meaning


def whole_wh(value: bytes | msgspec.Raw) -> int:
    """A register that a message carries outside sampled values (1.6 meterStart, meterStop). Raises ValueError."""
    return _whole(_bounded(_number(bytes(value)), _HIGHEST))


class _Values(NamedTuple):
    """What the samples of one instant say together."""

    totals: dict[str, Number]
    summed: set[str]
    codes: list[str]

    def whole(self, field: str) -> int | None:
        value = self.totals.get(field)
        return None if value is None else _whole(value)


def _fold(samples: Iterable[SampledValue], refused: list[Quarantined]) -> _Values:
    """The total of each quantity: as sent, or L1 + L2 + L3 where no total is sent and all three are there."""
    found: dict[str, dict[int, tuple[int, Number]]] = {}
    codes: list[str] = []
    for sample in samples:
        quantity = QUANTITIES[sample.measurand or _REGISTER]
        phase = _PHASES.get(sample.phase or "")
        if phase is None:
            continue
        if (sample.format == "SignedData" or bytes(sample.signed_meter_value)) and "SIGNED_EVIDENCE" not in codes:
            codes.append("SIGNED_EVIDENCE")
        if sample.format == "SignedData":
            continue
        try:
            value = _value(sample, quantity)
        except ValueError as error:
            refused.append(Quarantined("BAD_VALUE", f"{quantity.field}: {error}"))
            continue
        rank = _LOCATIONS.get(sample.location or "Outlet", len(_LOCATIONS))
        phases = found.setdefault(quantity.field, {})
        kept = phases.get(phase)
        if kept is None or rank < kept[0]:
            phases[phase] = (rank, value)
        elif quantity.field == "register_wh" and rank == kept[0] and value != kept[1]:
            refused.append(Quarantined("ID_CONFLICT", "register_wh: two values for the same instant"))
    return _totals(found, codes)


def _totals(found: Mapping[str, Mapping[int, tuple[int, Number]]], codes: list[str]) -> _Values:
    values = _Values({}, set(), codes)
    for field, phases in found.items():
        total = phases[0][1] if 0 in phases else None
        parts = [phases[phase][1] for phase in (1, 2, 3) if phase in phases]
        if len(parts) == 3 and field != "soc_percent":
            added: Number = parts[0] + parts[1] + parts[2]
            if total is None:
                total = added
                values.summed.add(field)
            elif _differ(added, total) and "PHASE_MISMATCH" not in codes:
                codes.append("PHASE_MISMATCH")
        if total is not None:
            values.totals[field] = total
    return values


def _differ(added: Number, total: Number) -> bool:
    larger, smaller = max(added, total), min(added, total)
    return (larger - smaller) * 10 > max(larger, _MISMATCH_FLOOR)


def _value(sample: SampledValue, quantity: _Quantity) -> Number:
    unit = sample.unit_of_measure
    exponent = quantity.units.get((unit.unit if unit is not None else sample.unit) or "")
    if exponent is None:
        raise ValueError("unknown unit")
    if unit is not None:
        if not -9 <= unit.multiplier <= 9:
            raise ValueError("multiplier out of range")
        exponent += unit.multiplier
    number = _number(bytes(sample.value))
    if exponent:
        number = Decimal(number).scaleb(exponent)
    return _bounded(number, quantity.highest)


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


def _whole(number: Number) -> int:
    return number if isinstance(number, int) else int(number.to_integral_value(ROUND_HALF_UP))
