"""Unit prices of a tariff as exact integers, with and without tax; those of dynamic components are composed on demand.

Money is quantity x price / (scale x units of the dimension), where `scale` is a common denominator of all prices: no
rounding happens before the cost of a dimension is known (ops/spec/pricing.md D21, D22).
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from math import lcm
from typing import NamedTuple

from pipeline.domain.pricing.restrictions import SinceCharging
from pipeline.domain.pricing.signals import PriceSlot, Signals, compose
from pipeline.domain.pricing.tariff import Dimension, Dynamic, Element, Limit, PriceComponent, Tariff, Window
from pipeline.domain.pricing.units import MONEY_SCALE, NEVER_US, minor_units, rounded

_KEPT = 20_000
"""The number of composed prices that are remembered: a fleet uses the same price slots again and again."""


@dataclass(slots=True, kw_only=True, eq=False)
class Unit:
    """One unit price from one source; its identity distinguishes the lines of a bill."""

    tariff_id: str
    tariff_version: str
    dimension: Dimension
    element_index: int
    component_index: int
    window: str
    """The element's restrictions in words."""
    step_size: int
    """Wh or seconds; 0: no rounding."""
    rate: str | None
    """Tax in percent; None: no tax applies, or unknown (then one of the two prices is None)."""
    is_idle_fee: bool
    reason: str
    excl: int | None = None
    """Price without tax x the scale of all rates."""
    incl: int | None = None
    """Price with tax x the scale of all rates."""
    once: tuple[int | None, int | None] = (None, None)
    """The price without and with tax in 1/10,000: the amount of a FLAT."""
    price_text: str | None = None
    parts: tuple[tuple[str, str], ...] = ()
    evidence: tuple[str, ...] = ()
    assumption: str = ""
    missing: bool = False
    """No price is known, because a price slot is missing: the bill is held."""


@dataclass(frozen=True, slots=True, eq=False)
class Source:
    """A price component at its place in the tariff, and its unit at the stated price."""

    component: PriceComponent
    unit: Unit


class Windows(NamedTuple):
    """Which local windows of a dynamic component hold."""

    network: Window | None
    discount: Window | None


