"""What a session costs by its truth, in integers: a second way to the amount, which shares nothing with the pipeline.

Only the numbers of the tariff (edge/chargers/documents.py) are the same.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from pipeline.edge.chargers.documents import IDLE_FEE, TIME_ZONE, WINDOWS
from pipeline.edge.chargers.truth import HOUR, SECOND, ChargingTruth

ZONE = ZoneInfo(TIME_ZONE)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
PRICES = tuple(price for begin, end, price in WINDOWS for _ in range(begin, end))
HIGHEST, LARGEST_STEP = max(PRICES), max(PRICES) - min(PRICES)
FREE_WH, FREE_US = 500, 120 * SECOND
"""A session below either is not billed."""


def price_at(at_us: int) -> int:
    """Windows begin at full hours, and Berlin is full hours from UTC: a quarter of an hour has one price."""
    return PRICES[(EPOCH + timedelta(microseconds=at_us)).astimezone(ZONE).hour]


def cost(truth: ChargingTruth) -> int:
    """Ten-thousandths of a EUR, half up once at the end."""
    if truth.energy_wh < FREE_WH or truth.end_us - truth.start_us < FREE_US:
        return 0
    energy = sum(mwh * price_at(at_us) for at_us, mwh in truth.quarters()) * HOUR
    idle = truth.idle_us * IDLE_FEE * 1_000_000
    return (2 * (energy + idle) + HOUR * 1_000_000) // (2 * HOUR * 1_000_000)


def bounds(truth: ChargingTruth) -> Iterator[int]:
    """Times inside the session at which the price changes, us UTC."""
    for at_us in range(truth.start_us // HOUR * HOUR + HOUR, truth.end_us, HOUR):
        if price_at(at_us) != price_at(at_us - 1):
            yield at_us
