"""The running cost of the stream's short way is the running cost of the general one, at every reading."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from pipeline.domain.pricing.fold import Fold
from pipeline.wire.tariffs import decode_tariffs

START_US = 1_772_460_000_000_000  # 2026-03-02T14:00:00Z
TARIFFS = {
    "two windows": b"""{"id":"T","currency":"EUR","last_updated":"2026-01-01T00:00:00Z","elements":[
        {"price_components":[{"type":"FLAT","price":0.5,"vat":19,"step_size":1}]},
        {"price_components":[{"type":"ENERGY","price":0.61,"vat":19,"step_size":1}],
         "restrictions":{"start_time":"16:00","end_time":"18:00"}},
        {"price_components":[{"type":"ENERGY","price":0.333,"vat":7,"step_size":500}]}]}""",
    "with a limit": b"""{"id":"T","currency":"EUR","last_updated":"2026-01-01T00:00:00Z",
        "max_price":{"excl_vat":5.0,"incl_vat":6.0},"elements":[
        {"price_components":[{"type":"ENERGY","price":0.4,"vat":19,"step_size":1}]}]}""",
    "time too": b"""{"id":"T","currency":"EUR","last_updated":"2026-01-01T00:00:00Z","elements":[
        {"price_components":[{"type":"ENERGY","price":0.4,"vat":19,"step_size":1},
                             {"type":"PARKING_TIME","price":6,"vat":19,"step_size":60}]}]}""",
    "free after ten": b"""{"id":"T","currency":"EUR","last_updated":"2026-01-01T00:00:00Z","elements":[
        {"price_components":[{"type":"ENERGY","price":0.4,"vat":19,"step_size":1}],"restrictions":{"max_kwh":10}}]}""",
}


@pytest.mark.parametrize("name", TARIFFS)
def test_the_short_way_equals_the_bill_at_every_reading(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    (tariff,) = decode_tariffs(TARIFFS[name], name)
    short = Fold.open(tariff, "Europe/Berlin", None, START_US, 1_000_000)
    taken = _count_quotes(monkeypatch)
    for minute in range(1, 400):
        at_us = START_US + minute * 60_000_000
        if minute == 200:
            short.activity(at_us - 1, "idle")
        short.reading(at_us, 1_000_000 + min(minute, 200) * 183_000)
        bill = short.bill(at_us, final=False)
        assert short.running() == (bill.total_excl, bill.total_incl), minute
    assert taken() > 50 or name == "with a limit", "the short way was not taken"


def _count_quotes(monkeypatch: pytest.MonkeyPatch) -> Callable[[], int]:
    from pipeline.domain.pricing import fold as pricing

    count = 0
    real = pricing.Quote.at

    def counted(self: pricing.Quote, mwh: int) -> tuple[str, str]:
        nonlocal count
        count += 1
        return real(self, mwh)

    monkeypatch.setattr(pricing.Quote, "at", counted)
    return lambda: count
