"""OCPI tariff JSON (2.2.1 and 2.3.0, with our `x_` extensions) -> Tariff. Source: OCPI, Tariffs module.

What is not understood is an error that names the element, never a price: wrong values, restrictions that contradict
themselves, fields that nobody reads (`vatt` would be a bill without tax). Only a receipt, whose tariff was accepted
when it was written, is read with fields that are unknown today.
"""

from __future__ import annotations

import hashlib
from decimal import Decimal
from typing import Any, Literal, cast

from pipeline.domain.pricing.restrictions import (
    DAYS,
    END_OF_DAY,
    Calendar,
    Condition,
    CurrentNow,
    Elapsed,
    EnergyUsed,
    PowerNow,
    SinceCharging,
)
from pipeline.domain.pricing.tariff import (
    Dimension,
    Dynamic,
    Element,
    Limit,
    PriceComponent,
    Reservation,
    Tariff,
    TariffType,
    Window,
)
from pipeline.domain.pricing.units import CURRENCIES, MWH_PER_KWH, US_PER_S
from pipeline.errors import InvalidMessage
from pipeline.wire.json_values import Fault, Reader, canonical, parse_many

TYPES = ("REGULAR", "AD_HOC_PAYMENT", "PROFILE_CHEAP", "PROFILE_FAST", "PROFILE_GREEN")
LEVELS = ("LOW", "NORMAL", "HIGH", "CRITICAL")
_IGNORED = ("country_code", "party_id", "tariff_alt_text", "tariff_alt_url", "energy_mix", "preauthorize_amount")
"""Fields of OCPI that no price depends on."""
UNREAD = "is not a field known here; correct its name, or remove it before the tariff is priced"


def decode_tariffs(data: bytes, source: str) -> list[Tariff]:
    """One tariff, a list, or JSON lines; raises InvalidMessage that names `source` and the first wrong element."""
    tariffs = []
    for name, document in parse_many(data, source):
        tariff, faults = read_strictly(document)
        if tariff is None:
            raise InvalidMessage(faults[0].code, describe(name, faults))
        tariffs.append(tariff)
    if not tariffs:
        raise InvalidMessage("no_tariffs", f"{source}: holds no tariff")
    return tariffs


def describe(source: str, faults: list[Fault]) -> str:
    """The first fault in words, and how many more there are."""
    first = faults[0]
    more = f" (and {len(faults) - 1} more; see `chargeline lint`)" if len(faults) > 1 else ""
    return f"{source}: {first.where}: {first.text}{more}"


def read_strictly(document: Any) -> tuple[Tariff | None, list[Fault]]:
    """The tariff, or None and all faults; a field that nobody reads is one."""
    tariff, faults, unknown = read_tariff(document)
    faults += [Fault("unknown_field", where, UNREAD) for where in unknown]
    return (None if faults else tariff), faults


def read_tariff(document: Any) -> tuple[Tariff | None, list[Fault], list[str]]:
    """The tariff (None if it cannot be priced), all faults, and the paths of fields that nobody reads."""
    faults: list[Fault] = []
    unknown: list[str] = []
    if not isinstance(document, dict):
        return None, [Fault("bad_value", "tariff", "is not an object")], []
    reader = Reader(document, "", faults)
    for name in _IGNORED:
        reader.get(name)
    tariff_type = reader.choice("type", TYPES, required=False)
    currency = reader.text("currency", code="currency_unknown")
    if currency is not None and currency not in CURRENCIES:
        reader.fault("currency_unknown", "currency", f"{currency!r} is not an ISO 4217 code; use e.g. EUR")
    tax_included = reader.choice("tax_included", ("YES", "NO", "N/A"), required=False)
    elements = [_element(each, unknown) for each in reader.objects("elements")]
    if not elements and not faults:
        reader.fault("no_elements", "elements", "is empty; a free tariff holds one element with FLAT 0.00")
    canonical_text = canonical(document)
    resume = reader.number("x_resume_kwh", required=False, least=0)
    tariff = Tariff(
        id=reader.text("id") or "",
        version=reader.text("last_updated", required=False) or "",
        updated_us=reader.instant("last_updated", required=False),
        content_hash=hashlib.sha256(canonical_text.encode()).hexdigest(),
        currency=currency or "",
        elements=tuple(elements),
        type=cast("TariffType | None", tariff_type),
        min_price=_limit(reader, "min_price", unknown),
        max_price=_limit(reader, "max_price", unknown),
        valid_from_us=reader.instant("start_date_time", required=False),
        valid_until_us=reader.instant("end_date_time", required=False),
        tax_included=cast("Literal['YES', 'NO', 'N/A'] | None", tax_included),
        price_mode=cast(
            "Literal['FOLLOWS', 'LOCKED']",
            reader.choice("x_price_mode", ("FOLLOWS", "LOCKED"), required=False) or "FOLLOWS",
        ),
        idle_cap=reader.number("x_idle_cap", required=False, least=0),
        resume_mwh=100_000 if resume is None else int(resume * MWH_PER_KWH),
        document=canonical_text,
    )
    _check_limits(reader, tariff)
    for name in (name for name in reader.unknown() if name.startswith("x_")):
        reader.fault("unknown_extension", name, "is not known here; a price that depends on it would be wrong")
    unknown += [name for name in reader.unknown() if not name.startswith("x_")]
    return (None if faults else tariff), faults, unknown


