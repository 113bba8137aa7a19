"""Tariffs as values, and which of them applies to a session. OCPI 2.2.1 and 2.3.0 Tariff, plus our `x_` extensions.

Nothing here is guessed: wire/tariffs.py refuses what it does not understand.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from enum import IntEnum
from typing import Literal

from pipeline.domain.pricing.restrictions import Calendar, Condition

TariffType = Literal["REGULAR", "AD_HOC_PAYMENT", "PROFILE_CHEAP", "PROFILE_FAST", "PROFILE_GREEN"]
Reservation = Literal["RESERVATION", "RESERVATION_EXPIRES"]


class CannotPrice(Exception):
    """A fact without which no price exists. `code` is the reason of the held bill, `detail` says what to do."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(f"{code}: {detail}")
        self.code = code
        self.detail = detail


class Dimension(IntEnum):
    """What a price component prices; the number is its place in tuples of active components."""

    ENERGY = 0
    TIME = 1
    PARKING_TIME = 2
    FLAT = 3


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Window:
    """A local window with a value: network charge per kWh, or discount as a share. Compared by identity."""

    calendar: Calendar
    value: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class Dynamic:
    """`x_dynamic`: how the unit price of a component is composed from signals (ops/spec/pricing.md 5.1)."""

    signal: str | None = None
    markup: Decimal = Decimal(0)
    fee: Decimal = Decimal(0)
    network: tuple[Window, ...] = ()
    discount: tuple[Window, ...] = ()
    floor: Decimal | None = None
    cap: Decimal | None = None
    cap_with_tax: bool = False
    """The cap is stated with tax: it is divided by (1 + rate) and cut down to 4 decimals."""
    grid_signal: str | None = None
    grid_factors: tuple[tuple[str, Decimal], ...] = ()
    """Factor per level LOW, NORMAL, HIGH, CRITICAL."""
    availability_signal: str | None = None
    availability_factors: tuple[tuple[Decimal, Decimal], ...] = ()
    """(least share of free connectors, factor), highest share first; the last factor also holds below its share."""
    factor_min: Decimal | None = None
    factor_max: Decimal | None = None
    on_missing: Literal["HOLD", "FALLBACK"] = "HOLD"


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceComponent:
    """OCPI PriceComponent: currency per kWh, per hour or once."""

    dimension: Dimension
    price: Decimal
    vat: Decimal | None = None
    """Percent; absent: no tax applies (2.2.1) or no rate is known (2.3.0), see Tariff.tax_included."""
    step_size: int = 0
    """Wh or seconds; 0 or less: no rounding (D9)."""
    dynamic: Dynamic | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Element:
    """OCPI TariffElement: its components apply while calendar and conditions all hold."""

    components: tuple[PriceComponent, ...]
    calendar: Calendar | None = None
    conditions: tuple[Condition, ...] = ()
    reservation: Reservation | None = None

    def words(self) -> str:
        """The restrictions in words: `22:00-06:00 MON-FRI`, `from 10 kWh`, `always`."""
        parts = [] if self.calendar is None else [self.calendar.words()]
        parts += [condition.words() for condition in self.conditions]
        if self.reservation is not None:
            parts.append("reservation" if self.reservation == "RESERVATION" else "reservation expired")
        return ", ".join(parts) or "always"


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """A limit of the session's total; `incl` absent: that total is scaled by the same factor (D20)."""

    excl: Decimal
    incl: Decimal | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Tariff:
    """One version of a tariff, frozen for the sessions that start under it. Compared by identity."""

    id: str
    version: str
    """`last_updated` as written; empty if it was absent."""
    updated_us: int | None
    content_hash: str
    """sha256 of the canonical document."""
    currency: str
    elements: tuple[Element, ...]
    type: TariffType | None = None
    min_price: Limit | None = None
    max_price: Limit | None = None
    valid_from_us: int | None = None
    valid_until_us: int | None = None
    tax_included: Literal["YES", "NO", "N/A"] | None = None
    """OCPI 2.3.0; None: the document is 2.2.1, whose prices exclude VAT."""
    price_mode: Literal["FOLLOWS", "LOCKED"] = "FOLLOWS"
    idle_cap: Decimal | None = None
    """`x_idle_cap`: the most that PARKING_TIME under `x_min_idle` may cost in one session, before tax."""
    resume_mwh: int = 100_000
    """`x_resume_kwh`: a period of charging that delivers less does not restart the idle clock."""
    document: str = ""
    """The canonical JSON of the document, for receipts and for the hash."""

    @property
    def series(self) -> tuple[str, ...]:
        """The price signals that the tariff follows."""
        parts = [part.dynamic for element in self.elements for part in element.components if part.dynamic is not None]
        named = [name for part in parts for name in (part.signal, part.grid_signal, part.availability_signal) if name]
        return tuple(dict.fromkeys(named))

    @property
    def prices_reservations(self) -> bool:
        """True if a reservation that was used costs something (one that expired may cost something else)."""
        return any(element.reservation == "RESERVATION" for element in self.elements)

    @property
    def is_local(self) -> bool:
        """True if some price depends on a local clock, date or weekday, so that a zone is needed."""
        return any(
            element.calendar is not None
            or any(
                part.dynamic is not None and (part.dynamic.network or part.dynamic.discount)
                for part in element.components
            )
            for element in self.elements
        )


