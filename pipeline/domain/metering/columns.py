"""Readings column by column, as lists: whatever runs over all of them then does so in C, on integers made once."""

from __future__ import annotations

from typing import NamedTuple

from pipeline.domain.station import ENERGY, POWER, STRIDE, TIME, Numbers


class Columns(NamedTuple):
    """Of as many readings each: us UTC, Wh, W; ABSENT: not given."""

    times: list[int]
    registers: list[int]
    powers: list[int]


def columns_of(readings: Numbers) -> Columns:
    """`readings` as in Session, STRIDE numbers each."""
    return Columns(readings[TIME::STRIDE].tolist(), readings[ENERGY::STRIDE].tolist(), readings[POWER::STRIDE].tolist())
