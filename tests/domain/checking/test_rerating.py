"""Re-rating published sessions: the tariff that billed a session gives its bill again; another one shows its effect."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import assume, given, settings

from pipeline.domain.checking.rerating import facts_of, rerate
from pipeline.domain.metering.slots import spread
from pipeline.domain.outputs import StrippedSession
from pipeline.domain.pricing.facts import ActivityPeriod, Facts, Reading
from pipeline.domain.pricing.price import price
from pipeline.domain.pricing.restrictions import Calendar
from pipeline.domain.pricing.tariff import Tariff
from pipeline.domain.sites.site import Site
from pipeline.errors import InvalidMessage
from pipeline.wire.json_values import instant
from pipeline.wire.recorded_sessions import decode_recorded
from pipeline.wire.tariffs import decode_tariffs
from tests.domain.pricing.strategies import sessions, tariffs
from tests.domain.pricing.test_laws import as_tariff

NIGHT = Calendar(start=22 * 60, end=6 * 60)
START = instant("2025-06-13T19:30:00Z")
HOUR = 3_600_000_000
EVENING = Facts(START, START + 2 * HOUR, [Reading(START, 0), Reading(START + 2 * HOUR, 20_000_000)], [])
SITE = Site(site_id="S1", name="S1", time_zone="Europe/Amsterdam", country="NL", tariff_ids=("R1",), stations=())


def energy_at(price_: float) -> Tariff:
    component = {"type": "ENERGY", "price": price_, "vat": 21}
    document = {"id": "R1", "currency": "EUR", "elements": [{"price_components": [component]}]}
    return decode_tariffs(json.dumps(document).encode(), "t")[0]


def published(facts: Facts, tariff: Tariff, zone: str, session_id: str = "A") -> StrippedSession:
    """The record of the topic `sessions` that these facts would have become."""
    bill = price(facts, tariff, zone)
    known = [(reading.at_us, reading.register_mwh // 1000) for reading in facts.readings]
    first = (facts.start_us, known[0][1] if known else 0)
    points = known if known and known[0][0] == facts.start_us else [first, *known]
    times, registers = [at_us for at_us, _ in points], [wh for _, wh in points]
    activity = facts.activity or [ActivityPeriod(facts.start_us, "charging")]
    return StrippedSession(
        session_id=session_id,
        revision=1,
        station_id="CP1",
        connector_id=1,
        site_id="S1",
        started_at_us=facts.start_us,
        ended_at_us=facts.end_us,
        duration_s=0,
        charging_s=0,
        idle_s=0,
        energy_wh=registers[-1] - registers[0],
        estimated_wh=0,
        unattributed_wh=0,
        start_register_wh=None,
        stop_register_wh=None,
        status="completed",
        evidence="complete",
        quality=(),
        flags=(),
        billable=True,
        driver=None,
        bill_state=bill.state,
        total_excl_vat=bill.total_excl,
        lines=bill.lines,
        slots=spread(times, registers, activity, facts.end_us),
    )


def energy_thresholds_show(document: dict[str, Any]) -> bool:
    """Does a line of energy end where any threshold is reached? Elements of one price share a line."""
    energy = [
        [component["price"] for component in each["price_components"] if component["type"] == "ENERGY"]
        for each in document["elements"]
    ]
    prices = [price_ for found in energy for price_ in found]
    by_energy = [
        place for place, each in enumerate(document["elements"]) if {"min_kwh", "max_kwh"} & {*each["restrictions"]}
    ]
    return not by_energy or (all(energy[place] for place in by_energy) and len(set(prices)) == len(prices))


@settings(max_examples=100, deadline=None)
@given(tariffs(), sessions())
def test_the_tariff_that_billed_a_session_gives_its_total_again(
    document: dict[str, Any], session: tuple[Facts, str]
) -> None:
    """What was measured can be read back from slots and lines, but not at what power, and inside of a slot a register
    only where a line of energy ends."""
    assume(not any("power" in name for each in document["elements"] for name in each["restrictions"]))
    assume(energy_thresholds_show(document))
    facts, zone = session
    tariff = as_tariff(document)
    record = published(facts, tariff, zone)
    (recorded,) = decode_recorded(msgspec.json.encode(record), "s.jsonl")
    bill = price(facts_of(recorded), tariff, zone)
    assert bill.total_excl == record.total_excl_vat


def test_the_effect_of_another_tariff_is_counted_per_site() -> None:
    later = EVENING._replace(readings=[*EVENING.readings[:1], Reading(START + HOUR, 0), EVENING.readings[1]])
    records = [published(EVENING, energy_at(0.30), SITE.time_zone), published(later, energy_at(0.50), "UTC", "B")]
    lines = b"\n".join(map(msgspec.json.encode, records))
    effects = rerate(decode_recorded(lines, "s.jsonl"), {"S1": SITE}, [energy_at(0.40)], NIGHT)
    effect = effects["S1"]
    assert (effect.sessions, effect.compared, effect.winners, effect.losers) == (2, 2, 1, 1)
    assert (effect.revenue_before, effect.revenue_after) == (Decimal(16), Decimal(16))
    assert effect.energy_wh == 40_000
    assert effect.off_peak_wh == 35_000, "after 22:00 local: 15 of the first 20 kWh, and all of the second"


def test_sessions_without_a_price_are_counted_by_reason() -> None:
    record = published(EVENING, energy_at(0.30), SITE.time_zone)
    held = msgspec.structs.replace(record, session_id="B", bill_state="HELD", total_excl_vat=None)
    lines = b"\n".join(map(msgspec.json.encode, [record, held]))
    recorded = decode_recorded(lines, "s.jsonl")
    assert rerate(recorded, {"S1": SITE}, [energy_at(0.40)], NIGHT)["S1"].not_priced == {"NOT_BILLED_BEFORE": 1}
    assert rerate(recorded, {}, [energy_at(0.40)], NIGHT)["S1"].not_priced == {"SITE_MISSING": 2}
    assert rerate(recorded, {"S1": SITE}, [], NIGHT)["S1"].not_priced == {"TARIFF_MISSING": 2}


def test_only_the_latest_revision_of_completed_billable_sessions_counts() -> None:
    record = published(EVENING, energy_at(0.30), SITE.time_zone)
    newer = msgspec.structs.replace(record, revision=2, total_excl_vat="5.0000")
    others = [
        msgspec.structs.replace(record, session_id="B", status="open"),
        msgspec.structs.replace(record, session_id="C", billable=False),
    ]
    lines = b"\n".join(map(msgspec.json.encode, [newer, record, *others]))
    assert [each.billed_excl for each in decode_recorded(lines, "s.jsonl")] == [Decimal(5)]


def test_a_file_of_something_else_is_refused_with_its_line() -> None:
    with pytest.raises(InvalidMessage, match=r"s.jsonl line 2: session_id: is missing"):
        decode_recorded(b'{"session_id":"A","revision":1}\n{"revision":1}', "s.jsonl")
