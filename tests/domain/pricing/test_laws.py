"""Laws of pricing (ops/spec/pricing.md 6.3) on generated tariffs and sessions, and agreement with the oracle."""

from __future__ import annotations

from collections import defaultdict
from datetime import datetime
from decimal import Decimal
from fractions import Fraction
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from pipeline.domain.events import PriceQuote
from pipeline.domain.outputs import Line
from pipeline.domain.pricing.bill import Bill
from pipeline.domain.pricing.facts import ActivityPeriod, Facts, Reading
from pipeline.domain.pricing.fold import Fold
from pipeline.domain.pricing.price import price
from pipeline.domain.pricing.tariff import Tariff
from pipeline.domain.pricing.units import US_PER_S
from pipeline.wire.bills import bill_document
from pipeline.wire.tariffs import decode_tariffs
from tests.domain.pricing.oracle import MINUTE_US, oracle
from tests.domain.pricing.strategies import sessions, tariffs

many = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])


ENCODER = msgspec.json.Encoder(decimal_format="number")


@many
@given(tariffs(), sessions())
def test_the_engine_agrees_with_the_oracle(document: dict[str, Any], session: tuple[Facts, str]) -> None:
    facts, zone = session
    bill, expected = price(facts, as_tariff(document), zone), oracle(facts, document, zone)
    assert bill.state == "FINAL"
    assert exact(bill.total_excl) == expected.excl
    assert exact(bill.payable_excl) == expected.payable_excl
    assert (bill.total_incl and exact(bill.total_incl)) == expected.incl
    assert (bill.payable_incl and exact(bill.payable_incl)) == expected.payable_incl
    assert measured(bill.lines) == {name: volume for name, volume in expected.volumes.items() if volume}


@many
@given(tariffs(), sessions())
def test_lines_readd_to_the_bill(document: dict[str, Any], session: tuple[Facts, str]) -> None:
    """I1, I2, I9: lines, totals, payable amounts and tax per rate agree to the last digit; limits hold."""
    facts, zone = session
    bill = price(facts, as_tariff(document), zone)
    assume(bill.total_incl is not None)
    used = [line for line in bill.lines if line.kind != "ROUNDING"]
    assert sum(exact(line.amount_excl) for line in used) == exact(bill.total_excl)
    assert sum(exact(line.amount_incl) for line in used) == exact(bill.total_incl)
    assert sum(exact(line.amount_excl) for line in bill.lines) == exact(bill.payable_excl)
    assert sum(exact(line.amount_incl) for line in bill.lines) == exact(bill.payable_incl)
    for line in bill.lines:
        assert exact(line.amount_excl) + exact(line.tax_amount or "0") == exact(line.amount_incl)
    assert sum(exact(each.tax) for each in bill.tax) == exact(bill.total_incl) - exact(bill.total_excl)
    assert sum(exact(each.payable) for each in bill.tax) == exact(bill.payable_incl) - exact(bill.payable_excl)
    for name, is_held in (("min_price", Fraction.__ge__), ("max_price", Fraction.__le__)):
        if name in document:
            assert is_held(exact(bill.total_excl), Fraction(document[name]["excl_vat"]))
            if "incl_vat" in document[name]:
                assert is_held(exact(bill.total_incl), Fraction(document[name]["incl_vat"]))


@many
@given(tariffs(), sessions())
def test_lines_tile_the_session(document: dict[str, Any], session: tuple[Facts, str]) -> None:
    """I3, I4, I7: time lines leave no gap and do not overlap, energy is end minus start, rounding is below one step."""
    facts, zone = session
    bill = price(facts, as_tariff(document), zone)
    times = sorted((line.from_us, line.to_us) for line in bill.lines if line.dimension in ("TIME", "PARKING_TIME"))
    assert times[0][0] == facts.start_us
    assert times[-1][1] == facts.end_us
    assert all(earlier[1] == later[0] for earlier, later in pairwise(times))
    energy = sorted((line.from_us, line.to_us) for line in bill.lines if line.dimension == "ENERGY")
    assert all(earlier[1] <= later[0] for earlier, later in pairwise(energy))
    moved = facts.readings[-1].register_mwh - facts.readings[0].register_mwh if facts.readings else 0
    assert measured(bill.lines).get("ENERGY", 0) == Fraction(moved, 1_000_000)
    for dimension in ("ENERGY", "TIME", "PARKING_TIME"):
        lines = [line for line in bill.lines if line.dimension == dimension and line.kind == "USAGE"]
        extra = sum(exact(line.billed_quantity) - exact(line.quantity) for line in lines)
        step = steps_of(document)
        assert 0 <= extra * (1000 if dimension == "ENERGY" else 1) < max(step, 1)
        assert all(line.billed_quantity == line.quantity for line in lines[:-1])


