"""Bounds at the door of a partition, at the limit and one beyond."""

from __future__ import annotations

import pytest

from pipeline.errors import InvalidMessage
from pipeline.runtime.logic import Output
from pipeline.runtime.partition.changelog import LONGEST_KEY
from pipeline.runtime.partition.checks import TooLarge, check_key, check_value, fits
from pipeline.topics import LARGEST, LARGEST_RECORD


def test_a_value_of_5_mb_is_taken_and_no_larger_one() -> None:
    assert len(check_value(bytes(LARGEST_RECORD))) == LARGEST_RECORD
    with pytest.raises(InvalidMessage, match="5000001 bytes") as raised:
        check_value(bytes(LARGEST_RECORD + 1))
    assert raised.value.reason == "TOO_LARGE"


def test_a_key_has_1024_bytes_and_no_more() -> None:
    check_key(b"k" * LONGEST_KEY, 0, 1)
    check_key("é".encode() * (LONGEST_KEY // 2), 0, 1)
    for key in (b"k" * (LONGEST_KEY + 1), b""):
        with pytest.raises(InvalidMessage, match="1 to 1024 bytes") as raised:
            check_key(key, 0, 1)
        assert raised.value.reason == "INVALID_KEY"


@pytest.mark.parametrize("topic", LARGEST)
def test_an_output_fits_its_topic_up_to_its_bound(topic: str) -> None:
    fits([Output(topic, b"k", bytes(LARGEST[topic])), Output(topic, b"k", None)])
    with pytest.raises(TooLarge, match=f"to {topic}"):
        fits([Output(topic, b"k", bytes(LARGEST[topic] + 1))])
