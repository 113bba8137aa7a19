"""A dead letter says why and where; what is not one is refused."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import InvalidMessage
from pipeline.wire.dead_letters import DeadLetter, decode, where, why

COUNTS = st.integers(min_value=0, max_value=10**18)


@given(detail=st.text(max_size=50), topic=st.text(min_size=1), partition=COUNTS, offset=COUNTS)
def test_decode_reads_what_why_and_where_wrote(detail: str, topic: str, partition: int, offset: int) -> None:
    headers = [*why("MALFORMED_JSON", detail), *where(topic, partition, offset)]
    assert decode(reversed(headers)) == DeadLetter("MALFORMED_JSON", detail, topic, partition, offset)


def test_a_detail_is_cut_to_what_fits_a_header() -> None:
    assert len(dict(why("R", "x" * 100_000))["detail"]) == 1000


@pytest.mark.parametrize("name", ["reason", "detail", "topic", "partition", "offset"])
def test_a_missing_header_is_named(name: str) -> None:
    headers = [header for header in [*why("R", "d"), *where("t", 1, 2)] if header[0] != name]
    with pytest.raises(InvalidMessage, match=name):
        decode(headers)


@pytest.mark.parametrize(
    "changed",
    [("reason", b"free text"), ("detail", b"\xff"), ("partition", b"-1"), ("offset", b"9" * 20), ("topic", None)],
)
def test_foreign_headers_are_refused(changed: tuple[str, bytes | None]) -> None:
    headers = [header for header in [*why("R", "d"), *where("t", 1, 2)] if header[0] != changed[0]]
    with pytest.raises(InvalidMessage, match="NOT_A_DEAD_LETTER"):
        decode([*headers, changed])


@given(st.lists(st.tuples(st.text(), st.binary())))
def test_any_headers_give_a_dead_letter_or_invalid_message(headers: list[tuple[str, bytes]]) -> None:
    with contextlib.suppress(InvalidMessage):
        assert isinstance(decode(headers), DeadLetter)


def test_no_headers_are_no_dead_letter() -> None:
    with pytest.raises(InvalidMessage, match="reason"):
        decode(None)
