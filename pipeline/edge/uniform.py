"""Events for measuring: every station does the same thing at the same pace, every event has the same size.

No faults, no chance; the fleet that behaves like one is in edge/simulator.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import msgspec

from pipeline.domain.events import ClockTicked, MeterRead, SessionEnded, SessionStarted

EVENT_BYTES = 266
MINUTE_US = 60_000_000
CLOCK = "bench"
START_US = 1_772_409_600_000_000  # 2026-03-02T00:00:00Z
WH_PER_READING = 183  # 11 kW for a minute
PAUSE_MINUTES = 8
"""Minutes without events between two sessions of a station."""


def bench_events(
    stations: int, sessions_per_station: int, readings: int = 60, *, ticks: bool = True
) -> Iterator[tuple[bytes | None, bytes]]:
    """Records (key, value) of `meter-events` in time order, stations interleaved: start, `readings`, stop.

    Each event has EVENT_BYTES bytes. With `ticks`, a clock tick (no key, for every partition) ends each minute, and
    hourly ticks for 25 h end the stream.
    """
    encode = msgspec.json.Encoder().encode
    names = [f"B{number:05d}" for number in range(stations)]
    keys = [name.encode() for name in names]
    minute_us = START_US
    for session in range(sessions_per_station):
        for step in range(readings + 2):
            for number, name in enumerate(names):
                at_us = minute_us + number * MINUTE_US // stations
                yield keys[number], _padded(_event(name, session, step, readings, at_us), encode)
            minute_us += MINUTE_US
            if ticks:
                yield None, encode(ClockTicked(time_us=minute_us, clock=CLOCK))
        minute_us += PAUSE_MINUTES * MINUTE_US
    for hour in range(1, 26) if ticks else ():
        yield None, encode(ClockTicked(time_us=minute_us + hour * 60 * MINUTE_US, clock=CLOCK))


def _event(
    station_id: str, session: int, step: int, readings: int, at_us: int
) -> SessionStarted | MeterRead | SessionEnded:
    transaction_id = str(session)
    register_wh = 10_000_000 + (session * readings + min(step, readings)) * WH_PER_READING
    received_us = at_us + 200_000
    if step == 0:
        return SessionStarted(
            station_id=station_id,
            event_time_us=at_us,
            received_time_us=received_us,
            clock=CLOCK,
            connector_id=1,
            transaction_id=transaction_id,
            register_wh=register_wh,
            token=f"{session:08X}",
            seq_no=step,
        )
    if step == readings + 1:
        return SessionEnded(
            station_id=station_id,
            event_time_us=at_us,
            received_time_us=received_us,
            clock=CLOCK,
            connector_id=1,
            transaction_id=transaction_id,
            register_wh=register_wh,
            seq_no=step,
        )
    return MeterRead(
        station_id=station_id,
        event_time_us=at_us,
        received_time_us=received_us,
        clock=CLOCK,
        connector_id=1,
        transaction_id=transaction_id,
        register_wh=register_wh,
        power_w=11_000,
        state="charging",
        seq_no=step,
    )


def _padded(event: SessionStarted | MeterRead | SessionEnded, encode: Callable[[object], bytes]) -> bytes:
    """The event in EVENT_BYTES bytes; its idempotency key, the time with leading zeros, makes up the difference."""
    event.event_id = "0"
    event.event_id = f"{event.event_time_us:0{EVENT_BYTES - len(encode(event)) + 1}d}"
    value = encode(event)
    assert len(value) == EVENT_BYTES, "the event without its key is too long"  # noqa: S101 - our own arithmetic
    return value
