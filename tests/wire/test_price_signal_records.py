"""Slots as records of `price-signals`: what is written is read back, and the key keeps every revision."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.domain.events import ClockTicked
from pipeline.domain.outputs import ConnectorChanged
from pipeline.domain.pricing.signals import Slot
from pipeline.errors import InvalidMessage
from pipeline.wire.connector_status import decode_status, encode_change
from pipeline.wire.price_signals import decode_signals, encode_slot, slot_key

START = st.integers(1_700_000_000_000_000, 1_800_000_000_000_000)
COUNT = st.integers(0, 500)


def fields(slot: Slot) -> dict[str, object]:
    return {name: getattr(slot, name) for name in Slot.__slots__}


@given(START, st.integers(1, 10_000_000_000), COUNT, COUNT, st.integers(1, 9), st.one_of(st.none(), START))
def test_an_availability_slot_is_read_back(
    start: int, length: int, free: int, total: int, revision: int, published: int | None
) -> None:
    slot = Slot(
        series="availability:S", start_us=start, end_us=start + length, free=free, total=total, revision=revision,
        published_us=published,
    )  # fmt: skip
    (read,) = decode_signals(encode_slot(slot), "topic")
    assert fields(read) == fields(slot)


@pytest.mark.parametrize("per_kwh", [1, 1000])
@given(price=st.decimals("-9999", "9999", places=6, allow_nan=False))
def test_a_price_keeps_every_digit(per_kwh: int, price: Decimal) -> None:
    slot = Slot(
        series="spot", start_us=0, end_us=900_000_000, price=price, per_kwh=per_kwh, currency="EUR", published_us=5
    )
    (read,) = decode_signals(encode_slot(slot), "topic")
    assert fields(read) == fields(slot)


def test_the_key_tells_series_slot_and_revision_apart() -> None:
    slots = [
        Slot(series=series, start_us=start, end_us=2_000_000_000_000_000, level="HIGH", revision=revision)
        for series in ("a", "b")
        for start in (1_772_436_600_000_000, 1_772_437_500_000_000)
        for revision in (1, 2)
    ]
    assert len({slot_key(slot) for slot in slots}) == 8
    assert slot_key(slots[0]) == b"a|2026-03-02T07:30:00Z|1"


def test_a_status_is_read_back_and_a_tick_is_told_apart() -> None:
    change = ConnectorChanged(site_id="S", station_id="CP-1", connector_id=2, state="free", since_us=7, clock="live")
    assert decode_status(encode_change(change)) == change
    assert decode_status(b'{"type":"clock_ticked","time_us":5}') == ClockTicked(time_us=5)


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (b"{", "MALFORMED_JSON"),
        (b'{"type":"meter_read"}', "SCHEMA_VIOLATION"),
        (b'{"type":"connector_changed","site_id":"S"}', "SCHEMA_VIOLATION"),
        (
            b'{"type":"connector_changed","site_id":"S","station_id":"A","connector_id":1,"state":"secret-word",'
            b'"since_us":1,"clock":"live"}',
            "SCHEMA_VIOLATION",
        ),
    ],
)
def test_anything_else_is_refused_without_its_words(value: bytes, reason: str) -> None:
    with pytest.raises(InvalidMessage) as refused:
        decode_status(value)
    assert refused.value.reason == reason
    assert "secret" not in str(refused.value)
