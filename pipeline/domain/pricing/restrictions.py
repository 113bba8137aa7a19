"""When an element of a tariff applies: one class per kind of OCPI restriction (ops/spec/pricing.md 2.2).

`holds` tests one instant: True, False, or None where a needed fact is unknown. `next_us` and `next_mwh` name the next
instant or register movement at which the answer may change, so that pricing can cut there. Lower bounds are inclusive,
upper bounds exclusive. A new restriction is a class here, a member of `Condition` and an arm in wire/tariffs.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import NamedTuple

from pipeline.domain.pricing.units import MWH_PER_KWH, NEVER_US, US_PER_S

DAYS = ("MONDAY", "TUESDAY", "WEDNESDAY", "THURSDAY", "FRIDAY", "SATURDAY", "SUNDAY")
END_OF_DAY = 24 * 60
Range = tuple[int, int]


class Moment(NamedTuple):
    """What is known about a session at one instant, apart from the calendar."""

    at_us: int
    elapsed_us: int
    """Since the start of the session, or of the reservation inside its elements."""
    used_mwh: int
    since_charging_us: int | None = None
    """Since the end of charging (ops/spec/pricing.md 5.4); None: charging has not ended."""
    power_w: Range | None = None
    """Least and greatest power now; None: unknown."""
    current_ma: Range | None = None
    """Least and greatest current now, summed over the phases; None: unknown, never derived (D16)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Calendar:
    """Clock window, dates and weekdays together, because a wrapped window has one starting day (D3).

    Minutes since local midnight; `end` is END_OF_DAY for 00:00 (D2), `start` = `end` is the whole day (D1).
    """

    start: int = 0
    end: int = END_OF_DAY
    start_date: date | None = None
    end_date: date | None = None
    days: frozenset[int] = frozenset()
    """Monday is 0; empty restricts nothing."""
    by_instant: bool = False
    """Another reading of D3: after midnight the window belongs to the day of the instant."""
    one_pass: bool = False
    """Another reading of D4: the second pass of the repeated hour does not match."""

    def holds(self, label: datetime) -> bool:
        """True if the local label is inside; needs no zone, because labels are compared with labels."""
        clock = label.hour * 60 + label.minute
        day = label.date()
        if self.start < self.end:
            inside = self.start <= clock < self.end
        elif self.start == self.end:
            inside = True
        else:
            inside = clock >= self.start or clock < self.end
            if clock < self.end and not self.by_instant:
                day -= timedelta(days=1)
        return (
            inside
            and not (self.one_pass and label.fold)
            and (not self.days or day.weekday() in self.days)
            and (self.start_date is None or day >= self.start_date)
            and (self.end_date is None or day < self.end_date)
        )

    def bounds(self) -> tuple[int, int]:
        """Clock minutes at which the answer may change, besides midnight."""
        return self.start, self.end % END_OF_DAY

    def words(self) -> str:
        parts = []
        if (self.start, self.end) != (0, END_OF_DAY):
            parts.append(f"{_clock(self.start)}-{_clock(self.end)}")
        if self.days:
            parts.append(_weekdays(self.days))
        if self.start_date is not None:
            parts.append(f"from {self.start_date}")
        if self.end_date is not None:
            parts.append(f"before {self.end_date}")
        return " ".join(parts) or "every day"


class _Bounds:
    """A lower bound (inclusive) and an upper bound (exclusive) on an integer; None is no bound."""

    __slots__ = ()
    low: int | None
    high: int | None

    def contains(self, value: int) -> bool:
        return (self.low is None or value >= self.low) and (self.high is None or value < self.high)

    def contains_range(self, values: Range | None) -> bool | None:
        if values is None:
            return None
        first, last = self.contains(values[0]), self.contains(values[1])
        is_across = self.low is not None and values[0] < self.low <= values[1]
        return None if first != last or is_across else first

    def next_above(self, value: int) -> int | None:
        """The next bound that a growing value will reach."""
        ahead = [bound for bound in (self.low, self.high) if bound is not None and bound > value]
        return min(ahead, default=None)


