"""What is wrong, doubtful or worth knowing about a tariff document: codes of ops/spec/pricing.md section 7.

Faults that `wire/tariffs.py` refuses are errors here (a restriction that can never hold is a warning, as the reference
has it, and no price is made from it all the same). Everything else is judged on the decoded tariff.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import date, timedelta
from typing import Any, Literal, NamedTuple

from pipeline.domain.checking.price_gaps import price_gap, year_of
from pipeline.domain.pricing.localtime import label_of, offset_changes, offset_of, zone_of
from pipeline.domain.pricing.restrictions import Calendar, CurrentNow, PowerNow
from pipeline.domain.pricing.tariff import Dimension, Element, Tariff
from pipeline.domain.pricing.units import US_PER_DAY
from pipeline.errors import InvalidMessage
from pipeline.wire.json_values import parse_many
from pipeline.wire.tariffs import UNREAD, read_tariff

Severity = Literal["error", "warning", "information"]
LAST_MINUTE = 23 * 60 + 59
SEVERITIES: Mapping[str, Severity] = {
    "impossible_restriction": "warning",
    "unreachable_element": "warning",
    "duplicate_dimension": "warning",
    "never_active": "warning",
    "whole_day_window": "warning",
    "minute_before_midnight": "warning",
    "wrapped_window_with_day": "warning",
    "bound_in_repeated_hour": "warning",
    "power_without_fallback": "warning",
    "limit_without_tax_amount": "warning",
    "tax_rate_without_tax": "warning",
    "tax_included_without_rate": "warning",
    "implausible_vat": "warning",
    "step_size_not_one": "information",
    "zero_step_size": "information",
    "empty_restrictions": "information",
    "price_gap": "information",
    "more_than_4_decimals": "information",
    "nothing_priced_by_use": "information",
    "unknown_field": "information",
}
"""Every code that is not an error; whatever else is found is one."""


class Finding(NamedTuple):
    code: str
    severity: Severity
    where: str
    text: str


Found = Iterator[tuple[str, str, str]]


def lint_tariffs(data: bytes, source: str, zone: str | None = None) -> list[tuple[str, list[Finding]]]:
    """Findings per tariff of a file, with its name. Raises InvalidMessage for what is not JSON, and for no tariff."""
    found = [(name, lint_document(document, zone)) for name, document in parse_many(data, source)]
    if not found:
        raise InvalidMessage("no_tariffs", f"{source}: holds no tariff")
    return found


def lint_document(document: Any, zone: str | None = None) -> list[Finding]:
    """Findings of one tariff document, errors first."""
    tariff, faults, unknown = read_tariff(document)
    found = [(fault.code, fault.where, fault.text) for fault in faults]
    found += [("unknown_field", where, UNREAD) for where in unknown]
    if tariff is not None:
        found += [*lint(tariff, zone), *_as_written(document)]
    order: tuple[Severity, ...] = ("error", "warning", "information")
    findings = [Finding(code, SEVERITIES.get(code, "error"), where, text) for code, where, text in found]
    return sorted(findings, key=lambda finding: order.index(finding.severity))


def lint(tariff: Tariff, zone: str | None = None) -> Found:
    """What the decoded tariff shows; with a zone also what depends on its clock."""
    if zone is None and tariff.is_local:
        yield "time_zone_missing", "", "depends on local time; give the zone of the site to price it"
    for place, element in enumerate(tariff.elements):
        where = f"elements[{place}]"
        yield from _element(tariff, element, where)
        if _is_shadowed(tariff, place):
            yield "unreachable_element", where, "earlier elements price all its dimensions whenever it matches"
        if element.calendar is not None:
            yield from _calendar(tariff, element.calendar, f"{where}.restrictions")
            if zone is not None:
                yield from _repeated(tariff, element.calendar, f"{where}.restrictions", zone)
    yield from _last_minutes(tariff)
    yield from _fallbacks(tariff, zone)
    taxed = any(part.vat for element in tariff.elements for part in element.components)
    for name, limit in (("min_price", tariff.min_price), ("max_price", tariff.max_price)):
        if limit is not None and limit.incl is None and taxed:
            yield "limit_without_tax_amount", name, "has no amount with tax: that total is scaled by the same factor"
    if all(part.dimension == Dimension.FLAT for _, part in _session_parts(tariff)):
        yield "nothing_priced_by_use", "elements", "neither energy nor time has a price"


def _element(tariff: Tariff, element: Element, where: str) -> Found:
    seen: set[Dimension] = set()
    for place, part in enumerate(element.components):
        path = f"{where}.price_components[{place}]"
        if part.dimension in seen:
            yield "duplicate_dimension", path, f"{part.dimension.name} is priced twice; the first one counts"
        seen.add(part.dimension)
        if part.dimension != Dimension.FLAT and part.step_size > 1:
            yield "step_size_not_one", path, f"step_size {part.step_size} rounds the total up"
        if part.dimension != Dimension.FLAT and part.step_size <= 0:
            yield "zero_step_size", path, "step_size is missing, 0 or negative: nothing is rounded"
        if -int(part.price.normalize().as_tuple().exponent) > 4:
            yield "more_than_4_decimals", path, f"price {part.price} has more than 4 decimals; it is used as it is"
        if part.vat is not None and (part.vat < 0 or part.vat > 30 or 0 < part.vat < 1):
            yield "implausible_vat", path, f"vat {part.vat} percent; 21 percent is written 21"
        if tariff.tax_included == "N/A" and part.vat is not None:
            yield "tax_rate_without_tax", path, "has vat although no tax applies (tax_included N/A)"
        if tariff.tax_included == "YES" and part.vat is None:
            yield "tax_included_without_rate", path, "includes tax at an unknown rate: the net amount stays unknown"


def _calendar(tariff: Tariff, calendar: Calendar, where: str) -> Found:
    if calendar.end < calendar.start and (calendar.days or calendar.start_date or calendar.end_date):
        yield "wrapped_window_with_day", where, "after midnight the window belongs to the day on which it began"
    first, last = calendar.start_date, calendar.end_date
    is_short = first is not None and last is not None and (last - first).days < 7
    if is_short and calendar.days and first is not None and last is not None:
        days = {(first + timedelta(days=shift)).weekday() for shift in range((last - first).days)}
        if not days & calendar.days:
            yield "never_active", where, "none of the weekdays occurs between the dates"
    from_us, until_us = tariff.valid_from_us, tariff.valid_until_us
    if last is not None and from_us is not None and last < _day(from_us) - timedelta(days=1):
        yield "never_active", where, "ends before the tariff becomes valid"
    if first is not None and until_us is not None and first > _day(until_us) + timedelta(days=1):
        yield "never_active", where, "begins after the tariff has ended"


def _repeated(tariff: Tariff, calendar: Calendar, where: str, zone_name: str) -> Found:
    """Clock bounds inside the hour that the zone repeats in the year of the tariff."""
    zone = zone_of(zone_name)
    begin = (tariff.valid_from_us or tariff.updated_us or 1_735_689_600_000_000) // US_PER_DAY
    for day in range(begin, begin + 366):
        for us in offset_changes(day, zone_name):
            if offset_of(us, zone) >= offset_of(us - 1, zone):
                continue
            after, before = label_of(us, zone), label_of(us - 1, zone)
            low, high = after.hour * 60 + after.minute, before.hour * 60 + before.minute
            bounds = [minute for minute in calendar.bounds() if low <= minute <= high]
            if bounds:
                text = (
                    f"{bounds[0] // 60:02d}:{bounds[0] % 60:02d} occurs twice on {after.date()}: active in both passes"
                )
                yield "bound_in_repeated_hour", where, text
                return


def _is_shadowed(tariff: Tariff, place: int) -> bool:
    """True if every dimension is priced by an earlier element that matches whenever this one does."""
    element = tariff.elements[place]
    covering = [
        earlier
        for earlier in tariff.elements[:place]
        if earlier.reservation == element.reservation
        and earlier.calendar in (None, element.calendar)
        and set(earlier.conditions) <= set(element.conditions)
    ]
    covered = {part.dimension for earlier in covering for part in earlier.components}
    return {part.dimension for part in element.components} <= covered


def _last_minutes(tariff: Tariff) -> Found:
    """Windows that were meant to last until midnight; not where another one begins with that minute."""
    found: list[tuple[str, Calendar]] = []
    for place, element in enumerate(tariff.elements):
        if element.calendar is not None:
            found.append((f"elements[{place}].restrictions", element.calendar))
        for number, part in enumerate(element.components):
            path = f"elements[{place}].price_components[{number}].x_dynamic"
            for name in ("network", "discount") if part.dynamic is not None else ():
                windows = enumerate(getattr(part.dynamic, name))
                found += [(f"{path}.{name}[{index}]", window.calendar) for index, window in windows]
    if any(calendar.start == LAST_MINUTE for _, calendar in found):
        return
    for where, calendar in found:
        if calendar.end == LAST_MINUTE:
            yield "minute_before_midnight", where, "end_time is exclusive: 23:59 leaves a minute; write 00:00"


def _fallbacks(tariff: Tariff, zone: str | None) -> Found:
    for dimension in Dimension:
        pricing = [element for element, part in _session_parts(tariff) if part.dimension == dimension]
        if not pricing:
            continue
        uncertain = [
            element
            for element in pricing
            if any(isinstance(condition, PowerNow | CurrentNow) for condition in element.conditions)
        ]
        is_certain = any(not element.conditions and element.calendar is None for element in pricing)
        if uncertain and not is_certain and dimension != Dimension.FLAT:
            text = f"{dimension.name} depends on power or current, and no element prices it otherwise"
            yield "power_without_fallback", "elements", text
        gap = price_gap(pricing, *year_of(tariff, zone), zone)
        if gap is not None:
            hours = f"{gap.start:%H:%M} to {gap.end:%H:%M}" if gap.start.time() != gap.end.time() else "all day"
            when = f"{gap.start:%A %Y-%m-%d} {hours}"
            text = f"{dimension.name} has no price on {gap.days} of {gap.of_days} days, first on {when}"
            yield "price_gap", "elements", text


def _session_parts(tariff: Tariff) -> list[tuple[Element, Any]]:
    return [
        (element, part) for element in tariff.elements if element.reservation is None for part in element.components
    ]


def _as_written(document: Mapping[str, Any]) -> Found:
    """What decoding makes equal, but a reader may have meant otherwise."""
    for place, element in enumerate(document["elements"]):
        where, restrictions = f"elements[{place}].restrictions", element.get("restrictions")
        if "restrictions" in element and not restrictions:
            yield "empty_restrictions", where, "are empty: the element always applies"
        start, end = (restrictions or {}).get("start_time"), (restrictions or {}).get("end_time")
        if start is not None and start == end:
            yield "whole_day_window", where, f"{start} to {end} is read as the whole day"


def _day(us: int) -> date:
    return date(1970, 1, 1) + timedelta(days=us // US_PER_DAY)
