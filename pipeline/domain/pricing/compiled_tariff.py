"""A tariff version compiled for one time zone: which component is active in which period.

Compiled once and shared by all sessions: calendars become, per UTC day, a list of instants at which the set of
matching elements changes. Between two of these instants only the conditions of `Rules` (energy, duration, power, idle)
and the price slots decide.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from functools import lru_cache
from typing import Literal, NamedTuple, TypeVar

from pipeline.domain.pricing.localtime import candidate_instants, label_of, offset_of, zone_of
from pipeline.domain.pricing.rates import Rates, Source, Unit, Windows
from pipeline.domain.pricing.restrictions import Calendar, Condition, CurrentNow, Moment, PowerNow, SinceCharging
from pipeline.domain.pricing.signals import Signals
from pipeline.domain.pricing.tariff import CannotPrice, Dimension, Dynamic, Element, PriceComponent, Tariff, Window
from pipeline.domain.pricing.units import NEVER_US, US_PER_DAY

Part = Literal["session", "reservation", "expired"]
NO_MATCH = "NO_MATCHING_ELEMENT"
UNKNOWN: tuple[tuple[type[Condition], str], ...] = ((PowerNow, "POWER_UNKNOWN"), (CurrentNow, "CURRENT_UNKNOWN"))
"""Facts that may not be known, the first of them named; a condition on another one must have its line here."""
_DAYS_KEPT = 400

T = TypeVar("T")
Four = tuple[T, T, T, T]
"""One item per Dimension."""
Candidate = tuple[tuple[Condition, ...], Source]


class Active(NamedTuple):
    """For each dimension the component that is active at an instant, or why none is, and what was unknown."""

    units: Four[Unit | None]
    unpriced: Four[str] = (NO_MATCH, NO_MATCH, NO_MATCH, NO_MATCH)
    unknown: Four[str] = ("", "", "", "")
    until_us: int = NEVER_US
    until_mwh: int = NEVER_US
    is_doubtful: bool = False
    """An unknown fact or a missing signal is involved: the bill is held if it comes to money."""
    is_power_derived: bool = False


class Rules:
    """What remains to be decided while the calendar does not change: candidates per dimension, in rank order."""

    __slots__ = ("active", "candidates", "conditions", "windows")

    def __init__(self, candidates: Sequence[tuple[Candidate, ...]], windows: Mapping[Source, Windows]) -> None:
        self.candidates = candidates
        self.windows = windows
        self.conditions = tuple(
            {each for candidate in candidates for conditions, _ in candidate for each in conditions}
        )
        self.active: Active | None = None
        """Set if nothing remains to be decided: no condition, no signal."""
        if not self.conditions and not windows:
            self.active = Active(four([each[0][1].unit if each else None for each in candidates]))


class RulePeriod(NamedTuple):
    """The same rules hold until `to_us` under the same UTC offset (None: no zone is needed)."""

    to_us: int
    offset_s: int | None
    rules: Rules


class CompiledTariff:
    """One part of a tariff (the session, or its reservation) for one zone. Immutable but for its caches."""

    __slots__ = (
        *("_calendars", "_clock_minutes", "_days", "_elements", "_rules"),
        *("has_idle", "has_power", "rates", "series", "tariff", "tax_rate", "zone"),
    )

    def __init__(
        self, tariff: Tariff, zone: str | None, part: Part, tax_rate: Decimal | None, scale: int | None = None
    ) -> None:
        self.tariff = tariff
        self.tax_rate = tax_rate
        self.zone = _checked_zone(tariff, zone)
        self.rates = Rates(tariff, tax_rate, scale)
        self.series = tariff.series
        self._elements = [
            (element, self.rates.sources(index, element)) for index, element in _elements_of(tariff, part)
        ]
        conditions = [condition for element, _ in self._elements for condition in element.conditions]
        self.has_idle = any(isinstance(condition, SinceCharging) for condition in conditions)
        self.has_power = any(isinstance(condition, PowerNow | CurrentNow) for condition in conditions)
        self._calendars = tuple(dict.fromkeys(each for element, _ in self._elements for each in _calendars_of(element)))
        self._clock_minutes = sorted({minute for calendar in self._calendars for minute in calendar.bounds()})
        self._days: dict[int, list[RulePeriod]] = {}
        self._rules: dict[tuple[bool, ...], Rules] = {}

    def at(self, us: int) -> RulePeriod:
        """The rules in force at an instant, and until when."""
        if self.zone is None:
            return RulePeriod(NEVER_US, None, self._rules_for(()))
        day = us // US_PER_DAY
        periods = self._days.get(day)
        if periods is None:
            if len(self._days) >= _DAYS_KEPT:
                self._days.clear()
            periods = self._days[day] = self._compile(day, self.zone)
        for period in periods:
            if us < period.to_us:
                return period
        raise AssertionError("the last period of a day ends with the day")

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
                dynamic, windows = source.component.dynamic, rules.windows[source]
                unit, slots_until = self.rates.composed(source, dynamic, windows, at_us, signals)
                units.append(unit)
                if lock_us is None:
                    until_us = min(until_us, slots_until)
        is_doubtful = any(unknown) or any(unit is not None and unit.missing for unit in units)
        return Active(four(units), four(unpriced), four(unknown), until_us, until_mwh, is_doubtful)

    def _compile(self, day: int, zone_name: str) -> list[RulePeriod]:
        zone = zone_of(zone_name)
        periods: list[RulePeriod] = []
        before: tuple[tuple[bool, ...], int] | None = None
        for us in candidate_instants(day, zone_name, self._clock_minutes):
            label = label_of(us, zone)
            state = tuple(calendar.holds(label) for calendar in self._calendars), offset_of(us, zone)
            if state == before:
                continue
            before = state
            if periods:
                periods[-1] = periods[-1]._replace(to_us=us)
            periods.append(RulePeriod((day + 1) * US_PER_DAY, state[1], self._rules_for(state[0])))
        return periods

    def _rules_for(self, holds: tuple[bool, ...]) -> Rules:
        rules = self._rules.get(holds)
        if rules is None:
            rules = self._rules[holds] = self._make_rules(dict(zip(self._calendars, holds, strict=True)))
        return rules

    def _make_rules(self, holds: Mapping[Calendar, bool]) -> Rules:
        """Per dimension all elements that may match, up to the first one that certainly does."""
        candidates: list[list[Candidate]] = [[], [], [], []]
        windows: dict[Source, Windows] = {}
        for element, sources in self._elements:
            if element.calendar is not None and not holds[element.calendar]:
                continue
            for source in sources:
                ranked = candidates[source.component.dimension]
                if ranked and not ranked[-1][0]:
                    continue
                ranked.append((element.conditions, source))
                dynamic = source.component.dynamic
                if dynamic is not None:
                    windows[source] = Windows(_first(dynamic.network, holds), _first(dynamic.discount, holds))
        return Rules([tuple(each) for each in candidates], windows)


@lru_cache(maxsize=4096)
def compile_tariff(
    tariff: Tariff, zone: str | None, part: Part = "session", tax_rate: Decimal | None = None
) -> CompiledTariff:
    """Compiled once per arguments; raises CannotPrice TIME_ZONE_MISSING, never assumes a zone (D6)."""
    return CompiledTariff(tariff, zone, part, tax_rate)


def _checked_zone(tariff: Tariff, zone: str | None) -> str | None:
    if zone is None:
        if tariff.is_local:
            raise CannotPrice("TIME_ZONE_MISSING", f"tariff {tariff.id!r} depends on local time; give the site's zone")
        return None
    try:
        zone_of(zone)
    except ValueError as error:
        raise CannotPrice("TIME_ZONE_MISSING", str(error)) from error
    return zone


def _elements_of(tariff: Tariff, part: Part) -> list[tuple[int, Element]]:
    """The elements of the part, in rank order; RESERVATION_EXPIRES goes before RESERVATION (D13)."""
    numbered = list(enumerate(tariff.elements))
    if part == "session":
        return [each for each in numbered if each[1].reservation is None]
    reserved = [each for each in numbered if each[1].reservation == "RESERVATION"]
    if part == "reservation":
        return reserved
    return [each for each in numbered if each[1].reservation == "RESERVATION_EXPIRES"] + reserved


def _calendars_of(element: Element) -> list[Calendar]:
    found = [] if element.calendar is None else [element.calendar]
    for component in element.components:
        dynamic = component.dynamic or Dynamic()
        found += [window.calendar for window in (*dynamic.network, *dynamic.discount)]
    return found


def _first(windows: tuple[Window, ...], holds: Mapping[Calendar, bool]) -> Window | None:
    return next((window for window in windows if holds[window.calendar]), None)


def _first_match(candidates: tuple[Candidate, ...], moment: Moment) -> tuple[Source | None, str]:
    """The first candidate whose conditions hold, and the code of an unknown fact that could change the price."""
    doubted: list[tuple[PriceComponent, str]] = []
    for conditions, source in candidates:
        answers = [(condition.holds(moment), condition) for condition in conditions]
        if any(answer is False for answer, _ in answers):
            continue
        unknown = [condition for answer, condition in answers if answer is None]
        if not unknown:
            return source, next((code for component, code in doubted if not _same(component, source.component)), "")
        code = next(code for fact, code in UNKNOWN if any(isinstance(condition, fact) for condition in unknown))
        doubted.append((source.component, code))
    return None, doubted[0][1] if doubted else ""


def _same(one: PriceComponent, other: PriceComponent) -> bool:
    """True if it makes no difference which of the two is active."""
    return (one.price, one.vat, one.step_size, one.dynamic) == (other.price, other.vat, other.step_size, other.dynamic)


def _in_grace(candidates: tuple[Candidate, ...], moment: Moment) -> bool:
    """True if idle time is unpriced only because the grace period of an idle fee has not passed."""
    since = moment.since_charging_us
    return since is not None and any(
        isinstance(condition, SinceCharging) and condition.low is not None and since < condition.low
        for conditions, _ in candidates
        for condition in conditions
    )


def four(items: Sequence[T]) -> Four[T]:
    """One item per Dimension."""
    energy, time, parking, flat = items
    return energy, time, parking, flat
