"""Slots as records of `price-signals`: what is written is read back, and the key keeps every revision."""

from __future__ import annotations

import json
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.cli.prices import agree
from pipeline.domain.events import ClockTicked
from pipeline.domain.outputs import ConnectorChanged
from pipeline.domain.pricing.signals import PriceSlot
from pipeline.errors import InvalidMessage, WrongUsage
from pipeline.wire.connector_status import decode_status, encode_change
from pipeline.wire.json_values import parse
from pipeline.wire.price_signals import (
    decode_price_csv,
    decode_signals,
    encode_price_slot,
    price_slot_key,
    read_price_slot,
)
from pipeline.wire.session_facts import decode_session

START = st.integers(1_700_000_000_000_000, 1_800_000_000_000_000)
COUNT = st.integers(0, 500)


def fields(slot: PriceSlot) -> dict[str, object]:
    return {name: getattr(slot, name) for name in PriceSlot.__slots__}


@given(START, st.integers(1, 10_000_000_000), COUNT, COUNT, st.integers(1, 9), st.one_of(st.none(), START))
def test_an_availability_slot_is_read_back(
    start: int, length: int, free: int, total: int, revision: int, published: int | None
) -> None:
    slot = PriceSlot(
        series="availability:S", start_us=start, end_us=start + length, free=free, total=total, revision=revision,
        published_us=published,
    )  # fmt: skip
    (read,) = decode_signals(encode_price_slot(slot), "topic")
    assert fields(read) == fields(slot)


@pytest.mark.parametrize("per_kwh", [1, 1000])
@given(price=st.decimals("-9999", "9999", places=6, allow_nan=False))
def test_a_price_keeps_every_digit(per_kwh: int, price: Decimal) -> None:
    slot = PriceSlot(
        series="spot", start_us=0, end_us=900_000_000, price=price, per_kwh=per_kwh, currency="EUR", published_us=5
    )
    (read,) = decode_signals(encode_price_slot(slot), "topic")
    assert fields(read) == fields(slot)


def test_the_key_tells_series_slot_and_revision_apart() -> None:
    slots = [
        PriceSlot(series=series, start_us=start, end_us=2_000_000_000_000_000, level="HIGH", revision=revision)
        for series in ("a", "b")
        for start in (1_772_436_600_000_000, 1_772_437_500_000_000)
        for revision in (1, 2)
    ]
    assert len({price_slot_key(slot) for slot in slots}) == 8
    assert price_slot_key(slots[0]) == b"a|2026-03-02T07:30:00Z|1"


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


HOUR = {"series": "spot", "start": "2026-03-02T08:00:00Z", "minutes": 60, "price": 95, "unit": "MWh", "currency": "EUR"}
QUARTER = HOUR | {"minutes": 15, "price": 80}


@pytest.mark.parametrize("documents", [[HOUR, QUARTER], [QUARTER, HOUR]])
def test_a_file_whose_order_would_decide_a_price_is_refused(documents: list[dict[str, object]]) -> None:
    """A list, JSON lines and the signals of a session document alike; the message names both slots."""
    lines = b"\n".join(json.dumps(each).encode() for each in documents)
    session = {"start": "2026-03-02T08:00:00Z", "end": "2026-03-02T09:00:00Z", "signals": documents}
    for decode, data, where in (
        (decode_signals, json.dumps(documents).encode(), r"f \[0\]"),
        (decode_signals, lines, "f line 1"),
        (decode_session, json.dumps(session).encode(), r"f: signals\[0\]"),
    ):
        with pytest.raises(InvalidMessage, match=f"{where}.* a higher revision, or each auction a series of its own"):
            decode(data, "f")


def test_a_revision_or_a_series_of_its_own_is_the_way_out() -> None:
    for change in ({"revision": 2}, {"series": "spot-quarter"}, {"start": "2026-03-02T09:00:00Z"}, HOUR):
        assert len(decode_signals(json.dumps([HOUR, QUARTER | change]).encode(), "f")) == 2


def test_a_csv_file_that_states_two_prices_for_a_time_is_refused() -> None:
    rows = b"unix_seconds,price_eur\n1772438400,95\n1772442000,90\n1772438400,%d\n"
    assert len(decode_price_csv(rows % 95, "f", "spot", 60, "EUR")) == 3, "the same row again says nothing new"
    with pytest.raises(InvalidMessage, match=r"f line 4|f line 2"):
        decode_price_csv(rows % 80, "f", "spot", 60, "EUR")
    with pytest.raises(InvalidMessage, match="hold at the same time"):
        decode_price_csv(rows % 95, "f", "spot", 90, "EUR")


def test_a_slot_that_contradicts_a_published_one_is_not_published() -> None:
    known = {each["minutes"]: read_price_slot(parse(json.dumps(each).encode(), "f"), "f") for each in (HOUR, QUARTER)}
    hour, quarter = ({price_slot_key(slot).decode(): encode_price_slot(slot)} for slot in known.values())
    later = {"spot|2026-03-02T08:15:00Z|1": encode_price_slot(replaced(known[15], minutes_later=15))}
    with pytest.raises(WrongUsage, match="higher revision"):
        agree(hour, later)
    agree(hour | later, {})
    agree(hour | later, {"grid|2026-03-02T08:00:00Z|1": b'{"series":"grid","start":"2026-03-02T08:00:00Z",'
                                                       b'"minutes":60,"level":"HIGH"}'})  # fmt: skip
    agree({"spot|x|1": b"{"}, quarter)


def replaced(slot: PriceSlot, minutes_later: int) -> PriceSlot:
    shift = minutes_later * 60_000_000
    return PriceSlot(**(fields(slot) | {"start_us": slot.start_us + shift, "end_us": slot.end_us + shift}))  # type: ignore[arg-type]  # its own fields