@many
@given(tariffs(), sessions())
def test_the_running_cost_is_the_bill_of_the_facts_so_far(document: dict[str, Any], session: tuple[Facts, str]) -> None:
    """I5: at every reading and change of activity, and whatever was asked of the fold in between."""
    facts, zone = session
    tariff = as_tariff(document)
    first = facts.readings[0].register_mwh if facts.readings else None
    fold = Fold.open(tariff, zone, None, facts.start_us, first)
    events: list[Reading | ActivityPeriod] = sorted([*facts.activity, *facts.readings], key=_event_time)
    for place, event in enumerate(events):
        if isinstance(event, Reading):
            fold.reading(*event)
        else:
            fold.activity(*event)
        now_us = _event_time(event)
        so_far = events[: place + 1]
        readings = [each for each in so_far if isinstance(each, Reading)]
        if facts.readings and not readings:
            readings = [Reading(facts.start_us, facts.readings[0].register_mwh)]
        bill = price(
            Facts(facts.start_us, now_us, readings, [each for each in so_far if isinstance(each, ActivityPeriod)]),
            tariff,
            zone,
            final=False,
        )
        assert fold.running() == (bill.total_excl, bill.total_incl)
        assert fold.running() == (bill.total_excl, bill.total_incl), "asking changes nothing"
    assert fold.bill(facts.end_us) == price(facts, tariff, zone)
    assert fold.bill(facts.end_us) == price(facts, tariff, zone), "billing changes nothing"


@many
@given(tariffs(is_session_independent=True), sessions(), st.data())
def test_a_cut_changes_no_cost(document: dict[str, Any], session: tuple[Facts, str], data: st.DataObject) -> None:
    """I6: cost before steps of two halves is that of the whole, to the rounding of each half to 4 decimals."""
    facts, zone = session
    for element in document["elements"]:
        for component in element["price_components"]:
            component["step_size"] = 0
    minutes = (facts.end_us - facts.start_us) // MINUTE_US
    cut_us = facts.start_us + data.draw(st.integers(0, minutes)) * MINUTE_US
    left, right = halves(facts, cut_us)
    tariff = as_tariff(document)
    whole, parts = price(facts, tariff, zone), [price(half, tariff, zone) for half in (left, right)]
    for name in ("total_excl", "total_incl"):
        difference = sum(exact(getattr(part, name)) for part in parts) - exact(getattr(whole, name))
        assert abs(difference) <= Fraction(3, 10_000), "3 dimensions, each off by half a unit in either part"


@many
@given(tariffs(), sessions(), st.data())
def test_extra_readings_on_the_line_change_nothing(
    document: dict[str, Any], session: tuple[Facts, str], data: st.DataObject
) -> None:
    """I6: a reading that lies on the straight line between its neighbours adds no fact; only evidence may differ."""
    facts, zone = session
    readings = list(facts.readings)
    if len(readings) < 2:
        return
    place = data.draw(st.integers(0, len(readings) - 2))
    before, after = readings[place], readings[place + 1]
    minutes = (after.at_us - before.at_us) // MINUTE_US
    if minutes < 2:
        return
    share = data.draw(st.integers(1, minutes - 1))
    register = before.register_mwh + (after.register_mwh - before.register_mwh) * share // minutes
    readings.insert(place + 1, Reading(before.at_us + share * MINUTE_US, register, before.power_w))
    tariff = as_tariff(document)
    assert stripped(price(facts._replace(readings=readings), tariff, zone)) == stripped(price(facts, tariff, zone))


@many
@given(tariffs(), sessions())
def test_the_same_facts_give_the_same_bytes(document: dict[str, Any], session: tuple[Facts, str]) -> None:
    """I8: a tariff decoded again and a new fold change no byte of the bill."""
    facts, zone = session
    first, again = (bill_document(price(facts, as_tariff(document), zone)) for _ in range(2))
    assert msgspec.json.encode(first) == msgspec.json.encode(again)


@many
@given(tariffs(), sessions(), st.integers(0, 300 * US_PER_S), st.booleans())
def test_a_quote_prices_as_a_session_that_started_when_it_was_shown(
    document: dict[str, Any], session: tuple[Facts, str], age_us: int, changes_between: bool
) -> None:
    """LOCKED depends on no other clock, so the whole session may be moved to the quote's instant at the same cost."""
    facts, zone = session
    if changes_between:
        document["elements"].insert(0, from_the_start_on(facts.start_us, zone))
    tariff = as_tariff(document | {"x_price_mode": "LOCKED"})
    quote = PriceQuote("Q-1", facts.start_us - age_us)
    quoted, moved = price(facts._replace(quote=quote), tariff, zone), price(shifted(facts, -age_us), tariff, zone)
    assert (quoted.locked_at_us, quoted.quote, quoted.notes) == (quote.shown_at_us, quote, moved.notes)
    assert (quoted.total_excl, quoted.total_incl) == (moved.total_excl, moved.total_incl)
    assert (quoted.payable_excl, quoted.payable_incl, quoted.tax) == (moved.payable_excl, moved.payable_incl, moved.tax)
    assert {line.unit_price for line in quoted.lines} == {line.unit_price for line in moved.lines}


