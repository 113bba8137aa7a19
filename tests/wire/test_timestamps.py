"""Times as chargers write them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.wire.timestamps import micros, month

NOON = 1_772_452_800_000_000


@pytest.mark.parametrize(
    ("text", "micro"),
    [
        ("2026-03-02T12:00:00Z", 0),
        ("2026-03-02T12:00:00.Z", 0),
        ("2026-03-02T12:00:00.5Z", 500_000),
        ("2026-03-02T12:00:00.46Z", 460_000),
        ("2026-03-02T12:00:00.753Z", 753_000),
        ("2026-03-02T12:00:00.123456789Z", 123_456),
        ("2026-03-02T17:30:00+05:30", 0),
        ("2026-03-02T17:30:00+0530", 0),
        ("2026-03-02T04:00:00.25-08:00", 250_000),
        ("2026-03-02t12:00:00z ", 0),
        ("2026-03-02 12:00:00Z", 0),
        ("20260302T120000Z", 0),
    ],
)
def test_decimals_and_offsets(text: str, micro: int) -> None:
    assert micros(text) == (NOON + micro, False)


def test_a_missing_zone_is_utc_and_says_so() -> None:
    assert micros("2026-03-02T12:00:00.5") == (NOON + 500_000, True)


@pytest.mark.parametrize("text", ["1970-01-01T00:00:00Z", "0001-01-01T00:00:00Z", "0001-01-01T00:00:00+05:30"])
def test_a_clock_that_was_never_set_is_zero(text: str) -> None:
    assert micros(text) == (0, False)


@pytest.mark.parametrize(
    "text", ["", "2026-03-02", "yesterday at noon!", "2026-02-30T12:00:00Z", "2026-03-02T25:00:00Z", "1772452800000000"]
)
def test_anything_else_is_no_time(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        micros(text)


@given(
    st.datetimes(min_value=datetime(1970, 1, 2), max_value=datetime(9998, 1, 1)),  # noqa: DTZ001 - Hypothesis wants naive limits
    st.integers(min_value=-14 * 60, max_value=14 * 60),
)
def test_every_time_that_python_writes_is_read_exactly(at: datetime, offset: int) -> None:
    aware = at.replace(tzinfo=timezone(timedelta(minutes=offset)))
    exact = (aware - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
    assert micros(aware.isoformat()) == (exact, False)


@given(st.text(max_size=40))
def test_any_text_gives_a_time_or_value_error(text: str) -> None:
    try:
        at, _ = micros(text)
    except ValueError:
        return
    assert 0 <= at <= 253_402_300_799_999_999


def test_the_month_is_that_of_utc() -> None:
    assert month(micros("2026-11-30T23:59:59-01:00")[0]) == "2026-12"
    assert month(0) == "1970-01"