def _element(reader: Reader, unknown: list[str]) -> Element:
    components = tuple(_component(each, unknown) for each in reader.objects("price_components"))
    if not components:
        reader.fault("no_elements", "price_components", "is missing or empty")
    calendar: Calendar | None = None
    conditions: tuple[Condition, ...] = ()
    reservation = None
    restrictions = reader.object("restrictions")
    if restrictions is not None:
        calendar, conditions = _calendar(restrictions), _conditions(restrictions)
        reservation = restrictions.choice("reservation", ("RESERVATION", "RESERVATION_EXPIRES"), required=False)
        for name in restrictions.unknown():
            restrictions.fault(
                "unknown_restriction", name, "is not a restriction known here; to ignore it would misprice"
            )
    if reservation is not None:
        for place, component in enumerate(components):
            if component.dimension not in (Dimension.FLAT, Dimension.TIME):
                reader.fault(
                    "reservation_dimension",
                    f"price_components[{place}].type",
                    "a reservation element may hold FLAT and TIME only",
                )
    unknown += [reader.path(name) for name in reader.unknown()]
    return Element(
        components=components,
        calendar=calendar,
        conditions=conditions,
        reservation=cast("Reservation | None", reservation),
    )


def _component(reader: Reader, unknown: list[str]) -> PriceComponent:
    dimension = reader.choice("type", [each.name for each in Dimension])
    dynamic = reader.object("x_dynamic")
    component = PriceComponent(
        dimension=Dimension[dimension] if dimension is not None else Dimension.FLAT,
        price=reader.number("price") or Decimal(0),
        vat=reader.number("vat", required=False),
        step_size=reader.integer("step_size", required=False) or 0,
        dynamic=None if dynamic is None else _dynamic(dynamic),
    )
    for name in reader.unknown():
        if name.startswith("x_"):
            reader.fault("unknown_extension", name, "is not known here; a price that depends on it would be wrong")
        else:
            unknown.append(reader.path(name))
    return component


def _calendar(reader: Reader) -> Calendar | None:
    start, end = reader.clock("start_time"), reader.clock("end_time")
    first, last = reader.day("start_date"), reader.day("end_date")
    if first is not None and last is not None and last <= first:
        reader.fault("impossible_restriction", "end_date", f"{last} is not after start_date {first}: never active")
    names = reader.texts("day_of_week", required=False)
    for name in names:
        if name not in DAYS:
            reader.fault("bad_clock_or_date", "day_of_week", f"{name!r} is not a weekday such as MONDAY")
    days = frozenset(DAYS.index(name) for name in names if name in DAYS)
    if (start, end, first, last) == (None, None, None, None) and not days:
        return None
    return Calendar(start=start or 0, end=end or END_OF_DAY, start_date=first, end_date=last, days=days)


def _conditions(reader: Reader) -> tuple[Condition, ...]:
    found: list[Condition] = []
    kwh = _bounds(reader, "min_kwh", "max_kwh", MWH_PER_KWH)
    duration = _bounds(reader, "min_duration", "max_duration", US_PER_S)
    power = _bounds(reader, "min_power", "max_power", 1000)
    current = _bounds(reader, "min_current", "max_current", 1000)
    idle = _bounds(reader, "x_min_idle", "x_max_idle", US_PER_S)
    if kwh is not None:
        found.append(EnergyUsed(*kwh))
    if duration is not None:
        found.append(Elapsed(*duration))
    if power is not None:
        found.append(PowerNow(*power))
    if current is not None:
        found.append(CurrentNow(*current))
    if idle is not None:
        found.append(SinceCharging(*idle))
    return tuple(found)


