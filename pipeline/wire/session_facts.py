"""The facts of one session as a JSON document, as golden cases and receipts hold them -> Facts.

Registers are kWh as text or number (null: only the power, in kW, was stated then), times RFC 3339. Whatever a price
depends on and the facts do not say (zone, tax rate of the site, signals) stands beside them in the same document.
Without `activity` it is inferred, as in the stream.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal, InvalidOperation
from itertools import pairwise
from typing import Any, NamedTuple, cast

from pipeline.domain.events import LONGEST_QUOTE_ID, PriceQuote
from pipeline.domain.metering.inferred import infer_activity
from pipeline.domain.pricing.facts import Activity, ActivityPeriod, Facts, Reading
from pipeline.domain.pricing.signals import PriceSlot
from pipeline.domain.pricing.units import MWH_PER_KWH, MWH_PER_WH
from pipeline.domain.station import ABSENT
from pipeline.errors import InvalidMessage
from pipeline.wire.json_values import Fault, Reader, instant, parse
from pipeline.wire.price_signals import agreed, read_price_slot

_ACTIVITIES = ("charging", "idle", "evse_pause")


class SessionDocument(NamedTuple):
    """A session with what its price depends on besides the tariff."""

    facts: Facts
    time_zone: str | None
    tax_rate: Decimal | None
    signals: Sequence[PriceSlot]


def decode_session(data: bytes, source: str) -> SessionDocument:
    """Raises InvalidMessage with every wrong field."""
    document = parse(data, source)
    if not isinstance(document, dict):
        raise InvalidMessage("bad_session", f"{source}: is not an object")
    faults: list[Fault] = []
    reader = Reader(document, "", faults)
    start_us, end_us = reader.instant("start"), reader.instant("end")
    reserved_from_us = reader.instant("reserved_from", required=False)
    rows = _pairs(reader, "readings", faults)
    activity = _pairs(reader, "activity", faults)
    for at_us, name, _ in activity:
        if name not in _ACTIVITIES:
            reader.fault("bad_session", "activity", f"{name!r} is unknown; use one of {', '.join(_ACTIVITIES)}")
        if start_us is not None and end_us is not None and not start_us <= at_us <= end_us:
            reader.fault("bad_session", "activity", "lies outside the session")
    facts = Facts(
        start_us=start_us or 0,
        end_us=end_us or 0,
        readings=[
            Reading(at_us, _register(reader, kwh), _watts(reader, kw))
            for at_us, kwh, kw in rows
            if kwh is not None or kw is None
        ],
        activity=[ActivityPeriod(at_us, cast(Activity, name)) for at_us, name, _ in activity],
        reserved_from_us=reserved_from_us,
        reservation_expired=reader.flag("reservation_expired"),
        quote=_quote(reader, faults),
        powers_between=_powers_between(reader, rows),
    )
    zone, tax_rate = reader.text("time_zone", required=False), reader.number("tax_rate", required=False)
    named = [(f"{source}: signals[{place}]", each) for place, each in enumerate(reader.get("signals") or ())]
    signals = agreed([(name, read_price_slot(each, name)) for name, each in named])
    reader.get("note")
    _check_times(reader, facts, [at_us for at_us, _, _ in rows])
    for name in reader.unknown():
        reader.fault("bad_session", name, "is not a field of a session document")
    if faults:
        raise InvalidMessage("bad_session", f"{source}: " + "; ".join(f"{each.where}: {each.text}" for each in faults))
    if not facts.activity:
        facts = facts._replace(activity=_inferred(facts))
    return SessionDocument(facts, zone, tax_rate, signals)


def _inferred(facts: Facts) -> list[ActivityPeriod]:
    """As assembly infers it, from registers in whole Wh."""
    times = [reading.at_us for reading in facts.readings]
    registers = [reading.register_mwh // MWH_PER_WH for reading in facts.readings]
    powers = [ABSENT if reading.power_w is None else reading.power_w for reading in facts.readings]
    return infer_activity(times, registers, powers, facts.start_us, facts.end_us)


def _quote(reader: Reader, faults: list[Fault]) -> PriceQuote | None:
    given = reader.get("quote")
    if given is None:
        return None
    if not isinstance(given, dict):
        reader.fault("bad_session", "quote", "is not an object with quote_id and shown_at")
        return None
    fields = Reader(given, "quote", faults)
    quote_id, shown_at_us = fields.text("quote_id", code="bad_session"), fields.instant("shown_at")
    if quote_id is not None and len(quote_id) > LONGEST_QUOTE_ID:
        fields.fault("bad_session", "quote_id", f"is longer than {LONGEST_QUOTE_ID} characters")
    for name in fields.unknown():
        fields.fault("bad_session", name, "is not a field of a quote")
    return None if quote_id is None or shown_at_us is None else PriceQuote(quote_id, shown_at_us)


def _pairs(reader: Reader, name: str, faults: list[Fault]) -> list[tuple[int, Any, Any]]:
    """Rows of [time, value] or [time, value, value]."""
    rows = []
    for place, row in enumerate(reader.get(name) or ()):
        if not isinstance(row, list) or not 2 <= len(row) <= 3 or not isinstance(row[0], str):
            faults.append(Fault("bad_session", f"{name}[{place}]", "is not [time, value]"))
            continue
        try:
            rows.append((instant(row[0]), row[1], row[2] if len(row) > 2 else None))
        except ValueError:
            faults.append(Fault("bad_session", f"{name}[{place}]", f"{row[0]!r} is not a time"))
    return rows


def _register(reader: Reader, kwh: Any) -> int:
    try:
        mwh = Decimal(kwh) * MWH_PER_KWH
    except (InvalidOperation, TypeError, ValueError):
        reader.fault("bad_session", "readings", f"{kwh!r} is not a register in kWh")
        return 0
    if mwh != mwh.to_integral_value():
        reader.fault("bad_session", "readings", f"{kwh} kWh has more than 6 decimals")
    return int(mwh)


def _watts(reader: Reader, kw: Any) -> int | None:
    if kw is None:
        return None
    try:
        return int(Decimal(kw) * 1000)
    except (InvalidOperation, TypeError, ValueError):
        reader.fault("bad_session", "readings", f"{kw!r} is not a power in kW")
        return None


def _powers_between(reader: Reader, rows: Sequence[tuple[int, Any, Any]]) -> list[tuple[int, int]]:
    stated = [(at_us, _watts(reader, kw)) for at_us, kwh, kw in rows if kwh is None]
    return [(at_us, watts) for at_us, watts in stated if watts is not None]


def _check_times(reader: Reader, facts: Facts, times: Sequence[int]) -> None:
    if facts.end_us < facts.start_us:
        reader.fault("bad_session", "end", "is before start")
    if any(later <= earlier for earlier, later in pairwise(times)):
        reader.fault("bad_session", "readings", "are not in order of time")
    if times and not facts.start_us <= times[0] <= times[-1] <= facts.end_us:
        reader.fault("bad_session", "readings", "lie outside the session")
