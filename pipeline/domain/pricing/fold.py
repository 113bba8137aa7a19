"""Pricing is a fold: readings and changes of activity update a small state; running cost and bill are read from it.

price.py folds over recorded facts, the stream over events as they arrive. Both use this engine, so that running and
final cost cannot differ (ops/spec/pricing.md I5). Whatever decides where a session is cut is in this file. It is longer
than 300 lines because it is one class: each part of the fold reads and writes the same few fields.
"""

from __future__ import annotations

from copy import copy
from decimal import Decimal

from pipeline.domain.events import PriceQuote
from pipeline.domain.pricing.bill import Bill, render
from pipeline.domain.pricing.compiled_tariff import Active, CompiledTariff, Rules, compile_tariff
from pipeline.domain.pricing.facts import Activity
from pipeline.domain.pricing.formula import Formula, formula_of
from pipeline.domain.pricing.ledger import BillLedger, Split
from pipeline.domain.pricing.quotes import Lock, lock_of
from pipeline.domain.pricing.rates import Unit
from pipeline.domain.pricing.reservation import reserve
from pipeline.domain.pricing.restrictions import Moment
from pipeline.domain.pricing.signals import NO_SIGNALS, Signals
from pipeline.domain.pricing.tariff import Tariff
from pipeline.domain.pricing.totals import Piece, total
from pipeline.domain.pricing.units import NEVER_US, US_PER_HOUR, money_text, rounded