def _bounds(reader: Reader, low_name: str, high_name: str, scale: int) -> tuple[int | None, int | None] | None:
    low, high = reader.number(low_name, required=False, least=0), reader.number(high_name, required=False, least=0)
    if high is not None and high <= (low or 0):
        text = f"{high} is not above {low_name} {low or 0}: never active"
        reader.fault("impossible_restriction", high_name, text)
    if low is None and high is None:
        return None
    return (None if low is None else _scaled(low, scale)), (None if high is None else _scaled(high, scale))


def _scaled(value: Decimal, scale: int) -> int:
    """Rounded up: a bound finer than our smallest unit is reached with the next whole unit."""
    return -int(-value * scale // 1)


def _dynamic(reader: Reader) -> Dynamic:
    grid, availability = reader.object("grid"), reader.object("availability")
    on_missing = reader.choice("on_missing", ("HOLD", "FALLBACK"), required=False) or "HOLD"
    dynamic = Dynamic(
        signal=reader.text("signal", required=False),
        markup=reader.number("markup", required=False) or Decimal(0),
        fee=reader.number("fee", required=False) or Decimal(0),
        network=_windows(reader, "network", "price"),
        discount=_windows(reader, "discount", "share"),
        floor=reader.number("floor", required=False),
        cap=reader.number("cap", required=False),
        cap_with_tax=reader.flag("cap_with_tax"),
        grid_signal=None if grid is None else grid.text("signal"),
        grid_factors=() if grid is None else _levels(grid),
        availability_signal=None if availability is None else availability.text("signal"),
        availability_factors=() if availability is None else _shares(availability),
        factor_min=reader.number("factor_min", required=False),
        factor_max=reader.number("factor_max", required=False),
        on_missing=cast("Literal['HOLD', 'FALLBACK']", on_missing),
    )
    for each in (reader, grid, availability):
        if each is not None:
            _refuse_unknown(each, "unknown_extension")
    if dynamic.floor is not None and dynamic.cap is not None and dynamic.floor > dynamic.cap:
        reader.fault("limits_cross", "floor", f"{dynamic.floor} is above cap {dynamic.cap}")
    return dynamic


def _windows(reader: Reader, name: str, value: str) -> tuple[Window, ...]:
    found = []
    for each in reader.objects(name, required=False):
        calendar = _calendar(each) or Calendar()
        found.append(Window(calendar=calendar, value=each.number(value) or Decimal(0)))
        _refuse_unknown(each, "unknown_restriction")
    return tuple(found)


def _refuse_unknown(reader: Reader, code: str) -> None:
    """For objects in which an unknown field could change a price."""
    for name in reader.unknown():
        reader.fault(code, name, "is not known here; to ignore it could misprice")


def _levels(reader: Reader) -> tuple[tuple[str, Decimal], ...]:
    factors = reader.object("factors")
    if factors is None:
        reader.fault("bad_value", "factors", f"is missing; give a factor for each of {', '.join(LEVELS)}")
        return ()
    return tuple((level, factors.number(level, least=0) or Decimal(0)) for level in LEVELS)


def _shares(reader: Reader) -> tuple[tuple[Decimal, Decimal], ...]:
    read = [(each.number("from_share", least=0), each.number("factor", least=0)) for each in reader.objects("factors")]
    known = [(share, factor) for share, factor in read if share is not None and factor is not None]
    if not any(share == 0 for share, _ in known):
        reader.fault("bad_value", "factors", "needs a factor from_share 0")
    return tuple(sorted(known, reverse=True))


def _limit(reader: Reader, name: str, unknown: list[str]) -> Limit | None:
    """2.2.1 writes {excl_vat, incl_vat?}, 2.3.0 {before_taxes, after_taxes?}."""
    limit = reader.object(name)
    if limit is None:
        return None
    if "before_taxes" in limit.value:
        found = limit.number("before_taxes"), limit.number("after_taxes", required=False)
    else:
        found = limit.number("excl_vat"), limit.number("incl_vat", required=False)
    unknown += [limit.path(each) for each in limit.unknown()]
    return Limit(excl=found[0] or Decimal(0), incl=found[1])


def _check_limits(reader: Reader, tariff: Tariff) -> None:
    lower, upper = tariff.min_price, tariff.max_price
    if lower is None or upper is None:
        return
    if lower.excl > upper.excl or (lower.incl is not None and upper.incl is not None and lower.incl > upper.incl):
        reader.fault("limits_cross", "min_price", "is above max_price")