@many
@given(tariffs(), sessions(), st.one_of(st.integers(-(10**10), -1), st.integers(300 * US_PER_S + 1, 10**10)))
def test_a_quote_that_does_not_bind_changes_nothing_but_says_so(
    document: dict[str, Any], session: tuple[Facts, str], age_us: int
) -> None:
    facts, zone = session
    tariff = as_tariff(document | {"x_price_mode": "LOCKED"})
    plain = price(facts, tariff, zone)
    bill = price(facts._replace(quote=PriceQuote("Q-1", facts.start_us - age_us)), tariff, zone)
    assert bill.notes[0].startswith("QUOTE_AFTER_START: " if age_us < 0 else "QUOTE_TOO_OLD: ")
    assert bill.locked_at_us == facts.start_us
    assert msgspec.structs.replace(bill, notes=bill.notes[1:], quote=None, locked_at_us=None) == plain


@many
@given(tariffs(), sessions(), st.integers(0, 300 * US_PER_S))
def test_a_quote_has_no_effect_where_prices_follow(
    document: dict[str, Any], session: tuple[Facts, str], age_us: int
) -> None:
    facts, zone = session
    quote = PriceQuote("Q-1", facts.start_us - age_us)
    bill = price(facts._replace(quote=quote), as_tariff(document), zone)
    assert (bill.quote, bill.locked_at_us) == (quote, None)
    assert msgspec.structs.replace(bill, quote=None) == price(facts, as_tariff(document), zone)


def from_the_start_on(start_us: int, zone: str) -> dict[str, Any]:
    """An element that matches from the local minute of the start on for four hours, and not just before."""
    local = datetime.fromtimestamp(start_us // US_PER_S, ZoneInfo(zone))
    end = f"{(local.hour + 4) % 24:02d}:{local.minute:02d}"
    restrictions = {"start_time": f"{local:%H:%M}", "end_time": end}
    return {"price_components": [{"type": "ENERGY", "price": Decimal("0.77"), "vat": 7}], "restrictions": restrictions}


def shifted(facts: Facts, by_us: int) -> Facts:
    return facts._replace(
        start_us=facts.start_us + by_us,
        end_us=facts.end_us + by_us,
        readings=[each._replace(at_us=each.at_us + by_us) for each in facts.readings],
        activity=[each._replace(from_us=each.from_us + by_us) for each in facts.activity],
    )


def as_tariff(document: dict[str, Any]) -> Tariff:
    (tariff,) = decode_tariffs(ENCODER.encode(document), "generated")
    return tariff


def exact(text: str | None) -> Fraction:
    assert text is not None
    return Fraction(text)


def measured(lines: tuple[Line, ...]) -> dict[str, Fraction]:
    """Measured quantity per dimension, priced and unpriced."""
    found: dict[str, Fraction] = defaultdict(Fraction)
    for line in lines:
        if line.dimension in ("ENERGY", "TIME", "PARKING_TIME"):
            found[line.dimension] += exact(line.quantity)
    return dict(found)


def steps_of(document: dict[str, Any]) -> int:
    return max(int(part["step_size"]) for element in document["elements"] for part in element["price_components"])


def stripped(bill: Bill) -> Bill:
    lines = tuple(msgspec.structs.replace(line, evidence=(), assumptions=()) for line in bill.lines)
    return msgspec.structs.replace(bill, lines=lines)


def halves(facts: Facts, cut_us: int) -> tuple[Facts, Facts]:
    """The session as two, with a reading at the cut and the activity carried on."""
    registers = list(facts.readings)
    before = [each for each in registers if each.at_us <= cut_us]
    after = [each for each in registers if each.at_us > cut_us]
    at_cut = []
    if before and after:
        share = Fraction(cut_us - before[-1].at_us, after[0].at_us - before[-1].at_us)
        moved = share * (after[0].register_mwh - before[-1].register_mwh)
        at_cut = [Reading(cut_us, before[-1].register_mwh + int(moved))]
    activity = [each for each in facts.activity if each.from_us < cut_us]
    going_on = [ActivityPeriod(cut_us, activity[-1].activity)] if activity else []
    later = [each for each in facts.activity if each.from_us >= cut_us]
    if later and later[0].from_us == cut_us:
        going_on = []
    left = [each for each in before if each.at_us < cut_us] + (at_cut or before[-1:])
    return (
        Facts(facts.start_us, cut_us, list(dict.fromkeys(left)), activity),
        Facts(cut_us, facts.end_us, at_cut + after, going_on + later),
    )


def _event_time(event: Reading | ActivityPeriod) -> int:
    return event[0]
