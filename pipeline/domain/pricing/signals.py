"""Price signals as slots of UTC time, and how a dynamic unit price is composed from them (pricing.md section 5).

A slot has its own length, because a market may change it. A missing slot is never a price of zero and never the value
of its neighbour.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import ROUND_FLOOR, ROUND_HALF_UP, Context, Decimal, Inexact, InvalidOperation, localcontext

from pipeline.domain.pricing.tariff import Dynamic, Window
from pipeline.domain.pricing.units import NEVER_US, utc_text

_EXACT = Context(prec=120, traps=[Inexact, InvalidOperation])
_WIDE = Context(prec=120)
_CENT_OF_CENT = Decimal("0.0001")


AVAILABILITY = "availability"
"""The series that the pipeline itself publishes, one for each site."""


def series_of(series: str, site_id: str) -> str:
    """The series of one site; a tariff that names `series` means the one of the site where it is used."""
    return f"{series}:{site_id}"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Slot:
    """One value of a series from `start_us` (UTC) to `end_us`, exclusive. Compared by identity."""

    series: str
    start_us: int
    end_us: int
    price: Decimal | None = None
    """Spot series: currency per `per_kwh` kWh."""
    per_kwh: int = 1000
    currency: str | None = None
    level: str | None = None
    """Grid demand series: LOW, NORMAL, HIGH or CRITICAL."""
    free: int | None = None
    total: int | None = None
    """Availability series: connectors of the site in service, and those of them that are free."""
    revision: int = 1
    published_us: int | None = None
    """Absent: not stated, taken as before the slot."""

    def evidence(self) -> str:
        minutes = (self.end_us - self.start_us) // 60_000_000
        name = f"signal {self.series} {utc_text(self.start_us)} {minutes} min r{self.revision}"
        if self.price is not None:
            return f"{name} {self.price} per {self.per_kwh} kWh"
        return f"{name} {self.level}" if self.level is not None else f"{name} {self.free}/{self.total} free"


class Signals:
    """All slots of all series. The last revision published before a slot begins prices it; later ones never do."""

    __slots__ = ("_site", "_slots", "_starts")

    def __init__(self, slots: Iterable[Slot] = ()) -> None:
        chosen: dict[str, dict[int, Slot]] = {}
        for slot in slots:
            if slot.published_us is not None and slot.published_us > slot.start_us:
                continue
            series = chosen.setdefault(slot.series, {})
            known = series.get(slot.start_us)
            if known is None or _age(known) < _age(slot):
                series[slot.start_us] = slot
        self._slots = {name: [series[start] for start in sorted(series)] for name, series in chosen.items()}
        self._starts = {name: [slot.start_us for slot in slots] for name, slots in self._slots.items()}
        self._site: str | None = None

    def of_site(self, site_id: str) -> Signals:
        """The same slots as a site sees them: a series of its own (`series_of`) stands in for the one of that name."""
        view = Signals()
        view._slots, view._starts, view._site = self._slots, self._starts, site_id
        return view

    def at(self, series: str, us: int) -> tuple[Slot | None, int]:
        """The slot that holds the instant (the one that began last, if several do), and until when that stays so."""
        series = self._own(series)
        starts, slots = self._starts.get(series), self._slots.get(series, [])
        if not starts:
            return None, NEVER_US
        place = bisect_right(starts, us)
        until = starts[place] if place < len(starts) else NEVER_US
        for back in range(place - 1, max(place - 101, -1), -1):
            slot = slots[back]
            if us < slot.end_us:
                return slot, min(until, slot.end_us)
        return None, until

    def during(self, series: str, from_us: int, to_us: int) -> list[Slot]:
        """The slots that may price some instant between the two, both included, in order of time."""
        series = self._own(series)
        starts, slots = self._starts.get(series, []), self._slots.get(series, [])
        first = max(bisect_right(starts, from_us) - 101, 0)
        return [slot for slot in slots[first : bisect_right(starts, to_us)] if slot.end_us > from_us]

    def _own(self, series: str) -> str:
        own = series if self._site is None else series_of(series, self._site)
        return own if own in self._starts else series


NO_SIGNALS = Signals()


def _age(slot: Slot) -> tuple[int, int]:
    return slot.revision, -1 if slot.published_us is None else slot.published_us


@dataclass(frozen=True, slots=True, kw_only=True)
class Composed:
    """A unit price and the parts that sum to it, each as (name, currency per unit)."""

    price: Decimal
    parts: tuple[tuple[str, str], ...]


def compose(
    dynamic: Dynamic,
    static_price: Decimal,
    vat: Decimal | None,
    spot: Slot | None,
    grid: Slot | None,
    availability: Slot | None,
    network: Window | None,
    discount: Window | None,
) -> Composed:
    """P = round4(clamp(O * F * (1 - discount) + N, floor, cap)); a component without a signal starts at its price."""
    parts: list[tuple[str, Decimal]] = []
    with localcontext(_EXACT):
        signal = static_price if spot is None else _per_kwh(spot)
        markup = dynamic.markup * max(signal, Decimal(0))
        operator = signal + markup + dynamic.fee
        parts += [("signal" if spot is not None else "price", signal), ("markup", markup), ("fee", dynamic.fee)]
        if operator > 0:
            factored = operator * _factor(dynamic, grid, availability)
            cut = factored * (discount.value if discount is not None else Decimal(0))
            parts += [("factor", factored - operator), ("discount", -cut)]
            operator = factored - cut
        charge = Decimal(0) if network is None else network.value
        parts.append(("network", charge))
        value = operator + charge
        clamped = value if dynamic.floor is None else max(value, dynamic.floor)
        if clamped != value:
            parts.append(("floor", clamped - value))
        cap = _cap(dynamic, vat)
        if cap is not None and clamped > cap:
            parts.append(("cap", cap - clamped))
            clamped = cap
    price = clamped.quantize(_CENT_OF_CENT, ROUND_HALF_UP, _WIDE)
    with localcontext(_EXACT):
        parts.append(("rounding", price - clamped))
    return Composed(price=price, parts=tuple((name, f"{part.normalize():f}") for name, part in parts if part))


def _per_kwh(slot: Slot) -> Decimal:
    return (slot.price or Decimal(0)) / slot.per_kwh


def _factor(dynamic: Dynamic, grid: Slot | None, availability: Slot | None) -> Decimal:
    factor = Decimal(1)
    if grid is not None:
        factor *= dict(dynamic.grid_factors)[grid.level or "NORMAL"]
    if availability is not None and availability.total:
        share = availability.free or 0
        for least, value in dynamic.availability_factors:
            chosen = value
            if share >= least * availability.total:
                break
        factor *= chosen
    if dynamic.factor_min is not None:
        factor = max(factor, dynamic.factor_min)
    if dynamic.factor_max is not None:
        factor = min(factor, dynamic.factor_max)
    return factor


def _cap(dynamic: Dynamic, vat: Decimal | None) -> Decimal | None:
    """A cap stated with tax is divided by (1 + rate) and cut down, so that the price with tax cannot exceed it."""
    if dynamic.cap is None or not dynamic.cap_with_tax or vat is None:
        return dynamic.cap
    with localcontext(_WIDE):
        return (dynamic.cap * 100 / (100 + vat)).quantize(_CENT_OF_CENT, ROUND_FLOOR)
