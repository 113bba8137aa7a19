"""Measuring needs events of one size, in time order, that add up."""

from __future__ import annotations

from collections import Counter

from pipeline.domain.events import ClockTicked, MeterRead, OcppFrame, SessionEnded, SessionStarted
from pipeline.edge.uniform import EVENT_BYTES, bench_events
from pipeline.wire.meter_events import check


def test_every_event_has_the_same_size_and_a_key_of_its_own() -> None:
    values = [value for key, value in bench_events(150, 3) if key]
    assert len(values) == 150 * 3 * 62
    assert {len(value) for value in values} == {EVENT_BYTES}
    events = [check(value) for value in values]
    assert len(
        {(event.event_id, type(event)) for event in events if not isinstance(event, ClockTicked | OcppFrame)}
    ) == len(values)


def test_sessions_are_whole_in_order_and_continuous() -> None:
    clock_us = 0
    kinds: Counter[str] = Counter()
    registers: dict[str, int] = {}
    for key, value in bench_events(5, 2, readings=10):
        event = check(value)
        if isinstance(event, ClockTicked):
            assert key is None
            assert event.time_us > clock_us
            clock_us = event.time_us
            continue
        assert isinstance(event, SessionStarted | MeterRead | SessionEnded)
        assert key == event.station_id.encode()
        assert event.event_time_us >= clock_us
        kinds[type(event).__name__] += 1
        assert event.register_wh is not None
        assert 0 <= event.register_wh - registers.get(event.station_id, event.register_wh) <= 183
        registers[event.station_id] = event.register_wh
    assert kinds == {"SessionStarted": 10, "MeterRead": 100, "SessionEnded": 10}
    assert set(registers.values()) == {10_000_000 + 20 * 183}