class Rates:
    """All unit prices of one tariff version. `tax_rate` is the site's, for tariffs that name no rate (D21).

    `scale` is given where several tariffs share one ledger: a common multiple of theirs.
    """

    __slots__ = ("_composed", "_tariff", "_tax_rate", "idle_cap", "max_price", "min_price", "only_rate", "scale")

    def __init__(self, tariff: Tariff, tax_rate: Decimal | None, scale: int | None = None) -> None:
        self._tariff = tariff
        self._tax_rate = tax_rate
        self._composed: dict[tuple[object, ...], Unit] = {}
        components = [component for element in tariff.elements for component in element.components]
        self.scale = scale or lcm(MONEY_SCALE, *(self._denominator(component) for component in components))
        self.min_price = _limit(tariff.min_price)
        self.max_price = _limit(tariff.max_price)
        self.idle_cap = None if tariff.idle_cap is None else _in_money(tariff.idle_cap)
        rates = {_with_tax(self._rate(component)) for component in components}
        self.only_rate = rates.pop() if len(rates) == 1 else None
        """1 + rate, if the whole tariff has one: the tax of a limit where no amount carries any (D20)."""

    def sources(self, index: int, element: Element) -> tuple[Source, ...]:
        """The components of the element at `index`, at their stated prices."""
        found = []
        for place, component in enumerate(element.components):
            unit = self._unit(index, place, element, component)
            self._set_price(unit, *self._prices(component))
            unit.price_text = _price_text(component.price, minor_units(self._tariff.currency))
            found.append(Source(component, unit))
        return tuple(found)

    def composed(
        self, source: Source, dynamic: Dynamic, windows: Windows, us: int, signals: Signals
    ) -> tuple[Unit, int]:
        """The unit of a dynamic component at an instant, and until when its price slots hold."""
        spot, spot_until = _price_slot(signals, dynamic.signal, us)
        grid, grid_until = _price_slot(signals, dynamic.grid_signal, us)
        free, free_until = _price_slot(signals, dynamic.availability_signal, us)
        key = (source, windows, spot, grid, free)
        unit = self._composed.get(key)
        if unit is None:
            if len(self._composed) >= _KEPT:
                self._composed.clear()
            unit = self._composed[key] = self._compose(source, dynamic, windows, spot, grid, free)
        return unit, min(spot_until, grid_until, free_until)

    def _compose(
        self,
        source: Source,
        dynamic: Dynamic,
        windows: Windows,
        spot: PriceSlot | None,
        grid: PriceSlot | None,
        free: PriceSlot | None,
    ) -> Unit:
        component, static = source.component, source.unit
        unit = Unit(
            tariff_id=static.tariff_id,
            tariff_version=static.tariff_version,
            dimension=static.dimension,
            element_index=static.element_index,
            component_index=static.component_index,
            window=static.window,
            step_size=static.step_size,
            rate=static.rate,
            is_idle_fee=static.is_idle_fee,
            reason=static.reason,
        )
        wanted = (dynamic.signal, spot), (dynamic.grid_signal, grid), (dynamic.availability_signal, free)
        absent = [series for series, slot in wanted if series is not None and slot is None]
        if not absent:
            composed = compose(dynamic, component.price, self._rate(component), spot, grid, free, *windows)
            net = Fraction(composed.price)
            self._set_price(unit, net, net * _with_tax(self._rate(component)))
            unit.price_text, unit.parts = f"{composed.price:f}", composed.parts
            unit.evidence = tuple(slot.evidence() for slot in (spot, grid, free) if slot is not None)
            if free is not None and free.total == 0:
                unit.assumption = "NONE_IN_SERVICE: no connector of the site was in service; the factor is 1"
        elif dynamic.on_missing == "FALLBACK":
            unit.excl, unit.incl, unit.once, unit.price_text = static.excl, static.incl, static.once, static.price_text
            unit.reason = "FALLBACK_PRICE"
            unit.assumption = f"SIGNAL_FALLBACK: no slot of {', '.join(absent)}; the tariff's static price is used"
        else:
            unit.missing = True
        return unit

    def _unit(self, index: int, place: int, element: Element, component: PriceComponent) -> Unit:
        rate = None if self._tariff.tax_included == "N/A" else self._rate(component)
        is_locked = self._tariff.price_mode == "LOCKED" and (element.calendar or component.dynamic)
        return Unit(
            tariff_id=self._tariff.id,
            tariff_version=self._tariff.version,
            dimension=component.dimension,
            element_index=index,
            component_index=place,
            window=element.words(),
            step_size=max(component.step_size, 0),
            rate=None if rate is None else f"{rate.normalize():f}",
            is_idle_fee=any(isinstance(condition, SinceCharging) for condition in element.conditions),
            reason="LOCKED_PRICE" if is_locked else "FIRST_MATCH",
        )

    def _rate(self, component: PriceComponent) -> Decimal | None:
        """The tax rate in percent; None: none applies, or it is not known."""
        if component.vat is None and self._tariff.tax_included == "NO":
            return self._tax_rate
        return component.vat

    def _prices(self, component: PriceComponent) -> tuple[Fraction | None, Fraction | None]:
        """The stated price without and with tax (D21)."""
        stated, rate = Fraction(component.price), self._rate(component)
        match self._tariff.tax_included:
            case "YES":
                return (None if rate is None else stated / _with_tax(rate)), stated
            case "NO":
                return stated, (None if rate is None else stated * _with_tax(rate))
            case "N/A":
                return stated, stated
            case None:
                return stated, stated * _with_tax(rate)

    def _set_price(self, unit: Unit, excl: Fraction | None, incl: Fraction | None) -> None:
        unit.excl = None if excl is None else int(excl * self.scale)
        unit.incl = None if incl is None else int(incl * self.scale)
        unit.once = (None if excl is None else _in_money(excl)), (None if incl is None else _in_money(incl))

    def _denominator(self, component: PriceComponent) -> int:
        """Of the stated price with and without tax, and of any composed price of 4 decimals with tax."""
        prices = [price.denominator for price in self._prices(component) if price is not None]
        return lcm(*prices, (_with_tax(self._rate(component)) / MONEY_SCALE).denominator)


def _price_slot(signals: Signals, series: str | None, us: int) -> tuple[PriceSlot | None, int]:
    return (None, NEVER_US) if series is None else signals.at(series, us)


def _with_tax(rate: Decimal | None) -> Fraction:
    """1 + rate; no rate leaves the price as it is."""
    return Fraction(1) if rate is None else 1 + Fraction(rate) / 100


def _limit(limit: Limit | None) -> tuple[int, int | None] | None:
    """A limit before and after tax in 1/10,000."""
    if limit is None:
        return None
    return _in_money(limit.excl), None if limit.incl is None else _in_money(limit.incl)


def _price_text(price: Decimal, digits: int) -> str:
    """All decimals of the price, at least those of the currency; trailing zeros of the document do not count."""
    whole, _, decimals = f"{price:f}".partition(".")
    decimals = decimals.rstrip("0").ljust(digits, "0")
    return f"{whole}.{decimals}" if decimals else whole


def _in_money(value: Decimal | Fraction) -> int:
    stated = Fraction(value) * MONEY_SCALE
    return rounded(stated.numerator, stated.denominator)
