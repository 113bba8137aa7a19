"""Prices that the driver was shown before the start, and that a LOCKED tariff keeps (ops/spec/pricing.md 5.3).

A quote moves the lock and nothing else: the start still decides which tariff version applies (D19), and a tariff that
FOLLOWS its signals does so in spite of a quote.
"""

from __future__ import annotations

from typing import NamedTuple

from pipeline.domain.events import PriceQuote
from pipeline.domain.pricing.units import US_PER_S, utc_text

BINDS_US = 300 * US_PER_S
"""A quote may have been shown at most so long before the start, this age included."""


class Lock(NamedTuple):
    """The instant whose signals and clock rules hold for the whole session; None: prices follow them."""

    at_us: int | None = None
    quote: PriceQuote | None = None
    note: str = ""
    """For the bill: why the quote does not bind."""


FOLLOWS = Lock()


def lock_of(price_mode: str, start_us: int, quote: PriceQuote | None) -> Lock:
    """`start_us` is the start that is billed: where the station's clock is wrong, the corrected one."""
    if price_mode != "LOCKED":
        return FOLLOWS if quote is None else Lock(None, quote)
    if quote is None:
        return Lock(start_us)
    shown_us = quote.shown_at_us
    if shown_us > start_us:
        text = f"QUOTE_AFTER_START: shown at {utc_text(shown_us)}, after the start, whose prices are locked"
        return Lock(start_us, quote, text)
    if start_us - shown_us > BINDS_US:
        text = f"QUOTE_TOO_OLD: shown at {utc_text(shown_us)}, over 300 s before the start, whose prices are locked"
        return Lock(start_us, quote, text)
    return Lock(shown_us, quote)
