"""What is visible below an offset, and what of the signals is held in memory."""

from __future__ import annotations

from decimal import Decimal

from pipeline.domain.catalog import Catalog, ReferenceWatermark
from pipeline.domain.pricing.signals import AVAILABILITY_KEPT_US, PriceSlot

QUARTER = 900_000_000
T0 = 1_772_436_600_000_000


def availability(number: int) -> PriceSlot:
    start = T0 + number * QUARTER
    return PriceSlot(series="availability:S", start_us=start, end_us=start + QUARTER, free=1, total=2)


def spot(number: int, revision: int = 1) -> PriceSlot:
    start = T0 + number * QUARTER
    price = Decimal(revision)
    return PriceSlot(
        series="spot", start_us=start, end_us=start + QUARTER, price=price, currency="EUR", revision=revision
    )


def test_only_what_is_below_the_offset_prices() -> None:
    catalog = Catalog()
    for offset, slot in enumerate([spot(0), spot(2), spot(0, revision=2)]):
        catalog.add_price_slot(offset, slot)
    seen = [catalog.signals(ReferenceWatermark(signals=end)).at("spot", T0 + 1) for end in range(4)]
    assert [(slot.revision if slot else None, until - T0) for slot, until in seen[1:]] == [
        (1, QUARTER), (1, QUARTER), (2, QUARTER),
    ]  # fmt: skip
    assert seen[0][0] is None
    assert catalog.signals(ReferenceWatermark(signals=1)).at("spot", T0 + QUARTER)[0] is None
    assert catalog.signals(ReferenceWatermark(signals=1)).at("spot", T0 + QUARTER)[1] > T0 + 3 * QUARTER, (
        "the next one is not known"
    )
    assert catalog.signals(ReferenceWatermark(signals=2)).at("spot", T0 + QUARTER)[1] == T0 + 2 * QUARTER
    assert [catalog.signals(ReferenceWatermark(signals=end)).count(["spot", "none"])[0] for end in range(4)] == [
        0,
        1,
        2,
        3,
    ]


def test_a_year_of_availability_is_not_held_and_a_year_of_prices_is() -> None:
    catalog, slots = Catalog(), 365 * 96
    for number in range(slots):
        catalog.add_price_slot(2 * number, availability(number))
        catalog.add_price_slot(2 * number + 1, spot(number))
    signals = catalog.signals(ReferenceWatermark(signals=2 * slots))
    kept = AVAILABILITY_KEPT_US // QUARTER
    for back, held in ((1, True), (kept - 1, True), (kept * 9 // 8 + 2, False)):
        assert (signals.at("availability:S", T0 + (slots - back) * QUARTER)[0] is not None) is held, back
    assert signals.at("spot", T0)[0] is not None
    assert signals.count(["availability:S"]) == (slots,)