@dataclass(frozen=True, slots=True)
class EnergyUsed(_Bounds):
    """`min_kwh`, `max_kwh`: imported energy since the start, also unpriced (D18); mWh."""

    low: int | None
    high: int | None

    def holds(self, moment: Moment) -> bool:
        return self.contains(moment.used_mwh)

    def next_us(self, _moment: Moment) -> int:
        return NEVER_US

    def next_mwh(self, moment: Moment) -> int:
        ahead = self.next_above(moment.used_mwh)
        return NEVER_US if ahead is None else ahead

    def words(self) -> str:
        return _between(self.low, self.high, MWH_PER_KWH, "kWh")


@dataclass(frozen=True, slots=True)
class Elapsed(_Bounds):
    """`min_duration`, `max_duration`: since the start of the session (D14); microseconds."""

    low: int | None
    high: int | None

    def holds(self, moment: Moment) -> bool:
        return self.contains(moment.elapsed_us)

    def next_us(self, moment: Moment) -> int:
        ahead = self.next_above(moment.elapsed_us)
        return NEVER_US if ahead is None else moment.at_us + ahead - moment.elapsed_us

    def next_mwh(self, _moment: Moment) -> int:
        return NEVER_US

    def words(self) -> str:
        return _between(self.low, self.high, US_PER_S, "s")


@dataclass(frozen=True, slots=True)
class SinceCharging(_Bounds):
    """`x_min_idle`, `x_max_idle`: since the end of charging; no match before charging has ended; microseconds."""

    low: int | None
    high: int | None

    def holds(self, moment: Moment) -> bool:
        return moment.since_charging_us is not None and self.contains(moment.since_charging_us)

    def next_us(self, moment: Moment) -> int:
        if moment.since_charging_us is None:
            return NEVER_US
        ahead = self.next_above(moment.since_charging_us)
        return NEVER_US if ahead is None else moment.at_us + ahead - moment.since_charging_us

    def next_mwh(self, _moment: Moment) -> int:
        return NEVER_US

    def words(self) -> str:
        return _between(self.low, self.high, US_PER_S, "s after charging")


@dataclass(frozen=True, slots=True)
class PowerNow(_Bounds):
    """`min_power`, `max_power`: watts now, not the extreme of the session."""

    low: int | None
    high: int | None

    def holds(self, moment: Moment) -> bool | None:
        return self.contains_range(moment.power_w)

    def next_us(self, _moment: Moment) -> int:
        return NEVER_US

    def next_mwh(self, _moment: Moment) -> int:
        return NEVER_US

    def words(self) -> str:
        return _between(self.low, self.high, 1000, "kW")


@dataclass(frozen=True, slots=True)
class CurrentNow(_Bounds):
    """`min_current`, `max_current`: mA now, summed over the phases."""

    low: int | None
    high: int | None

    def holds(self, moment: Moment) -> bool | None:
        return self.contains_range(moment.current_ma)

    def next_us(self, _moment: Moment) -> int:
        return NEVER_US

    def next_mwh(self, _moment: Moment) -> int:
        return NEVER_US

    def words(self) -> str:
        return _between(self.low, self.high, 1000, "A")


Condition = EnergyUsed | Elapsed | SinceCharging | PowerNow | CurrentNow


def _clock(minutes: int) -> str:
    return f"{minutes // 60 % 24:02d}:{minutes % 60:02d}"


def _weekdays(days: frozenset[int]) -> str:
    """`MON-FRI`, `SAT-SUN`, `MON,WED`: a run of three or more, or the weekend, is written as a range."""
    ordered = sorted(days)
    names = [DAYS[day][:3] for day in ordered]
    if len(ordered) > 1 and ordered[-1] - ordered[0] == len(ordered) - 1:
        return f"{names[0]}-{names[-1]}"
    return ",".join(names)


def _between(low: int | None, high: int | None, scale: int, unit: str) -> str:
    parts = []
    if low is not None:
        parts.append(f"from {_plain(low, scale)}")
    if high is not None:
        parts.append(f"below {_plain(high, scale)}")
    return f"{' '.join(parts)} {unit}"


def _plain(value: int, scale: int) -> str:
    return f"{(Decimal(value) / scale).normalize():f}"
