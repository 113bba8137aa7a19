"""Which slot prices an instant depends on what the slots say, never on the order in which they came."""

from __future__ import annotations

import random
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.domain.pricing.signals import PriceSlot, Signals, SignalStore, disputes

T0 = 1_772_436_600_000_000
MINUTE = 60_000_000


def slot(start: int, minutes: int, price: int, revision: int = 1, published: int | None = None) -> PriceSlot:
    return PriceSlot(
        series="spot",
        start_us=T0 + start * MINUTE,
        end_us=T0 + (start + minutes) * MINUTE,
        price=Decimal(price),
        currency="EUR",
        revision=revision,
        published_us=None if published is None else T0 - published * MINUTE,
    )


SLOTS = st.lists(
    st.builds(
        slot,
        st.sampled_from([0, 15, 30, 45, 60]),
        st.sampled_from([15, 60]),
        st.integers(-1, 1),
        st.integers(1, 2),
        st.sampled_from([None, 60, 120]),
    ),
    max_size=8,
)


def priced(signals: Signals, minute: int) -> tuple[Decimal | None, int]:
    found, until_us = signals.at("spot", T0 + minute * MINUTE)
    return None if found is None else found.price, until_us


@given(SLOTS, st.randoms(use_true_random=False))
def test_the_price_does_not_depend_on_the_order_of_the_slots(slots: list[PriceSlot], order: random.Random) -> None:
    shuffled = slots.copy()
    order.shuffle(shuffled)
    for minute in range(-5, 125, 5):
        assert priced(Signals(slots), minute) == priced(Signals(shuffled), minute)
    pairs = [sorted(each.evidence() for each in pair) for pair in disputes(slots)]
    assert bool(pairs) is any(True for _ in disputes(shuffled))


@given(SLOTS)
def test_where_nothing_is_disputed_the_highest_revision_has_its_price(slots: list[PriceSlot]) -> None:
    if any(True for _ in disputes(slots)):
        return
    latest = {each.start_us: each for each in sorted(slots, key=lambda each: (each.revision, each.published_us or 0))}
    for minute in range(0, 120, 5):
        at_us = T0 + minute * MINUTE
        holding = [each for each in latest.values() if each.start_us <= at_us < each.end_us]
        price, _ = priced(Signals(slots), minute)
        assert (price is None) is (not holding)
        if holding:
            best = max((each.revision, each.published_us or 0) for each in holding)
            assert price in {each.price for each in holding if (each.revision, each.published_us or 0) == best}


@pytest.mark.parametrize(
    ("one", "other", "is_disputed"),
    [
        (slot(0, 60, 95), slot(0, 15, 80), True),
        (slot(0, 60, 95), slot(0, 60, 80), True),
        (slot(0, 60, 95), slot(0, 15, 95), True),
        (slot(0, 60, 95), slot(15, 15, 80), True),
        (slot(0, 60, 95), slot(30, 60, 80), True),
        (slot(0, 60, 95), slot(15, 15, 95), False),
        (slot(0, 60, 95), slot(0, 60, 95), False),
        (slot(0, 60, 95), slot(60, 15, 80), False),
        (slot(0, 60, 95), slot(0, 15, 80, revision=2), False),
        (slot(0, 60, 95, revision=2), slot(15, 15, 80), False),
        (slot(0, 60, 95, published=60), slot(0, 15, 80, published=30), False),
        (slot(0, 60, 95), slot(0, 15, 80, published=-1), False),
    ],
)
def test_a_dispute_is_one_that_neither_revision_nor_publication_decides(
    one: PriceSlot, other: PriceSlot, is_disputed: bool
) -> None:
    assert [set(pair) for pair in disputes([one, other])] == ([{one, other}] if is_disputed else [])
    assert bool(list(disputes([other, one]))) is is_disputed


def test_two_values_for_one_slot_are_no_value() -> None:
    """Neither the first nor the last; the next slot is priced again."""
    signals = Signals([slot(0, 60, 95), slot(0, 15, 80), slot(60, 60, 70)])
    assert priced(signals, 5) == (None, T0 + 60 * MINUTE)
    assert priced(signals, 60)[0] == 70
    assert len(signals.during("spot", T0 + 30 * MINUTE, T0 + 40 * MINUTE)) == 2, "a receipt keeps both: they decide"


def test_a_higher_revision_counts_although_it_began_before() -> None:
    signals = Signals([slot(15, 15, 80), slot(0, 60, 95, revision=2)])
    assert [priced(signals, minute)[0] for minute in (0, 15, 20, 30)] == [95, 95, 95, 95]


def test_a_contradiction_acts_from_the_offset_that_brought_it() -> None:
    """The view before it prices as it did: a replay gives the same bill."""
    for first, second in ((80, 95), (95, 80)):
        store = SignalStore()
        store.add(0, slot(0, 15, first))
        store.add(1, slot(0, 15, second))
        store.add(2, slot(0, 15, 70, revision=2))
        seen = [priced(Signals(store=store, end=end), 5)[0] for end in range(4)]
        assert seen == [None, first, None, 70]
