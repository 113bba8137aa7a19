"""A second pricer, as simple as possible: minute by minute, exact fractions, no cuts, no caches, straight from JSON.

It shares no line with the engine. All bounds of the sessions it is given lie on whole minutes, and no signal, tax form
of OCPI 2.3.0 or unknown fact occurs; within that it follows ops/spec/pricing.md sections 2 to 4.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from fractions import Fraction
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from pipeline.domain.pricing.facts import Facts

MINUTE_US = 60_000_000
DAY_NAMES = ["MONDAY", "TUESDAY", "WEDNESDAY", "THURSDAY", "FRIDAY", "SATURDAY", "SUNDAY"]
DIMENSIONS = ("ENERGY", "TIME", "PARKING_TIME")


class Expected(NamedTuple):
    excl: Fraction
    incl: Fraction | None
    """None: a limit raised a total of zero, and the tariff has several tax rates."""
    payable_excl: Fraction
    payable_incl: Fraction | None
    volumes: dict[str, Fraction]
    """Measured volume per dimension, priced and unpriced: kWh, seconds."""


class Instant(NamedTuple):
    label: datetime
    elapsed_s: int
    used_kwh: Fraction
    idle_s: int | None
    power_kw: Fraction


def oracle(facts: Facts, tariff: dict[str, Any], zone: str) -> Expected:
    registers = _registers(facts)
    charging_end = _end_of_charging(facts, registers, Fraction(str(tariff.get("x_resume_kwh", "0.1"))))
    volumes = dict.fromkeys(DIMENSIONS, Fraction(0))
    priced: dict[str, list[tuple[dict[str, Any], Fraction]]] = {name: [] for name in DIMENSIONS}
    flat: dict[str, Any] | None = None
    for us in range(facts.start_us, facts.end_us, MINUTE_US):
        instant = Instant(
            label=_label(us, zone),
            elapsed_s=(us - facts.start_us) // 1_000_000,
            used_kwh=registers[us] - registers[facts.start_us],
            idle_s=None if charging_end is None or us < charging_end else (us - charging_end) // 1_000_000,
            power_kw=_power(facts, us),
        )
        time = "PARKING_TIME" if _activity(facts, us) == "idle" else "TIME"
        for dimension, quantity in (("ENERGY", registers[us + MINUTE_US] - registers[us]), (time, Fraction(60))):
            volumes[dimension] += quantity
            component = _first_match(tariff, dimension, instant)
            if component is not None and quantity:
                priced[dimension].append((component, quantity))
        if flat is None:
            flat = _first_match(tariff, "FLAT", instant)
    return _total(tariff, priced, flat, volumes)


def _total(
    tariff: dict[str, Any],
    priced: dict[str, list[tuple[dict[str, Any], Fraction]]],
    flat: dict[str, Any] | None,
    volumes: dict[str, Fraction],
) -> Expected:
    if priced["ENERGY"]:
        _round_up(priced["ENERGY"], Fraction(priced["ENERGY"][-1][0]["step_size"], 1000))
    rounded_time = "PARKING_TIME" if priced["PARKING_TIME"] else "TIME"
    if priced[rounded_time]:
        _round_up(priced[rounded_time], Fraction(priced[rounded_time][-1][0]["step_size"]))
    excl = incl = Fraction(0)
    for dimension, pieces in priced.items():
        per = 1 if dimension == "ENERGY" else 3600
        excl += _round(sum((_number(part["price"]) * volume / per for part, volume in pieces), Fraction(0)), 4)
        incl += _round(sum((_gross(part) * volume / per for part, volume in pieces), Fraction(0)), 4)
    if flat is not None:
        excl, incl = excl + _round(_number(flat["price"]), 4), incl + _round(_gross(flat), 4)
    limited: Fraction | None = incl
    for name, pick in (("min_price", max), ("max_price", min)):
        if name in tariff:
            limit, before = tariff[name], excl
            excl = pick(excl, _number(limit["excl_vat"]))
            if "incl_vat" in limit:
                limited = pick(incl, _number(limit["incl_vat"]))
            elif before:
                limited = _round(incl * excl / before, 4)
            elif excl:
                rates = {
                    _number(part.get("vat", 0)) for each in tariff["elements"] for part in each["price_components"]
                }
                limited = _round(excl * (1 + rates.pop() / 100), 4) if len(rates) == 1 else None
    return Expected(excl, limited, _round(excl, 2), None if limited is None else _round(limited, 2), volumes)


def _round_up(pieces: list[tuple[dict[str, Any], Fraction]], step: Fraction) -> None:
    """Adds what is missing to a whole number of steps to the last piece."""
    if step > 0:
        whole = sum((volume for _, volume in pieces), Fraction(0))
        pieces.append((pieces[-1][0], -whole % step))


def _round(value: Fraction, decimals: int) -> Fraction:
    """Half away from zero."""
    scaled = abs(value) * 10**decimals + Fraction(1, 2)
    return Fraction(scaled.numerator // scaled.denominator, 10**decimals) * (-1 if value < 0 else 1)


def _number(value: object) -> Fraction:
    return Fraction(str(value))


def _gross(component: dict[str, Any]) -> Fraction:
    return _number(component["price"]) * (1 + _number(component.get("vat", 0)) / 100)


def _registers(facts: Facts) -> dict[int, Fraction]:
    """kWh at every whole minute, straight lines between readings, flat before the first and after the last."""
    found = {}
    for us in range(facts.start_us, facts.end_us + 1, MINUTE_US):
        before = [each for each in facts.readings if each.at_us <= us]
        after = [each for each in facts.readings if each.at_us > us]
        if not before or not after:
            known = before[-1:] or after[:1]
            mwh = Fraction(known[0].register_mwh if known else 0)
        else:
            (left, right) = before[-1], after[0]
            share = Fraction(us - left.at_us, right.at_us - left.at_us)
            mwh = left.register_mwh + share * (right.register_mwh - left.register_mwh)
        found[us] = mwh / 1_000_000
    return found


def _activity(facts: Facts, us: int) -> str:
    return next((each.activity for each in reversed(facts.activity) if each.from_us <= us), "charging")


def _end_of_charging(facts: Facts, registers: dict[int, Fraction], resume_kwh: Fraction) -> int | None:
    """End of the last period of charging that delivered enough; None if it lasts to the end of the session."""
    found, began = None, facts.start_us
    for us in range(facts.start_us, facts.end_us + 1, MINUTE_US):
        is_idle = us < facts.end_us and _activity(facts, us) == "idle"
        was_idle = us > facts.start_us and _activity(facts, us - MINUTE_US) == "idle"
        if us == facts.end_us or is_idle != was_idle:
            if not was_idle and registers[us] - registers[began] >= resume_kwh and us > began:
                found = us
            began = us
    return None if found == facts.end_us else found


def _power(facts: Facts, us: int) -> Fraction:
    """As measured at the last reading, else the mean of the meter interval around the minute."""
    before = [each for each in facts.readings if each.at_us <= us]
    after = [each for each in facts.readings if each.at_us > us]
    if before and before[-1].power_w is not None:
        return Fraction(before[-1].power_w, 1000)
    if not before or not after:
        return Fraction(0)
    mwh, hours = after[0].register_mwh - before[-1].register_mwh, Fraction(after[0].at_us - before[-1].at_us, 3600)
    return Fraction(mwh) / hours


def _label(us: int, zone: str) -> datetime:
    return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=us)).astimezone(ZoneInfo(zone))


def _first_match(tariff: dict[str, Any], dimension: str, instant: Instant) -> dict[str, Any] | None:
    for element in tariff["elements"]:
        for component in element["price_components"]:
            if component["type"] == dimension and _matches(element.get("restrictions") or {}, instant):
                return component  # type: ignore[no-any-return]  # JSON
    return None


def _matches(restrictions: dict[str, Any], instant: Instant) -> bool:
    day, clock = instant.label.date(), f"{instant.label:%H:%M}"
    start, end = restrictions.get("start_time", "00:00"), restrictions.get("end_time", "00:00")
    end = "24:00" if end == "00:00" else end
    if start > end:
        if not (clock >= start or clock < end):
            return False
        if clock < end:
            day -= timedelta(days=1)
    elif start < end and not start <= clock < end:
        return False
    if "start_date" in restrictions and day < date.fromisoformat(restrictions["start_date"]):
        return False
    if "end_date" in restrictions and day >= date.fromisoformat(restrictions["end_date"]):
        return False
    if restrictions.get("day_of_week") and DAY_NAMES[day.weekday()] not in restrictions["day_of_week"]:
        return False
    if ("x_min_idle" in restrictions or "x_max_idle" in restrictions) and instant.idle_s is None:
        return False
    for name, value in (
        ("kwh", instant.used_kwh),
        ("duration", Fraction(instant.elapsed_s)),
        ("power", instant.power_kw),
        ("idle", Fraction(instant.idle_s or 0)),
    ):
        prefix = "x_" if name == "idle" else ""
        low, high = restrictions.get(f"{prefix}min_{name}"), restrictions.get(f"{prefix}max_{name}")
        if (low is not None and value < _number(low)) or (high is not None and value >= _number(high)):
            return False
    return True
