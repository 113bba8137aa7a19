"""What sessions would have cost under other tariffs: revenue, off-peak share, and who pays more or less, per site.

Facts come from the published quarter-hour slots and bill lines; between their bounds energy is spread evenly. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import NamedTuple

from pipeline.domain.outputs import Line, SessionSlot
from pipeline.domain.pricing.bill import Bill
from pipeline.domain.pricing.facts import Activity, ActivityPeriod, Facts, Reading
from pipeline.domain.pricing.localtime import label_of, zone_of
from pipeline.domain.pricing.price import price
from pipeline.domain.pricing.restrictions import Calendar
from pipeline.domain.pricing.signals import Signals
from pipeline.domain.pricing.tariff import CannotPrice, Tariff, choose, require_lock
from pipeline.domain.pricing.units import MWH_PER_KWH, MWH_PER_WH, US_PER_S
from pipeline.domain.sites.site import Site


class Recorded(NamedTuple):
    """A completed session as it was published."""

    site_id: str
    start_us: int
    end_us: int
    slots: Sequence[SessionSlot]
    lines: Sequence[Line]
    billed_excl: Decimal | None
    """Total without tax of its final bill; None: held."""
    facts: Facts | None = None
    """The readings themselves, from its receipt; None: only what was published is known."""


@dataclass(slots=True, kw_only=True)
class Effect:
    """What another tariff changes at one site. Amounts exclude tax; only sessions priced both times are compared."""

    currency: str | None = None
    sessions: int = 0
    energy_wh: int = 0
    off_peak_wh: int = 0
    compared: int = 0
    revenue_before: Decimal = Decimal(0)
    revenue_after: Decimal = Decimal(0)
    winners: int = 0
    """Sessions that would have been cheaper."""
    losers: int = 0
    unchanged: int = 0
    not_priced: dict[str, int] = field(default_factory=dict)
    """Sessions without a price before or after, by reason."""


def rerate(
    sessions: Iterable[Recorded],
    sites: Mapping[str, Site],
    tariffs: Sequence[Tariff],
    off_peak: Calendar,
    signals: Signals | None = None,
) -> dict[str, Effect]:
    """Effects by site. Each session is priced by the tariff that its site offers of `tariffs`."""
    effects: dict[str, Effect] = {}
    for session in sessions:
        effect, site = effects.setdefault(session.site_id, Effect()), sites.get(session.site_id)
        effect.sessions += 1
        effect.energy_wh += sum(slot.energy_wh for slot in session.slots)
        if site is None:
            _count(effect, "SITE_MISSING")
            continue
        zone = zone_of(site.time_zone)
        effect.off_peak_wh += sum(s.energy_wh for s in session.slots if off_peak.holds(label_of(s.start_us, zone)))
        try:
            tariff = choose(tariffs, site.tariff_ids, session.start_us, "REGULAR")
            if site.lock_required:
                require_lock(tariff)
            seen = None if signals is None else signals.of_site(site.site_id)
            bill = price(facts_of(session), tariff, site.time_zone, seen, tax_rate=site.tax_rate)
        except CannotPrice as missing:
            _count(effect, missing.code)
            continue
        if bill.total_excl is None or session.billed_excl is None:
            _count(effect, bill.held_reason or "NOT_BILLED_BEFORE")
            continue
        effect.currency = bill.currency
        _compare(effect, session.billed_excl, Decimal(bill.total_excl))
    return effects


def rebill(session: Recorded, site: Site, tariff: Tariff, signals: Signals | None = None) -> Bill:
    """The bill of a recorded session under another tariff; raises CannotPrice."""
    return price(facts_of(session), tariff, site.time_zone, signals, tax_rate=site.tax_rate)


def facts_of(session: Recorded) -> Facts:
    """Facts as published: registers at the bounds of slots and of energy lines, activity from the time lines.

    So the tariff that billed the session gives its bill again; a held session has no lines, and its slots must do. The
    readings of a receipt are taken as they are.
    """
    if session.facts is not None:
        return session.facts
    registers = _registers(session)
    end_us = max(session.end_us, max(registers))
    readings, highest = [], 0
    for at_us in sorted(registers):
        highest = max(highest, registers[at_us])  # a slot is rounded down to the Wh, a line is exact
        readings.append(Reading(at_us, highest))
    activity = _activity_of_lines(session.lines) or _activity_of_slots(session)
    return Facts(min(session.start_us, readings[0].at_us), end_us, readings, activity)


def _registers(session: Recorded) -> dict[int, int]:
    """mWh since the start at every known bound."""
    register, at_us, found = 0, session.start_us, {session.start_us: 0}
    for slot in session.slots:
        at_us = min(at_us + slot.occupied_s * US_PER_S, session.end_us)
        register += slot.energy_wh * MWH_PER_WH
        found[at_us] = register
    found[session.end_us] = register
    passed = 0
    for line in session.lines:
        if line.dimension == "ENERGY":
            found[line.from_us] = passed
            passed += int(Decimal(line.quantity) * MWH_PER_KWH)
            found[line.to_us] = passed
    return found


def _activity_of_lines(lines: Sequence[Line]) -> list[ActivityPeriod]:
    found: list[ActivityPeriod] = []
    times = [line for line in lines if line.dimension in ("TIME", "PARKING_TIME")]
    for line in sorted(times, key=lambda line: line.from_us):
        pause = line.dimension == "TIME" and line.reason == "EVSE_PAUSE"
        name: Activity = "idle" if line.dimension == "PARKING_TIME" else "evse_pause" if pause else "charging"
        if not found or found[-1].activity != name:
            found.append(ActivityPeriod(line.from_us, name))
    return found


def _activity_of_slots(session: Recorded) -> list[ActivityPeriod]:
    """In a slot, charging comes first unless idle time went before."""
    activity: list[ActivityPeriod] = []
    at_us = session.start_us
    for slot in session.slots:
        charging_us = min(slot.charging_s, slot.occupied_s) * US_PER_S
        order: list[tuple[Activity, int]] = [
            ("charging", charging_us),
            ("idle", slot.occupied_s * US_PER_S - charging_us),
        ]
        for name, lasted_us in reversed(order) if activity and activity[-1].activity == "idle" else order:
            if lasted_us > 0 and (not activity or activity[-1].activity != name):
                activity.append(ActivityPeriod(at_us, name))
            at_us += lasted_us
    return activity


def _compare(effect: Effect, before: Decimal, after: Decimal) -> None:
    effect.compared += 1
    effect.revenue_before += before
    effect.revenue_after += after
    if after < before:
        effect.winners += 1
    elif after > before:
        effect.losers += 1
    else:
        effect.unchanged += 1


def _count(effect: Effect, reason: str) -> None:
    effect.not_priced[reason] = effect.not_priced.get(reason, 0) + 1