class Fold:
    """The state of one session being priced. Needs no codec: it can be refolded from the readings that are kept."""

    __slots__ = (
        "_active",
        "_activity",
        "_compiled",
        "_cut_mwh",
        "_cut_us",
        "_fork",
        "_fork_active",
        "_formula",
        "_head",
        "_idle_us",
        "_is_expired",
        "_last_mwh",
        "_last_us",
        "_ledger",
        "_lock",
        "_lock_us",
        "_next_us",
        "_offset_s",
        "_pending",
        "_period_mwh",
        "_piece_mwh",
        "_piece_us",
        "_power",
        "_power_derived",
        "_power_now",
        "_reservation",
        "_signals",
        "_since",
        "_start_mwh",
        "_start_us",
        "_stated",
    )  # fmt: skip

    _active: Active
    _fork_active: Active
    _next_us: int
    _cut_us: int
    _cut_mwh: int

    def __init__(
        self, compiled: CompiledTariff, signals: Signals, start_us: int, register_mwh: int | None, lock: Lock
    ) -> None:
        self._compiled = compiled
        self._signals = signals
        self._lock = lock
        self._lock_us = lock.at_us
        self._start_us = self._last_us = start_us
        self._start_mwh: int | None = register_mwh
        self._last_mwh = self._period_mwh = register_mwh or 0
        self._activity: str = "charging"
        self._since = start_us
        self._pending: list[tuple[int, Activity]] = []
        self._stated: list[tuple[int, int]] = []
        self._power: tuple[int, int] | None = None
        self._power_now: tuple[int, int] | None = None
        self._power_derived = False
        self._idle_us: int | None = None
        self._ledger = BillLedger()
        self._fork: BillLedger | None = None
        self._reservation: BillLedger | None = None
        self._is_expired = False
        self._head: Split = (start_us, start_us)
        self._formula: Formula | None = None
        self._open(start_us, self._last_mwh, self._head)

    @classmethod
    def open(
        cls,
        tariff: Tariff,
        zone: str | None,
        signals: Signals | None,
        start_us: int,
        register_mwh: int | None,
        *,
        reserved_from_us: int | None = None,
        reservation_expired: bool = False,
        tax_rate: Decimal | None = None,
        quote: PriceQuote | None = None,
    ) -> Fold:
        """A session that begins and charges. `register_mwh` None: not known yet, the first reading gives it."""
        signals = signals or NO_SIGNALS
        lock = lock_of(tariff.price_mode, start_us, quote)
        fold = cls(compile_tariff(tariff, zone, "session", tax_rate), signals, start_us, register_mwh, lock)
        if reserved_from_us is not None:
            compiled = compile_tariff(tariff, zone, "expired" if reservation_expired else "reservation", tax_rate)
            fold._reservation = reserve(compiled, signals, reserved_from_us, start_us)
            fold._is_expired = reservation_expired
        return fold

    @property
    def needs_power(self) -> bool:
        """Does a price depend on power? Then the fold needs each reading, with the power that it states."""
        return self._compiled.has_power

    @property
    def series(self) -> tuple[str, ...]:
        """The price signals that the tariff follows; nearly always none."""
        return self._compiled.series

    @property
    def prices(self) -> tuple[Unit | None, ...]:
        """The unit price of each dimension at this moment."""
        return self._active.units

    def reading(self, at_us: int, register_mwh: int, power_w: int | None = None) -> None:
        """A meter reading, later than everything before. Raises ValueError if not: refold from the kept readings."""
        if not self.moved(at_us, register_mwh):
            self._read(at_us, register_mwh, power_w)

    def moved(self, at_us: int, register_mwh: int) -> bool:
        """Takes a reading up to which no price can change; the fold does not need those before it. Else False."""
        if self._last_us < at_us <= self._cut_us and register_mwh < self._cut_mwh:
            self._last_us = at_us
            self._last_mwh = register_mwh
            return True
        return False

    def power(self, at_us: int, power_w: int) -> None:
        """Power that was stated between two readings of the register, later than all readings and powers before."""
        if at_us < (self._stated[-1][0] if self._stated else self._last_us):
            raise ValueError("a power came out of order; refold from the kept readings")
        if self._compiled.has_power:
            self._stated.append((at_us, power_w))

    def activity(self, at_us: int, activity: Activity) -> None:
        """The session is in this activity from `at_us`, which must not be before the last reading or change."""
        if at_us < (self._pending[-1][0] if self._pending else self._last_us):
            raise ValueError("a change of activity came out of order; refold from the kept readings")
        self._pending.append((at_us, activity))
        self._cut_us = -1

    def running(self) -> tuple[str | None, str | None]:
        """Total cost excl. and incl. tax up to the last known instant, with the session ended there; None: unknown."""
        formula, mwh = self._formula, self._last_mwh - self._piece_mwh
        if formula is not None and mwh > 0 and not self._pending:
            return formula.at(mwh)
        rates, has_session = self._compiled.rates, not self._is_expired
        if self._pending:
            cost = total(rates, self._ended(self._pending[-1][0]), self._reservation, has_session)
        else:
            ledger, active = self._in_force()
            piece = Piece(active, self._activity, self._last_us - self._piece_us, self._last_mwh - self._piece_mwh)
            cost = total(rates, ledger, self._reservation, has_session, piece)
            self._formula = None if self._fork is not None else formula_of(rates, ledger, piece, cost)
        return (
            None if cost.excl is None else money_text(cost.excl),
            None if cost.incl is None else money_text(cost.incl),
        )

    def bill(self, end_us: int, final: bool = True) -> Bill:
        """The bill of the session ended at `end_us`, not before the last reading; the fold itself is not changed."""
        if end_us < self._last_us:
            raise ValueError("a session cannot end before its last reading")
        return self._render(self._ended(end_us), end_us, final)

    def close(self, end_us: int) -> Bill:
        """The final bill of a fold that is not used any more: `bill` without copying the ledger first."""
        if end_us < self._last_us:
            raise ValueError("a session cannot end before its last reading")
        return self._render(self._finish(end_us), end_us, True)

    def _render(self, ledger: BillLedger, end_us: int, final: bool) -> Bill:
        return render(
            self._compiled, self._signals, ledger, self._reservation, not self._is_expired, end_us, final, self._lock
        )

    def _read(self, at_us: int, register_mwh: int, power_w: int | None) -> None:
        if at_us <= self._last_us and self._start_mwh is not None:
            if (at_us, register_mwh) != (self._last_us, self._last_mwh):
                raise ValueError("a reading came out of order; refold from the kept readings")
        else:
            if self._start_mwh is None:
                self._start_mwh = self._last_mwh = self._piece_mwh = self._period_mwh = register_mwh
                self._open(self._piece_us, register_mwh, self._head)
            self._advance(at_us, register_mwh)
            self._last_us, self._last_mwh = at_us, register_mwh
            self._arm()
        self._power = None if power_w is None else (power_w, power_w)

    def _advance(self, at_us: int, register_mwh: int) -> None:
        """Cuts the interval from the last reading to this one wherever a price may change, before `at_us`."""
        last_us, last_mwh, pending, stated = self._last_us, self._last_mwh, self._pending, self._stated
        if self._compiled.has_power and at_us > last_us:
            self._close(last_us, last_mwh, (last_us, last_us))
            self._derive_power(at_us, register_mwh)
            self._open(last_us, last_mwh, (last_us, last_us))
        while True:
            cut_us, cut_mwh = self._next_us, -1
            if pending and pending[0][0] < cut_us:
                cut_us = pending[0][0]
            if stated and stated[0][0] < cut_us:
                cut_us = stated[0][0]
            if register_mwh >= self._cut_mwh:
                reached_us = self._reached_us(at_us, register_mwh)
                if reached_us < cut_us:
                    cut_us, cut_mwh = reached_us, max(self._cut_mwh, last_mwh)
                    self._next_us = cut_us
            if cut_us >= at_us:
                return
            evidence = (cut_us, cut_us)
            if cut_us <= last_us:
                cut_mwh = last_mwh
            elif register_mwh == last_mwh:
                cut_mwh, evidence = last_mwh, (last_us, last_us)
            else:
                evidence = (last_us, at_us)
                if cut_mwh < 0:
                    moved = (register_mwh - last_mwh) * (cut_us - last_us)
                    cut_mwh = last_mwh + rounded(moved, at_us - last_us)
            self._close(cut_us, cut_mwh, evidence)
            while pending and pending[0][0] == cut_us:
                self._change(cut_us, cut_mwh, pending.pop(0)[1])
            while stated and stated[0][0] == cut_us:
                watts = stated.pop(0)[1]
                self._power_now, self._power_derived = (watts, watts), False
            self._open(cut_us, cut_mwh, evidence)

    def _reached_us(self, at_us: int, register_mwh: int) -> int:
        """The first instant at which the register has reached the next energy threshold."""
        missing = self._cut_mwh - self._last_mwh
        if missing <= 0:
            return self._last_us
        return self._last_us - -missing * (at_us - self._last_us) // (register_mwh - self._last_mwh)

    def _open(self, us: int, mwh: int, head: Split) -> None:
        """A new period begins: the active components are chosen, and the next instant that may change them."""
        compiled, lock_us = self._compiled, self._lock_us
        to_us, self._offset_s, rules = compiled.at(us)
        if lock_us is not None:
            rules = compiled.at(lock_us).rules
        self._piece_us, self._piece_mwh, self._head = us, mwh, head
        self._formula = None
        active = rules.active
        if active is not None:
            self._active, self._next_us, self._cut_mwh = active, to_us, NEVER_US
            self._fork_active = active
        else:
            start_mwh = mwh if self._start_mwh is None else self._start_mwh
            moment = Moment(us, us - self._start_us, mwh - start_mwh, None, self._power_now)
            active = self._active = self._fork_active = self._activated(rules, moment)
            until_us, until_mwh = active.until_us, active.until_mwh
            if self._fork is not None and self._idle_us is not None:
                moment = moment._replace(since_charging_us=us - self._idle_us)
                forked = self._fork_active = self._activated(rules, moment)
                until_us, until_mwh = min(until_us, forked.until_us), min(until_mwh, forked.until_mwh)
            self._next_us, self._cut_mwh = min(to_us, until_us), start_mwh + until_mwh
        if not self._ledger.flats:
            self._ledger.post_flat(active, self._offset_s, us, head)
        if self._fork is not None and not self._fork.flats:
            self._fork.post_flat(self._fork_active, self._offset_s, us, head)
        self._arm()

    def _activated(self, rules: Rules, moment: Moment) -> Active:
        active = self._compiled.activate(rules, moment, self._signals, self._lock_us)
        return active._replace(is_power_derived=True) if self._power_derived else active

    def _arm(self) -> None:
        """A reading below `_cut_us` and `_cut_mwh` changes nothing but the last reading."""
        is_slow = self._pending or self._compiled.has_power or self._start_mwh is None
        self._cut_us = -1 if is_slow else self._next_us

    def _close(self, us: int, mwh: int, tail: Split) -> None:
        from_us = self._piece_us
        if us <= from_us:
            return
        self._post(self._ledger, self._active, us, mwh, tail)
        if self._fork is not None:
            self._post(self._fork, self._fork_active, us, mwh, tail)
        self._piece_us, self._piece_mwh, self._head = us, mwh, tail

    def _post(self, ledger: BillLedger, active: Active, us: int, mwh: int, tail: Split) -> None:
        from_us, offset_s, since = self._piece_us, self._offset_s, (self._since, self._since)
        ledger.post_energy(active, offset_s, from_us, us, mwh - self._piece_mwh, self._head, tail)
        ledger.post_time(active, offset_s, self._activity, from_us, us, us - from_us, since)

    def _change(self, us: int, mwh: int, activity: Activity) -> None:
        """After a period of charging that delivered enough there are two ledgers (ops/spec/pricing.md 5.4).

        `_ledger` assumes that charging has not ended, `_fork` that it ended at `_idle_us`. If charging resumes for
        good, the fork is dropped, and nothing that it billed as overstay remains.
        """
        was_idle, is_idle = self._activity == "idle", activity == "idle"
        self._activity, self._since = activity, us
        if not self._compiled.has_idle or was_idle == is_idle:
            return
        if was_idle:
            self._period_mwh = mwh
        elif mwh - self._period_mwh >= self._compiled.tariff.resume_mwh:
            self._idle_us, self._fork = us, self._ledger.copy()

    def _in_force(self) -> tuple[BillLedger, Active]:
        """The ledger that holds as of the last reading, and its active components."""
        resumed = self._activity != "idle" and self._last_mwh - self._period_mwh >= self._compiled.tariff.resume_mwh
        if self._fork is None or resumed:
            return self._ledger, self._active
        return self._fork, self._fork_active

    def _derive_power(self, at_us: int, register_mwh: int) -> None:
        """Power until the next reading: as measured at the last one, else the mean of the interval (D16)."""
        self._power_derived = self._power is None
        self._power_now = self._power
        if self._power is None:
            watts = rounded((register_mwh - self._last_mwh) * US_PER_HOUR, (at_us - self._last_us) * 1000)
            self._power_now = watts, watts

    def _ended(self, end_us: int) -> BillLedger:
        """The ledger as it is if the session ends here with what is known."""
        twin = copy(self)
        twin._pending, twin._stated = self._pending[:], self._stated[:]
        twin._ledger = self._ledger.copy()
        twin._fork = None if self._fork is None else self._fork.copy()
        return twin._finish(end_us)

    def _finish(self, end_us: int) -> BillLedger:
        if self._is_expired:
            return BillLedger()
        if end_us > self._last_us:
            self._advance(end_us, self._last_mwh)
        self._close(end_us, self._last_mwh, (self._last_us, self._last_us))
        return self._in_force()[0]
