"""How many final bills one core makes in a second: readings folded, lines rendered, nothing remembered.

`typical`: an hour of readings every minute over two price windows, five lines. `spot_12h`: twelve hours of readings
every minute under a price for each quarter of an hour.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from decimal import Decimal
from typing import NamedTuple

from pipeline.domain.pricing.bill import Bill
from pipeline.domain.pricing.facts import ActivityPeriod, Facts, Reading
from pipeline.domain.pricing.price import price
from pipeline.domain.pricing.signals import PriceSlot, Signals
from pipeline.wire.json_values import instant
from pipeline.wire.tariffs import decode_tariffs

MINUTE_US = 60_000_000
START = instant("2025-06-16T19:30:00Z")
"""21:30 in Berlin: the night price begins half an hour later."""
ZONE = "Europe/Berlin"
WINDOWS = {
    "id": "W", "currency": "EUR",
    "elements": [
        {"price_components": [{"type": "FLAT", "price": 0.5, "vat": 19}]},
        {
            "price_components": [{"type": "ENERGY", "price": 0.29, "vat": 19}],
            "restrictions": {"start_time": "22:00", "end_time": "06:00"},
        },
        {"price_components": [{"type": "ENERGY", "price": 0.49, "vat": 19}]},
        {"price_components": [{"type": "PARKING_TIME", "price": 6, "vat": 19, "step_size": 60}]},
    ],
}  # fmt: skip
SPOT = {
    "id": "S", "currency": "EUR",
    "elements": [
        {"price_components": [
            {"type": "ENERGY", "price": 0.4, "vat": 19, "x_dynamic": {"signal": "spot", "markup": 0.05, "fee": 0.03}}
        ]}
    ],
}  # fmt: skip


class Case(NamedTuple):
    """A session to be billed, and how many lines its bill has besides the rounding of the currency."""

    bill: Callable[[], Bill]
    lines: int


def typical() -> Case:
    facts = Facts(START, START + 60 * MINUTE_US, _readings(60), [ActivityPeriod(START, "charging"), _idle(50)])
    (tariff,) = decode_tariffs(json.dumps(WINDOWS).encode(), "windows")
    return Case(lambda: price(facts, tariff, ZONE), 5)


def spot_12h() -> Case:
    slots = [
        PriceSlot(
            series="spot", start_us=START + (15 * n - 30) * MINUTE_US, end_us=START + (15 * n - 15) * MINUTE_US,
            price=Decimal(80 + 7 * n), currency="EUR",
        )
        for n in range(60)
    ]  # fmt: skip
    signals = Signals(slots)
    facts = Facts(START, START + 720 * MINUTE_US, _readings(720), [ActivityPeriod(START, "charging")])
    (tariff,) = decode_tariffs(json.dumps(SPOT).encode(), "spot")
    return Case(lambda: price(facts, tariff, ZONE, signals), 49)


def measure(case: Case, seconds: float) -> float:
    """Bills per second of one core: the best of five stretches, because others use the machine, too."""
    case.bill()
    best = 0.0
    for _ in range(5):
        done, began = 0, time.process_time()
        while (spent := time.process_time() - began) < seconds / 5:
            for _ in range(10):
                case.bill()
            done += 10
        best = max(best, done / spent)
    return best


def figures(seconds: float = 5.0) -> dict[str, float]:
    """Keys of bench.json."""
    return {
        "pricing_typical_bills_per_s": round(measure(typical(), seconds)),
        "pricing_spot_12h_bills_per_s": round(measure(spot_12h(), seconds)),
    }


def _readings(minutes: int) -> list[Reading]:
    return [Reading(START + n * MINUTE_US, n * 366_000) for n in range(minutes + 1)]


def _idle(minute: int) -> ActivityPeriod:
    return ActivityPeriod(START + minute * MINUTE_US, "idle")
