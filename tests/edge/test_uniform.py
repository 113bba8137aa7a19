"""Measuring needs events of one size, in time order, that add up."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

from pipeline.domain.events import ClockTicked, MeterRead, SessionEnded, SessionStarted
from pipeline.domain.frames import OcppFrame
from pipeline.edge.uniform import EVENT_BYTES, IMPOSSIBLE_WH, Pace, bench_events
from pipeline.wire.meter_events import check


def test_every_event_has_the_same_size_and_a_key_of_its_own() -> None:
    values = [value for key, value in bench_events(150, 3) if key]
    assert len(values) == 150 * 3 * 62
    assert {len(value) for value in values} == {EVENT_BYTES}
    assert {len(value) for key, value in bench_events(1, 150, Pace(readings=9)) if key} == {EVENT_BYTES}
    events = [check(value) for value in values]
    assert len(
        {(event.event_id, type(event)) for event in events if not isinstance(event, ClockTicked | OcppFrame)}
    ) == len(values)


def test_sessions_are_whole_in_order_and_continuous() -> None:
    clock_us = 0
    kinds: Counter[str] = Counter()
    registers: dict[str, int] = {}
    for key, value in bench_events(5, 2, Pace(readings=10)):
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


def test_spread_sessions_end_at_different_times_and_faulty_ones_impossibly() -> None:
    pace = Pace(readings=10, interval_s=10, pause_s=120, spread=True, faulty_every=4, closing_h=0)
    ended: dict[str, list[SessionEnded]] = {}
    steps: Counter[int] = Counter()
    latest_us = 0
    for key, value in bench_events(8, 3, pace):
        event = check(value)
        if isinstance(event, ClockTicked):
            latest_us = event.time_us
        if isinstance(event, SessionEnded):
            ended.setdefault(event.station_id, []).append(event)
        if isinstance(event, MeterRead) and key == b"B00003" and event.transaction_id == "1":
            steps[event.register_wh or 0] += 1
    assert {len(events) for events in ended.values()} == {3}
    assert len({events[0].event_time_us // 10_000_000 for events in ended.values()}) > 4
    faulty = [event for events in ended.values() for event in events if (event.register_wh or 0) > IMPOSSIBLE_WH]
    assert len(faulty) == 8 * 3 // 4
    registers = sorted(steps)
    assert [b - a for a, b in pairwise(registers)] == [31] * 9  # 11,160 W for 10 s
    assert latest_us >= max(event.event_time_us for events in ended.values() for event in events)