def require_lock(tariff: Tariff) -> None:
    """For sites where the law requires the price of the start, per kWh, for the whole session (23 CFR 680.116(a)).

    Raises CannotPrice LOCK_REQUIRED for a tariff whose price may change in a session, or that prices charging by time.
    """
    if tariff.price_mode != "LOCKED":
        raise CannotPrice("LOCK_REQUIRED", f"tariff {tariff.id!r} must say x_price_mode LOCKED at this site")
    for place, element in enumerate(tariff.elements):
        timed = any(part.dimension == Dimension.TIME and part.price for part in element.components)
        if timed and element.reservation is None:
            raise CannotPrice(
                "LOCK_REQUIRED", f"tariff {tariff.id!r} prices charging by TIME in elements[{place}]; use ENERGY here"
            )


def choose(
    tariffs: Iterable[Tariff], tariff_ids: Sequence[str], at_us: int, tariff_type: TariffType | None = None
) -> Tariff:
    """The tariff of a session that starts at `at_us` (D19). Raises CannotPrice TARIFF_MISSING or TARIFF_AMBIGUOUS.

    Valid at the start (end exclusive), exact type before no type, latest validity start; among versions of one id the
    last one updated by then, or the oldest if all are younger. Without `tariff_type` every type fits.
    """
    wanted = frozenset(tariff_ids)
    fitting = [
        tariff
        for tariff in tariffs
        if tariff.id in wanted
        and (tariff.valid_from_us is None or tariff.valid_from_us <= at_us)
        and (tariff.valid_until_us is None or at_us < tariff.valid_until_us)
        and (tariff_type is None or tariff.type is None or tariff.type == tariff_type)
    ]
    if not fitting:
        raise CannotPrice("TARIFF_MISSING", "none of the connector's tariffs is known and valid at the session's start")
    if len(fitting) == 1:
        return fitting[0]  # nearly always
    if tariff_type is not None and any(tariff.type == tariff_type for tariff in fitting):
        fitting = [tariff for tariff in fitting if tariff.type == tariff_type]
    newest = max(_or_oldest(tariff.valid_from_us) for tariff in fitting)
    fitting = [tariff for tariff in fitting if _or_oldest(tariff.valid_from_us) == newest]
    versions: dict[str, Tariff] = {}
    for tariff in fitting:
        known = versions.get(tariff.id)
        versions[tariff.id] = tariff if known is None else _in_force(known, tariff, at_us)
    if len(versions) > 1:
        raise CannotPrice("TARIFF_AMBIGUOUS", f"{len(versions)} tariffs fit equally; give them types or validity dates")
    return next(iter(versions.values()))


def _or_oldest(us: int | None) -> int:
    return -(1 << 62) if us is None else us


def _in_force(one: Tariff, other: Tariff, at_us: int) -> Tariff:
    """The version of the two that was in force."""
    if one.content_hash == other.content_hash:
        return one
    older, newer = sorted((one, other), key=lambda tariff: _or_oldest(tariff.updated_us))
    if _or_oldest(older.updated_us) == _or_oldest(newer.updated_us):
        raise CannotPrice("TARIFF_AMBIGUOUS", "two versions of one tariff bear the same last_updated")
    return newer if _or_oldest(newer.updated_us) <= at_us else older
