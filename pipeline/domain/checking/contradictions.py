"""Where a CDR disagrees with itself (ops/spec/pricing.md section 7). A figure that is not stated is not checked."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from fractions import Fraction
from itertools import pairwise

from pipeline.domain.checking.cdr import Cdr
from pipeline.domain.checking.figures import COST_LINES, Finding, Tolerance, half_place, sum_of, text
from pipeline.domain.checking.unstated import LAG_US, Unknown, energy_is_open, open_times
from pipeline.domain.pricing.bill import Bill
from pipeline.domain.pricing.tariff import Tariff
from pipeline.domain.pricing.units import MWH_PER_KWH, US_PER_HOUR, utc_text


def contradictions(cdr: Cdr, tariffs: Sequence[Tariff]) -> list[Finding]:
    """All that can be seen without a price. `tariffs`: those given, else those of the CDR."""
    return [*_periods(cdr), *_negative(cdr), *_times(cdr), *_volumes(cdr), *_tax(cdr), *_tariffs(cdr, tariffs)]


def costs_do_not_add_up(cdr: Cdr, bill: Bill, tariff: Tariff, tolerance: Tolerance, open_: Unknown) -> list[Finding]:
    """Stated components against the total, unless a limit explains it exactly or a component is not stated."""
    total, found = cdr.costs.get("total_cost"), []
    stated = {name: amount for name, amount in cdr.costs.items() if name != "total_cost"}
    if total is None or not stated:
        return []
    for name, (_, kinds) in COST_LINES.items():
        lines = [line for line in bill.lines if (line.kind, line.dimension) in kinds]
        if name not in stated and (name in open_.figures or sum_of(lines, "excl") != 0):
            return []
    limits = [limit for limit in (tariff.min_price, tariff.max_price) if limit is not None]
    for part, whole, parts, limited in (
        ("excl", total.excl, [amount.excl for amount in stated.values()], [limit.excl for limit in limits]),
        ("incl", total.incl, [amount.incl for amount in stated.values()], [limit.incl for limit in limits]),
    ):
        known = [amount for amount in parts if amount is not None]
        if whole is None or len(known) < len(parts) or whole in limited:
            continue
        slack = sum((tolerance.of_amount(amount) for amount in (whole, *known)), Fraction(0))
        difference = Fraction(whole) - Fraction(sum(known))
        if abs(difference) > slack:
            where = f"total_cost.{part}_vat"
            found.append(_found("COSTS_DO_NOT_ADD_UP", where, f"the stated components sum to {sum(known)}", whole))
    return found


def _periods(cdr: Cdr) -> list[Finding]:
    claim, found = cdr.claim, []
    for place, period in enumerate(claim.periods):
        if period.start_us < claim.start_us or period.start_us > claim.end_us:
            text_ = f"starts at {utc_text(period.start_us)}, outside of the session"
            found.append(_found("PERIOD_OUTSIDE_SESSION", f"charging_periods[{place}]", text_))
    for place, (earlier, later) in enumerate(pairwise(claim.periods), 1):
        if later.start_us < earlier.start_us:
            found.append(
                _found("PERIODS_OUT_OF_ORDER", f"charging_periods[{place}]", "starts before the one before it")
            )
    return found


def _negative(cdr: Cdr) -> list[Finding]:
    found = [
        _found("NEGATIVE_VOLUME", f"charging_periods[{place}]", f"{name} is negative")
        for place, period in enumerate(cdr.claim.periods)
        for name in period.negative
    ]
    return found + [
        _found("NEGATIVE_VOLUME", name, f"is negative: {value}") for name, value in cdr.volumes.items() if value < 0
    ]


def _times(cdr: Cdr) -> list[Finding]:
    """The stated times of each period against its own timestamps, and of the session against its."""
    found, claim = [], cdr.claim
    for place, (period, end_us) in enumerate(zip(claim.periods, claim.ends(), strict=True)):
        stated = [us for us in (period.time_us, period.parking_us, period.reservation_us) if us is not None]
        if not stated or period.negative:
            continue
        more_us, slack_us = sum(stated) - (end_us - period.start_us), LAG_US + period.written_to_us
        if more_us > slack_us or (len(stated) > 1 and more_us < -slack_us):
            lasts = text(Fraction(end_us - period.start_us, US_PER_HOUR))
            what = f"states {text(Fraction(sum(stated), US_PER_HOUR))} h and lasts {lasts} h by its timestamps"
            found.append(_found("PERIOD_TIME_DIFFERS", f"charging_periods[{place}]", what))
    total, lasted = cdr.volumes.get("total_time"), Fraction(claim.end_us - claim.start_us, US_PER_HOUR)
    if total is not None and Fraction(total) > lasted + Fraction(LAG_US, US_PER_HOUR) + half_place(total):
        what = f"the session lasts {text(lasted)} h by its timestamps"
        found.append(_found("TIME_DOES_NOT_ADD_UP", "total_time", what, total))
    return found


def _volumes(cdr: Cdr) -> list[Finding]:
    """More than is stated in sum may be in periods that do not state it."""
    found: list[Finding] = []
    times = open_times(cdr)
    periods = [period for period in cdr.claim.periods if period.reservation_us is None]
    energy = [period.energy_mwh for period in periods if period.energy_mwh is not None]
    stated = cdr.volumes.get("total_energy")
    if stated is not None and energy and not energy_is_open(cdr):
        total, slack = Fraction(sum(energy), MWH_PER_KWH), Fraction(5, 100_000) * len(energy)
        found += _compared("VOLUMES_DO_NOT_ADD_UP", "total_energy", stated, total, slack, "kWh")
    parking = [period.parking_us for period in periods if period.parking_us is not None]
    stated = cdr.volumes.get("total_parking_time")
    if stated is not None and parking:
        total, slack = Fraction(sum(parking), US_PER_HOUR), Fraction(1, 10_000) * len(parking)
        if "PARKING_TIME" not in times or stated < total:
            found += _compared("TIME_DOES_NOT_ADD_UP", "total_parking_time", stated, total, slack, "h")
    time = [(period.time_us or 0) + (period.parking_us or 0) for period in periods]
    is_stated = all(period.time_us is not None or period.parking_us is not None for period in periods)
    stated = cdr.volumes.get("total_time")
    if stated is not None and periods and is_stated:
        total, slack = Fraction(sum(time), US_PER_HOUR), Fraction(1, 10_000) * len(time)
        if not times or stated < total:
            found += _compared("TIME_DOES_NOT_ADD_UP", "total_time", stated, total, slack, "h")
    return found


def _compared(code: str, where: str, stated: Decimal, total: Fraction, slack: Fraction, unit: str) -> list[Finding]:
    if abs(Fraction(stated) - total) <= max(slack, half_place(stated)):
        return []
    return [_found(code, where, f"the charging periods sum to {text(total)} {unit}", stated)]


def _tax(cdr: Cdr) -> list[Finding]:
    return [
        _found("TAX_NEGATIVE", name, f"{amount.incl} with tax is less than {amount.excl} without")
        for name, amount in cdr.costs.items()
        if amount.incl is not None and amount.incl < amount.excl and amount.excl >= 0
    ]


def _tariffs(cdr: Cdr, tariffs: Sequence[Tariff]) -> list[Finding]:
    found, known = [], {tariff.id for tariff in (*tariffs, *cdr.tariffs)}
    for place, period in enumerate(cdr.claim.periods):
        if cdr.tariffs and period.tariff_id is not None and period.tariff_id not in known:
            where = f"charging_periods[{place}].tariff_id"
            found.append(_found("UNKNOWN_TARIFF_ID", where, "names a tariff that is neither in the CDR nor given"))
    named = {period.tariff_id for period in cdr.claim.periods} - {None}
    for tariff in tariffs:
        if named and tariff.id not in named:
            continue
        if tariff.currency != cdr.currency:
            found.append(_found("CURRENCY_DIFFERS", "currency", f"{cdr.currency}; the tariff is in {tariff.currency}"))
        first, last = tariff.valid_from_us, tariff.valid_until_us
        start_us = cdr.claim.start_us
        if (first is not None and start_us < first) or (last is not None and start_us >= last):
            found.append(_found("TARIFF_NOT_VALID_AT_START", "tariffs", f"{tariff.id!r} was not valid at the start"))
    return found


def _found(code: str, where: str, text_: str, claimed: Decimal | None = None) -> Finding:
    return Finding(
        kind="CONTRADICTION", code=code, where=where, text=text_, claimed=None if claimed is None else str(claimed)
    )
