"""Price signals as price slots, and how a unit price is composed from them (ops/spec/pricing.md section 5).

A slot has its own length, because a market may change it. A missing slot is never a price of zero and never the value
of its neighbour. If several slots hold an instant, the highest revision counts, then the one published last, then the
one that began last. If two slots differ in nothing but value, neither counts: the order of arrival proves nothing.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from decimal import ROUND_FLOOR, ROUND_HALF_UP, Context, Decimal, Inexact, InvalidOperation, localcontext

from pipeline.domain.pricing.tariff import Dynamic, Window
from pipeline.domain.pricing.units import NEVER_US, utc_text

_EXACT = Context(prec=120, traps=[Inexact, InvalidOperation])
_WIDE = Context(prec=120)
_CENT_OF_CENT = Decimal("0.0001")
GIVEN = -1
"""The offset of slots that were given when the store was made."""
AVAILABILITY_KEPT_US = 62 * 86_400 * 1_000_000
"""Of the 96 slots a day of each site. Bills cannot be revised for so long; a replay of something older is HELD."""
SLOTS_BACK = 100
"""At most so many slots may begin inside another one and end before it; the search goes no further back."""
AVAILABILITY = "availability"
"""The series that the pipeline itself publishes, one for each site."""


def series_of(series: str, site_id: str) -> str:
    """The series of one site; a tariff that names `series` means the one of the site where it is used."""
    return f"{series}:{site_id}"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PriceSlot:
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
        if self.level is not None:
            return f"{name} {self.level}"
        counted_at = "" if self.published_us is None else f" at {utc_text(self.published_us)}"
        return f"{name} {self.free}/{self.total} free{counted_at}"


class _Series:
    """The slots of one series in order of start, each with all its revisions, and the offsets of their records."""

    __slots__ = ("longest_us", "offsets", "revisions", "starts")

    def __init__(self) -> None:
        self.starts: list[int] = []
        self.revisions: list[list[tuple[int, PriceSlot]]] = []
        self.offsets = array("q")
        self.longest_us = 0

    def forget(self, before_us: int) -> None:
        """Drops slots that began before, many at a time. Their offsets stay: the number of known slots only grows."""
        if self.starts[0] < before_us - AVAILABILITY_KEPT_US // 8:
            stale = bisect_left(self.starts, before_us)
            del self.starts[:stale], self.revisions[:stale]

    def visible(self, place: int, end: int) -> list[PriceSlot]:
        """The revision that counts among those below `end`; several of them contradict each other."""
        slots = [slot for offset, slot in self.revisions[place] if offset < end]
        if len(slots) < 2:
            return slots
        newest = max(map(_age, slots))
        return list({_content(slot): slot for slot in reversed(slots) if _age(slot) == newest}.values())


class SignalStore:
    """All slots of all series, each with the offset of its record. It only grows, and offsets rise."""

    __slots__ = ("series",)

    def __init__(self) -> None:
        self.series: dict[str, _Series] = {}

    def add(self, offset: int, slot: PriceSlot) -> None:
        """Keeps the slot, unless it was published after it began: then it never prices anything."""
        if slot.published_us is not None and slot.published_us > slot.start_us:
            return
        series = self.series.setdefault(slot.series, _Series())
        series.offsets.append(offset)
        series.longest_us = max(series.longest_us, slot.end_us - slot.start_us)
        place = bisect_left(series.starts, slot.start_us)
        if place == len(series.starts) or series.starts[place] != slot.start_us:
            series.starts.insert(place, slot.start_us)
            series.revisions.insert(place, [])
        series.revisions[place].append((offset, slot))
        if slot.free is not None:
            series.forget(slot.start_us - AVAILABILITY_KEPT_US)


class Signals:
    """The price slots of a store below an offset. A revision that is published after its slot began never prices it."""

    __slots__ = ("_end", "_site", "_store")

    def __init__(
        self,
        slots: Iterable[PriceSlot] = (),
        store: SignalStore | None = None,
        end: int = 0,
        site_id: str | None = None,
    ) -> None:
        """All of `slots`, or what `store` holds below `end`.

        With `site_id` as that site sees them: its own series (`series_of`), if any, replaces the one of that name.
        """
        self._end = end
        self._site = site_id
        if store is None:
            store = SignalStore()
            for slot in slots:
                store.add(GIVEN, slot)
        self._store = store

    def of_site(self, site_id: str) -> Signals:
        """The same slots as this site sees them."""
        return Signals(store=self._store, end=self._end, site_id=site_id)

    def at(self, series: str, us: int) -> tuple[PriceSlot | None, int]:
        """The slot that prices the instant, and until when it does; None: there is none, or two contradict."""
        known = self._of(series)
        if known is None:
            return None, NEVER_US
        starts, end = known.starts, self._end
        first = bisect_right(starts, us)
        following = next((place for place in range(first, len(starts)) if known.visible(place, end)), None)
        until = NEVER_US if following is None else starts[following]
        chosen: list[PriceSlot] = []
        for place in range(first - 1, max(first - 1 - SLOTS_BACK, -1), -1):
            if starts[place] + known.longest_us <= us:
                break
            slots = known.visible(place, end)
            if slots and us < _end(slots) and (not chosen or _age(slots[0]) > _age(chosen[0])):
                chosen = slots
        if not chosen:
            return None, until
        return chosen[0] if len(chosen) == 1 else None, min(until, _end(chosen))

    def during(self, series: str, from_us: int, to_us: int) -> list[PriceSlot]:
        """The slots that decide some instant between the two, both included, in order of time."""
        known = self._of(series)
        if known is None:
            return []
        first = max(bisect_right(known.starts, from_us) - SLOTS_BACK - 1, 0)
        places = range(first, bisect_right(known.starts, to_us))
        found = (known.visible(place, self._end) for place in places)
        return [slot for slots in found if slots and _end(slots) > from_us for slot in slots]

    def count(self, series: Iterable[str]) -> tuple[int, ...]:
        """How many slots of each series are known; while these numbers do not change, no price changes."""
        found = map(self._of, series)
        return tuple(0 if known is None else bisect_left(known.offsets, self._end) for known in found)

    def _of(self, series: str) -> _Series | None:
        known = self._store.series
        if self._site is not None:
            own = known.get(series_of(series, self._site))
            if own is not None and own.offsets[0] < self._end:
                return own
        return known.get(series)


NO_SIGNALS = Signals()


def disputes(slots: Iterable[PriceSlot]) -> Iterator[tuple[PriceSlot, PriceSlot]]:
    """Pairs of slots of one series with different values for one instant, if neither revision nor publication decides.

    A shorter slot inside a longer one is also such a pair: most often they come from two auctions.
    """
    store = SignalStore()
    for slot in slots:
        store.add(GIVEN, slot)
    for series in store.series.values():
        holding: list[PriceSlot] = []
        for place, start_us in enumerate(series.starts):
            holding = [slot for slot in holding if slot.end_us > start_us]
            for slot in series.visible(place, 0):
                for other in holding:
                    is_same = other.start_us < start_us and _content(other)[1:] == _content(slot)[1:]
                    if _age(other) == _age(slot) and not is_same:
                        yield other, slot
                holding.append(slot)


def _age(slot: PriceSlot) -> tuple[int, int]:
    return slot.revision, -1 if slot.published_us is None else slot.published_us


def _content(slot: PriceSlot) -> tuple[object, ...]:
    """End and value; slots of one start and one content are the same slot."""
    return slot.end_us, slot.price, slot.per_kwh, slot.currency, slot.level, slot.free, slot.total


def _end(slots: list[PriceSlot]) -> int:
    return max(slot.end_us for slot in slots)


@dataclass(frozen=True, slots=True, kw_only=True)
class Composed:
    """A unit price and the parts that sum to it, each as (name, currency per unit)."""

    price: Decimal
    parts: tuple[tuple[str, str], ...]


def compose(
    dynamic: Dynamic,
    static_price: Decimal,
    vat: Decimal | None,
    spot: PriceSlot | None,
    grid: PriceSlot | None,
    availability: PriceSlot | None,
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


def _per_kwh(slot: PriceSlot) -> Decimal:
    return (slot.price or Decimal(0)) / slot.per_kwh


def _factor(dynamic: Dynamic, grid: PriceSlot | None, availability: PriceSlot | None) -> Decimal:
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
