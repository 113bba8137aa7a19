"""Generated tariffs and sessions. Every bound lies on a whole minute, as the oracle goes minute by minute."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from hypothesis import strategies as st

from pipeline.domain.pricing.facts import Activity, ActivityPeriod, Facts, Reading
from tests.domain.pricing.oracle import DAY_NAMES, MINUTE_US

HOUR_US = 60 * MINUTE_US
# Changes of the clock (UTC): Berlin autumn and spring, New York spring, Lord Howe (half an hour); and a plain Friday.
ANCHORS = {
    "Europe/Berlin": (1_761_440_400, 1_774_746_000, 1_749_843_000),
    "America/New_York": (1_741_503_600, 1_762_063_200),
    "Australia/Lord_Howe": (1_743_865_200, 1_759_590_000),
    "Asia/Kolkata": (1_749_843_000,),
    "UTC": (1_749_843_000,),
}
clocks = st.builds(lambda quarters: f"{quarters // 4:02d}:{quarters % 4 * 15:02d}", st.integers(0, 95))
prices = st.sampled_from([Decimal(text) for text in ("0", "0.22", "0.355", "1.2", "3.6", "7.00013")])
vats = st.sampled_from([None, *(Decimal(text) for text in ("0", "10", "21", "5.5"))])


@st.composite
def components(draw: st.DrawFn, dimension: str) -> dict[str, Any]:
    component: dict[str, Any] = {"type": dimension, "price": draw(prices)}
    component["step_size"] = draw(st.sampled_from([0, 1, 60, 300, 900, 1000]))
    vat = draw(vats)
    if vat is not None:
        component["vat"] = vat
    return component


@st.composite
def restrictions(draw: st.DrawFn, is_session_independent: bool) -> dict[str, Any]:
    found: dict[str, Any] = {}
    kinds = (
        ["clock", "start", "end", "days"]
        if is_session_independent
        else [
            "clock",
            "start",
            "end",
            "days",
            "kwh",
            "duration",
            "power",
            "idle",
        ]
    )
    for kind in draw(st.lists(st.sampled_from(kinds), max_size=2, unique=True)):
        match kind:
            case "clock":
                found["start_time"], found["end_time"] = draw(clocks), draw(clocks)
            case "start":
                found["start_time"] = draw(clocks)
            case "end":
                found["end_time"] = draw(clocks)
            case "days":
                found["day_of_week"] = draw(st.lists(st.sampled_from(DAY_NAMES), min_size=1, max_size=5, unique=True))
            case "kwh":
                found[draw(st.sampled_from(["min_kwh", "max_kwh"]))] = draw(st.integers(1, 20))
            case "duration":
                found[draw(st.sampled_from(["min_duration", "max_duration"]))] = 60 * draw(st.integers(1, 240))
            case "power":
                found[draw(st.sampled_from(["min_power", "max_power"]))] = draw(st.sampled_from([3, 6, 12]))
            case _:
                found[draw(st.sampled_from(["x_min_idle", "x_max_idle"]))] = 60 * draw(st.integers(1, 60))
    return found


@st.composite
def tariffs(draw: st.DrawFn, *, is_session_independent: bool = False) -> dict[str, Any]:
    """An OCPI document; without flat fee, limit and cumulative restriction if session-independent (I6)."""
    dimensions = (
        ["ENERGY", "TIME", "PARKING_TIME"]
        if is_session_independent
        else [
            "ENERGY",
            "TIME",
            "PARKING_TIME",
            "FLAT",
        ]
    )
    elements = []
    for _ in range(draw(st.integers(1, 4))):
        chosen = draw(st.lists(st.sampled_from(dimensions), min_size=1, max_size=3, unique=True))
        elements.append(
            {
                "price_components": [draw(components(dimension)) for dimension in chosen],
                "restrictions": draw(restrictions(is_session_independent)),
            }
        )
    tariff: dict[str, Any] = {"id": "G1", "currency": "EUR", "elements": elements}
    if not is_session_independent and draw(st.booleans()):
        name = draw(st.sampled_from(["min_price", "max_price"]))
        tariff[name] = {"excl_vat": draw(st.sampled_from([Decimal("0.5"), Decimal(2), Decimal(10)]))}
        if draw(st.booleans()):
            tariff[name]["incl_vat"] = tariff[name]["excl_vat"] * Decimal("1.21")
    return tariff


@st.composite
def sessions(draw: st.DrawFn) -> tuple[Facts, str]:
    """Facts and zone. Energy flows at one rate or not at all, so that whole kWh are reached at whole minutes."""
    zone = draw(st.sampled_from(sorted(ANCHORS)))
    start_us = draw(st.sampled_from(ANCHORS[zone])) * 1_000_000 + draw(st.integers(-240, 60)) * MINUTE_US
    minutes = draw(st.integers(1, 300))
    places = sorted(draw(st.sets(st.integers(0, minutes), max_size=8)))
    rate = draw(st.sampled_from([50_000, 100_000, 200_000, 250_000]))
    register, readings = draw(st.integers(0, 10**9)) * 1000, []
    for place, at in enumerate(places):
        if place:
            register += (at - places[place - 1]) * draw(st.sampled_from([rate, rate, 0]))
        power = draw(st.sampled_from([None, None, 3_000, 11_000]))
        readings.append(Reading(start_us + at * MINUTE_US, register, power))
    activity = []
    if draw(st.booleans()):
        names: list[Activity] = ["charging", "idle", "evse_pause"]
        turns = {0, *draw(st.sets(st.integers(0, minutes - 1), max_size=4))}
        activity = [ActivityPeriod(start_us + at * MINUTE_US, draw(st.sampled_from(names))) for at in sorted(turns)]
    return Facts(start_us, start_us + minutes * MINUTE_US, readings, activity), zone
