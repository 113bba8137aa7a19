"""A tariff version compiled for one time zone: which component is active in which stretch of time.

Compiled once and shared by all sessions: calendars become, per UTC day, a list of instants at which the set of
matching elements changes. Between two of them only the conditions of `Rules` (energy, duration, power, idle) and the
signal slots decide.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from functools import lru_cache
from math import lcm
from typing import Literal, NamedTuple, TypeVar

from pipeline.domain.localtime import candidate_instants, label_of, offset_of, zone_of
from pipeline.domain.restrictions import Calendar, Condition, CurrentNow, Moment, PowerNow, SinceCharging
from pipeline.domain.signals import Signals, Slot, compose
from pipeline.domain.tariff import CannotPrice, Dimension, Element, Limit, PriceComponent, Tariff, Window
from pipeline.domain.units import MONEY_SCALE, NEVER_US, US_PER_DAY, rounded

T = TypeVar("T")
Part = Literal["session", "reservation", "expired"]
NO_MATCH = "NO_MATCHING_ELEMENT"


class Unit:
    """One unit price as exact integers: money = quantity x excl / (scale x units); lines are told apart by identity."""

    __slots__ = (
        "assumption",
        "component_index",
        "dimension",
        "element_index",
        "evidence",
        "excl",
        "incl",
        "is_idle_fee",
        "missing",
        "parts",
        "price_text",
        "rate",
        "reason",
        "step",
        "window",
    )

    def __init__(
        self,
        *,
        dimension: Dimension,
        element_index: int,
        component_index: int,
        window: str,
        step: int,
        rate: Decimal | None,
        is_idle_fee: bool,
        reason: str,
    ) -> None:
        self.dimension = dimension
        self.element_index = element_index
        self.component_index = component_index
        self.window = window
        self.step = step
        self.rate = None if rate is None else f"{rate.normalize():f}"
        self.is_idle_fee = is_idle_fee
        self.reason = reason
        self.excl: int | None = None
        self.incl: int | None = None
        self.price_text: str | None = None
        self.parts: tuple[tuple[str, str], ...] = ()
        self.evidence: tuple[str, ...] = ()
        self.assumption = ""
        self.missing = False
        """The price is not known, because a signal slot is missing: the bill is held."""


@dataclass(frozen=True, slots=True, eq=False)
class Source:
    """A price component at its place in the tariff."""

    element: Element
    element_index: int
    component: PriceComponent
    component_index: int
    unit: Unit


Candidate = tuple[tuple[Condition, ...], Source]


class Active(NamedTuple):
    """The component of each dimension that is active at an instant; without one, why not, and what was unknown."""

    units: tuple[Unit | None, Unit | None, Unit | None, Unit | None]
    unpriced: tuple[str, str, str, str] = (NO_MATCH, NO_MATCH, NO_MATCH, NO_MATCH)
    unknown: tuple[str, str, str, str] = ("", "", "", "")
    until_us: int = NEVER_US
    until_mwh: int = NEVER_US
    is_doubtful: bool = False
    """An unknown fact or a missing signal is involved: the bill is held if it comes to money."""


class Rules:
    """What is left to decide while the calendar does not change: candidates per dimension, in rank order."""

    __slots__ = ("active", "candidates", "conditions", "needs_power", "windows")

    def __init__(self, candidates: Sequence[tuple[Candidate, ...]], windows: dict[Source, _Windows]) -> None:
        self.candidates = candidates
        self.windows = windows
        self.conditions = tuple(
            {condition for each in candidates for conditions, _ in each for condition in conditions}
        )
        self.needs_power = any(isinstance(condition, PowerNow | CurrentNow) for condition in self.conditions)
        self.active: Active | None = None
        """Set if nothing is left to decide: no condition, no signal."""
        if not self.conditions and not any(s.component.dynamic for each in candidates for _, s in each):
            energy, time, parking, flat = (each[0][1].unit if each else None for each in candidates)
            self.active = Active((energy, time, parking, flat))


class _Windows(NamedTuple):
    network: Window | None
    discount: Window | None


class Stretch(NamedTuple):
    to_us: int
    offset_s: int | None
    rules: Rules


class Plan:
    """One part of a tariff (the session, or its reservation) for one zone. Immutable but for its caches."""

    __slots__ = (
        "_calendars",
        "_clock",
        "_days",
        "_dynamic",
        "_elements",
        "_rules",
        "has_idle",
        "has_power",
        "idle_cap",
        "max_price",
        "min_price",
        "only_rate",
        "scale",
        "tariff",
        "tax_rate",
        "zone",
    )

    def __init__(self, tariff: Tariff, zone: str | None, part: Part, tax_rate: Decimal | None) -> None:
        self.tariff = tariff
        self.zone = zone
        self.tax_rate = tax_rate
        if zone is None and tariff.is_local:
            raise CannotPrice("TIME_ZONE_MISSING", f"tariff {tariff.id} depends on local time; give the site's zone")
        if zone is not None:
            try:
                zone_of(zone)
            except ValueError as error:
                raise CannotPrice("TIME_ZONE_MISSING", str(error)) from error
        self.scale = self._scale()
        self.min_price = None if tariff.min_price is None else _money(tariff.min_price)
        self.max_price = None if tariff.max_price is None else _money(tariff.max_price)
        self.idle_cap = None if tariff.idle_cap is None else _whole(tariff.idle_cap * MONEY_SCALE)
        rates = {self._rate(component) for element in tariff.elements for component in element.components}
        self.only_rate = _taxed(rates.pop()) if len(rates) == 1 else None
        """1 + rate, if the whole tariff has one rate: the tax of a limit that no amount carries (D20)."""
        self._elements = [
            (index, element, tuple(self._sources(index, element))) for index, element in _of_part(tariff, part)
        ]
        conditions = {condition for _, element, _ in self._elements for condition in element.conditions}
        self.has_idle = any(isinstance(condition, SinceCharging) for condition in conditions)
        self.has_power = any(isinstance(condition, PowerNow | CurrentNow) for condition in conditions)
        self._calendars = tuple(dict.fromkeys(self._all_calendars()))
        self._clock = sorted({minute for calendar in self._calendars for minute in calendar.bounds()})
        self._days: dict[int, list[Stretch]] = {}
        self._rules: dict[tuple[bool, ...], Rules] = {}
        self._dynamic: dict[tuple[object, ...], Unit] = {}

    def at(self, us: int) -> Stretch:
        """The rules in force at an instant, and until when."""
        if self.zone is None:
            return Stretch(NEVER_US, None, self._rules_for(()))
        day = us // US_PER_DAY
        stretches = self._days.get(day)
        if stretches is None:
            if len(self._days) > 400:
                self._days.clear()
            stretches = self._days[day] = self._compile(day)
        for stretch in stretches:
            if us < stretch.to_us:
                return stretch
        raise AssertionError("the last stretch of a day ends with it")

    def activate(self, rules: Rules, moment: Moment, signals: Signals, lock_us: int | None = None) -> Active:
        """The active components where the calendar alone does not decide; signals keep their value of `lock_us`."""
        if rules.active is not None:
            return rules.active
        units: list[Unit | None] = []
        unpriced, unknown = [NO_MATCH] * 4, [""] * 4
        until_us, until_mwh = NEVER_US, NEVER_US
        for condition in rules.conditions:
            until_us = min(until_us, condition.next_us(moment))
            until_mwh = min(until_mwh, condition.next_mwh(moment))
        for dimension, candidates in enumerate(rules.candidates):
            source, unknown[dimension] = _first_match(candidates, moment)
            if source is None:
                units.append(None)
                if dimension == Dimension.PARKING_TIME and _in_grace(candidates, moment):
                    unpriced[dimension] = "GRACE"
            elif source.component.dynamic is None:
                units.append(source.unit)
            else:
                at_us = moment.at_us if lock_us is None else lock_us
                unit, until = self._compose(source, rules.windows[source], at_us, signals)
                units.append(unit)
                until_us = min(until_us, until) if lock_us is None else until_us
        is_doubtful = any(unknown) or any(unit is not None and unit.missing for unit in units)
        four = _four(units), _four(unpriced), _four(unknown)
        return Active(*four, until_us, until_mwh, is_doubtful)

    def _scale(self) -> int:
        """A common denominator of every price with and without tax, so that money is integer arithmetic."""
        parts = [MONEY_SCALE]
        for element in self.tariff.elements:
            for component in element.components:
                excl, incl = self._prices(component, component.price)
                parts += [each.denominator for each in (excl, incl) if each is not None]
                parts.append((_taxed(self._rate(component)) / MONEY_SCALE).denominator)
        return lcm(*parts)

    def _rate(self, component: PriceComponent) -> Decimal | None:
        """The tax rate in percent; None: none applies, or unknown (then one of the two prices is None)."""
        if component.vat is None and self.tariff.tax_included == "NO":
            return self.tax_rate
        return component.vat

    def _prices(self, component: PriceComponent, price: Decimal) -> tuple[Fraction | None, Fraction | None]:
        """Price without and with tax (D21)."""
        stated, rate = Fraction(price), self._rate(component)
        match self.tariff.tax_included:
            case "YES":
                return (None if rate is None else stated / _taxed(rate)), stated
            case "NO":
                return stated, (None if rate is None else stated * _taxed(rate))
            case "N/A":
                return stated, stated
            case None:
                return stated, stated * _taxed(rate)

    def _sources(self, index: int, element: Element) -> list[Source]:
        is_idle_fee = any(isinstance(condition, SinceCharging) for condition in element.conditions)
        locked = self.tariff.price_mode == "LOCKED"
        sources = []
        for place, component in enumerate(element.components):
            reason = "LOCKED_PRICE" if locked and (element.calendar or component.dynamic) else "FIRST_MATCH"
            unit = self._unit(index, place, component, element.words(), is_idle_fee, reason)
            excl, incl = self._prices(component, component.price)
            self._set_price(unit, excl, incl)
            unit.price_text = f"{component.price:f}"
            sources.append(Source(element, index, component, place, unit))
        return sources

    def _unit(self, index: int, place: int, component: PriceComponent, window: str, is_idle: bool, reason: str) -> Unit:
        rate = None if self.tariff.tax_included == "N/A" else self._rate(component)
        return Unit(
            dimension=component.dimension,
            element_index=index,
            component_index=place,
            window=window,
            step=max(component.step_size, 0),
            rate=rate,
            is_idle_fee=is_idle,
            reason=reason,
        )

    def _set_price(self, unit: Unit, excl: Fraction | None, incl: Fraction | None) -> None:
        unit.excl = None if excl is None else int(excl * self.scale)
        unit.incl = None if incl is None else int(incl * self.scale)

    def _all_calendars(self) -> list[Calendar]:
        found = []
        for _, element, _ in self._elements:
            if element.calendar is not None:
                found.append(element.calendar)
            for component in element.components:
                if component.dynamic is not None:
                    windows = (*component.dynamic.network, *component.dynamic.discount)
                    found += [window.calendar for window in windows]
        return found

    def _compile(self, day: int) -> list[Stretch]:
        assert self.zone is not None
        zone = zone_of(self.zone)
        stretches: list[Stretch] = []
        before: tuple[tuple[bool, ...], int] | None = None
        for us in candidate_instants(day, self.zone, self._clock):
            label = label_of(us, zone)
            state = tuple(calendar.holds(label) for calendar in self._calendars), offset_of(us, zone)
            if state == before:
                continue
            before = state
            if stretches:
                stretches[-1] = stretches[-1]._replace(to_us=us)
            stretches.append(Stretch((day + 1) * US_PER_DAY, state[1], self._rules_for(state[0])))
        return stretches

    def _rules_for(self, holds: tuple[bool, ...]) -> Rules:
        rules = self._rules.get(holds)
        if rules is None:
            rules = self._rules[holds] = self._make_rules(dict(zip(self._calendars, holds, strict=True)))
        return rules

    def _make_rules(self, holds: dict[Calendar, bool]) -> Rules:
        candidates: list[list[Candidate]] = [[], [], [], []]
        decided = [False] * 4
        for _, element, sources in self._elements:
            if element.calendar is not None and not holds[element.calendar]:
                continue
            for source in sources:
                dimension = source.component.dimension
                if not decided[dimension]:
                    candidates[dimension].append((element.conditions, source))
                    decided[dimension] = not element.conditions
        windows = {
            source: _Windows(
                _first_window(source.component.dynamic.network, holds),
                _first_window(source.component.dynamic.discount, holds),
            )
            for each in candidates
            for _, source in each
            if source.component.dynamic is not None
        }
        return Rules([tuple(each) for each in candidates], windows)

    def _compose(self, source: Source, windows: _Windows, us: int, signals: Signals) -> tuple[Unit, int]:
        """The unit of a dynamic component at an instant, and until when its slots hold."""
        dynamic = source.component.dynamic
        assert dynamic is not None
        until, slots, missing = NEVER_US, [], False
        for series in (dynamic.signal, dynamic.grid_signal, dynamic.availability_signal):
            slot: Slot | None = None
            if series is not None:
                slot, end = signals.at(series, us)
                until = min(until, end)
                missing = missing or slot is None
            slots.append(slot)
        key = (source, windows, *slots)
        unit = self._dynamic.get(key)
        if unit is None:
            unit = self._dynamic_unit(source, windows, slots, missing)
            if len(self._dynamic) > 20_000:
                self._dynamic.clear()
            self._dynamic[key] = unit
        return unit, until

    def _dynamic_unit(self, source: Source, windows: _Windows, slots: list[Slot | None], missing: bool) -> Unit:
        component, dynamic = source.component, source.component.dynamic
        assert dynamic is not None
        unit = self._unit(
            source.element_index,
            source.component_index,
            component,
            source.unit.window,
            source.unit.is_idle_fee,
            source.unit.reason,
        )
        if missing:
            if dynamic.on_missing == "HOLD":
                unit.missing = True
                return unit
            unit.excl, unit.incl, unit.price_text = source.unit.excl, source.unit.incl, source.unit.price_text
            unit.reason, unit.assumption = (
                "FALLBACK_PRICE",
                "SIGNAL_FALLBACK: no slot; the tariff's static price is used",
            )
            return unit
        rate = self._rate(component)
        composed = compose(dynamic, component.price, rate, *slots, *windows)
        net = Fraction(composed.price)
        self._set_price(unit, net, net * _taxed(rate))
        unit.price_text, unit.parts = f"{composed.price:f}", composed.parts
        unit.evidence = tuple(slot.evidence() for slot in slots if slot is not None)
        return unit


@lru_cache(maxsize=4096)
def plan_for(tariff: Tariff, zone: str | None, part: Part = "session", tax_rate: Decimal | None = None) -> Plan:
    """The compiled plan; raises CannotPrice TIME_ZONE_MISSING, never assumes a zone (D6)."""
    return Plan(tariff, zone, part, tax_rate)


def _four(items: list[T]) -> tuple[T, T, T, T]:
    """One item per dimension."""
    energy, time, parking, flat = items
    return energy, time, parking, flat


def _of_part(tariff: Tariff, part: Part) -> list[tuple[int, Element]]:
    """The elements of the part, in rank order; RESERVATION_EXPIRES goes before RESERVATION (D13)."""
    numbered = list(enumerate(tariff.elements))
    if part == "session":
        return [each for each in numbered if each[1].reservation is None]
    reserved = [each for each in numbered if each[1].reservation == "RESERVATION"]
    if part == "reservation":
        return reserved
    return [each for each in numbered if each[1].reservation == "RESERVATION_EXPIRES"] + reserved


def _first_window(windows: tuple[Window, ...], holds: dict[Calendar, bool]) -> Window | None:
    return next((window for window in windows if holds[window.calendar]), None)


def _first_match(candidates: tuple[Candidate, ...], moment: Moment) -> tuple[Source | None, str]:
    """The first candidate whose conditions hold, and the code of an unknown fact that could change the price."""
    doubtful: Source | None = None
    unknown = ""
    for conditions, source in candidates:
        answers = [condition.holds(moment) for condition in conditions]
        if False in answers:
            continue
        if None in answers:
            if doubtful is None:
                doubtful = source
                power = any(
                    isinstance(condition, PowerNow) and answer is None
                    for condition, answer in zip(conditions, answers, strict=True)
                )
                unknown = "POWER_UNKNOWN" if power else "CURRENT_UNKNOWN"
            continue
        if doubtful is not None and _same_price(doubtful.component, source.component):
            unknown = ""
        return source, unknown
    return None, unknown


def _same_price(one: PriceComponent, other: PriceComponent) -> bool:
    return (one.price, one.vat, one.step_size, one.dynamic) == (other.price, other.vat, other.step_size, other.dynamic)


def _in_grace(candidates: tuple[Candidate, ...], moment: Moment) -> bool:
    """True if idle time is unpriced only because the grace period of an idle fee has not passed."""
    if moment.since_charging_us is None:
        return False
    return any(
        isinstance(condition, SinceCharging) and condition.low is not None and moment.since_charging_us < condition.low
        for conditions, _ in candidates
        for condition in conditions
    )


def _money(limit: Limit) -> tuple[int, int | None]:
    """A limit before and after tax in 1/10,000."""
    excl, incl = limit.excl * MONEY_SCALE, None if limit.incl is None else limit.incl * MONEY_SCALE
    return _whole(excl), None if incl is None else _whole(incl)


def _whole(value: Decimal) -> int:
    stated = Fraction(value)
    return rounded(stated.numerator, stated.denominator)


def _taxed(rate: Decimal | None) -> Fraction:
    """1 + rate; no rate leaves the price as it is."""
    return Fraction(1) if rate is None else 1 + Fraction(rate) / 100
