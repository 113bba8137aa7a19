"""OCPI CDR JSON (2.1.1, 2.2.1 and 2.3.0) -> Cdr. Source: OCPI, CDRs module. Only what a price depends on is read.

In 2.1.1 the end is `stop_date_time`, and costs are plain numbers without tax. A CDR holds its customer's token and
contract id; this module reads neither and no message repeats their values.
"""

from __future__ import annotations

from decimal import Decimal

from pipeline.domain.checking.cdr import Amount, Cdr
from pipeline.domain.checking.periods import Claim, Period
from pipeline.domain.pricing.tariff import Tariff
from pipeline.domain.pricing.units import CURRENCIES, MWH_PER_KWH, US_PER_HOUR, rounded
from pipeline.errors import InvalidMessage
from pipeline.wire.json_values import Fault, Reader, parse
from pipeline.wire.tariffs import read_strictly

COSTS = (
    *("total_cost", "total_fixed_cost", "total_energy_cost", "total_time_cost"),
    *("total_parking_cost", "total_reservation_cost"),
)
VOLUMES = ("total_energy", "total_time", "total_parking_time", "total_reservation_time")
_NEVER_W = 10**12
_SIGNED = tuple(f"{part}{name}" for part in ("", "MIN_", "MAX_") for name in ("CURRENT", "POWER"))
"""Below 0 while the vehicle feeds the grid; every other volume is an amount."""


def decode_cdr(data: bytes, source: str, *, with_tariffs: bool = True) -> Cdr:
    """One CDR; raises InvalidMessage that names the first wrong element.

    Without `with_tariffs` those inside are not read, however broken they are: others replace them.
    """
    document = parse(data, source, without=None if with_tariffs else "tariffs")
    if isinstance(document, list) and len(document) == 1:
        document = document[0]
    if not isinstance(document, dict):
        raise InvalidMessage("bad_cdr", f"{source}: is not one CDR object")
    faults: list[Fault] = []
    reader = Reader(document, "", faults)
    currency = reader.text("currency", code="currency_unknown")
    if currency is not None and currency not in CURRENCIES:
        reader.fault("currency_unknown", "currency", f"{currency!r} is not an ISO 4217 code; use e.g. EUR")
    start_us, end_us = reader.instant("start_date_time"), _end(reader)
    periods = [_period(each) for each in reader.objects("charging_periods")]
    if not periods and not faults:
        reader.fault("bad_cdr", "charging_periods", "is empty")
    if start_us is not None and end_us is not None and end_us < start_us:
        reader.fault("bad_cdr", _end_name(reader), "is before start_date_time")
    cdr = Cdr(
        claim=Claim(start_us or 0, end_us or 0, periods),
        currency=currency or "",
        tariffs=_tariffs(reader, faults),
        costs={name: amount for name in COSTS if (amount := _amount(reader, name)) is not None},
        volumes={name: value for name in VOLUMES if (value := reader.number(name, required=False)) is not None},
        credit=reader.flag("credit"),
        credit_reference=reader.text("credit_reference_id", required=False) is not None,
    )
    if faults:
        more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
        if faults[0].where.startswith("tariffs"):
            more += "; --tariff FILE replaces the tariffs of the CDR"
        raise InvalidMessage(faults[0].code, f"{source}: {faults[0].where}: {faults[0].text}{more}")
    return cdr


def _end_name(reader: Reader) -> str:
    return "stop_date_time" if "stop_date_time" in reader.value else "end_date_time"


def _end(reader: Reader) -> int | None:
    """`end_date_time`, or as OCPI 2.1.1 has it `stop_date_time`; one that states both must mean the same."""
    if "stop_date_time" not in reader.value:
        if reader.get("end_date_time") is None:
            reader.fault("bad_value", "end_date_time", "is missing (in OCPI 2.1.1: stop_date_time)")
            return None
        return reader.instant("end_date_time")
    stop_us, end_us = reader.instant("stop_date_time"), reader.instant("end_date_time", required=False)
    if end_us is not None and stop_us is not None and end_us != stop_us:
        reader.fault("bad_cdr", "stop_date_time", "is not end_date_time; state one of the two")
    return stop_us


def _tariffs(reader: Reader, faults: list[Fault]) -> tuple[Tariff, ...]:
    found = []
    for each in reader.objects("tariffs", required=False):
        tariff, wrong = read_strictly(each.value)
        faults += [Fault(fault.code, each.path(fault.where), fault.text) for fault in wrong]
        if tariff is not None:
            found.append(tariff)
    return tuple(found)


def _period(reader: Reader) -> Period:
    """Energy is ENERGY, or ENERGY_IMPORT where only that is stated; exported energy is not subtracted (D18)."""
    volumes: dict[str, Decimal] = {}
    for each in reader.objects("dimensions"):
        name, volume = each.text("type"), each.number("volume")
        if name in volumes:
            each.fault("bad_cdr", "type", f"{name} is stated twice in one period")
        elif name is not None and volume is not None:
            volumes[name] = volume
    energy = volumes.get("ENERGY", volumes.get("ENERGY_IMPORT"))
    return Period(
        start_us=reader.instant("start_date_time") or 0,
        negative=tuple(name for name, volume in volumes.items() if volume < 0 and name not in _SIGNED),
        written_to_us=_written_to(volumes),
        energy_mwh=_scaled(energy, MWH_PER_KWH),
        time_us=_scaled(volumes.get("TIME"), US_PER_HOUR),
        parking_us=_scaled(volumes.get("PARKING_TIME"), US_PER_HOUR),
        reservation_us=_scaled(volumes.get("RESERVATION_TIME"), US_PER_HOUR),
        power_w=_range(volumes, "POWER"),
        current_ma=_range(volumes, "CURRENT"),
        tariff_id=reader.text("tariff_id", required=False),
    )


def _written_to(volumes: dict[str, Decimal]) -> int:
    """Half of the last place of the times that are stated, at least 0.0001 h each; a whole number is exact."""
    stated = [volumes[name] for name in ("TIME", "PARKING_TIME", "RESERVATION_TIME") if name in volumes]
    places = [-int(value.as_tuple().exponent) for value in stated]
    return sum(US_PER_HOUR // (2 * 10**place) if 0 < place < 4 else US_PER_HOUR // 10_000 for place in places or [4])


def _range(volumes: dict[str, Decimal], name: str) -> tuple[int, int] | None:
    """Least and greatest kW or A of the period in W or mA; one bound alone leaves the other open."""
    low, high = _scaled(volumes.get(f"MIN_{name}"), 1000), _scaled(volumes.get(f"MAX_{name}"), 1000)
    if low is None and high is None:
        value = _scaled(volumes.get(name), 1000)
        return None if value is None else (value, value)
    return low or 0, _NEVER_W if high is None else high


def _amount(reader: Reader, name: str) -> Amount | None:
    """2.2.1 writes {excl_vat, incl_vat?}, 2.3.0 {before_taxes, taxes[]} with an amount each, 2.1.1 a number."""
    if isinstance(reader.value.get(name), Decimal):
        number = reader.number(name)
        return None if number is None else Amount(excl=number)
    price = reader.object(name)
    if price is None:
        return None
    if "before_taxes" not in price.value:
        excl = price.number("excl_vat")
        return None if excl is None else Amount(excl=excl, incl=price.number("incl_vat", required=False))
    before = price.number("before_taxes")
    taxes = [each.number("amount") for each in price.objects("taxes", required=False)]
    if before is None or None in taxes:
        return None
    known = [tax for tax in taxes if tax is not None]
    return Amount(excl=before, incl=sum(known, before) if "taxes" in price.value else None)


def _scaled(value: Decimal | None, scale: int) -> int | None:
    if value is None:
        return None
    numerator, denominator = (value * scale).as_integer_ratio()
    return rounded(numerator, denominator)
