"""Events for measuring: every station does the same at the same pace, and every event has the same size.

Nothing is random, and there are no faults but the requested ones. edge/simulator.py has a fleet like a real one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import msgspec

from pipeline.domain.events import ClockTicked, MeterRead, SessionEnded, SessionStarted

EVENT_BYTES = 266
SECOND_US = 1_000_000
MINUTE_US = 60 * SECOND_US
HOUR_US = 60 * MINUTE_US
CLOCK = "bench"
START_US = 1_772_409_600_000_000  # 2026-03-02T00:00:00Z
POWER_W = 11_000
IMPOSSIBLE_WH = 50_000_000
"""By how much the stop of a faulty session is too high."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """When the stations report. `spread`: the first session of each station is shorter, by another length for each.

    Without `spread` all stations start and end their sessions in the same interval.
    """

    readings: int = 60
    """Per session, besides its start and its stop."""
    interval_s: int = 60
    pause_s: int = 480
    """Without events between two sessions of a station."""
    spread: bool = False
    faulty_every: int = 0
    """One of so many sessions ends with an impossible register; 0 = none."""
    closing_h: int = 25
    """Hourly ticks that follow the last event."""

    @property
    def reading_wh(self) -> int:
        """About POWER_W for an interval, in whole Wh."""
        return max(1, round(POWER_W * self.interval_s / 3600))

    @property
    def power_w(self) -> int:
        return self.reading_wh * 3600 // self.interval_s

    def first(self, station: int) -> int:
        """Readings of the station's first session."""
        return 1 + station * 37 % self.readings if self.spread else self.readings

    def place(self, station: int, interval: int) -> tuple[int, int] | None:
        """(session, interval in the session) at an interval of the stream; None in a pause."""
        first, whole, pause = self.first(station) + 2, self.readings + 2, self.pause_s // self.interval_s
        if interval < first:
            return 0, interval
        cycle, within = divmod(interval - first, whole + pause)
        return None if within < pause else (cycle + 1, within - pause)

    def length(self, station: int, session: int) -> int:
        """Readings of a session."""
        return self.readings if session else self.first(station)

    def before(self, station: int, session: int) -> int:
        """Readings in all earlier sessions of the station."""
        return self.first(station) + (session - 1) * self.readings if session else 0


def bench_events(
    stations: int, sessions_per_station: int, pace: Pace = Pace(), *, ticks: bool = True
) -> Iterator[tuple[bytes | None, bytes]]:
    """Records (key, value) of `meter-events` in time order, stations interleaved: start, readings, stop.

    Each event has EVENT_BYTES bytes. With `ticks`, a clock tick (no key, for every partition) ends each minute, and
    hourly ones end the stream.
    """
    encode = msgspec.json.Encoder().encode
    names = [f"B{number:05d}" for number in range(stations)]
    keys = [name.encode() for name in names]
    interval_us, now_us = pace.interval_s * SECOND_US, START_US
    whole, pause = pace.readings + 2, pace.pause_s // pace.interval_s
    for interval in range(sessions_per_station * (whole + pause)):
        for number, name in enumerate(names):
            place = pace.place(number, interval)
            if place is not None and place[0] < sessions_per_station:
                at_us = now_us + number * interval_us // stations
                yield keys[number], _padded(_event(pace, number, name, *place, at_us), encode)
        if ticks and now_us // MINUTE_US < (now_us + interval_us) // MINUTE_US:
            yield None, encode(ClockTicked(time_us=now_us + interval_us, clock=CLOCK))
        now_us += interval_us
    for hour in range(1, pace.closing_h + 1) if ticks else ():
        yield None, encode(ClockTicked(time_us=now_us + hour * HOUR_US, clock=CLOCK))


def is_faulty(pace: Pace, station: int, session: int) -> bool:
    return pace.faulty_every > 0 and (station + session) % pace.faulty_every == 0


def _event(
    pace: Pace, station: int, station_id: str, session: int, interval: int, at_us: int
) -> SessionStarted | MeterRead | SessionEnded:
    transaction_id, readings = str(session), pace.length(station, session)
    register_wh = 10_000_000 + (pace.before(station, session) + min(interval, readings)) * pace.reading_wh
    received_us = at_us + 200_000
    if interval == 0:
        return SessionStarted(
            station_id=station_id,
            event_time_us=at_us,
            received_time_us=received_us,
            clock=CLOCK,
            connector_id=1,
            transaction_id=transaction_id,
            register_wh=register_wh,
            token=f"{session:08X}",
            seq_no=interval,
        )
    if interval == readings + 1:
        return SessionEnded(
            station_id=station_id,
            event_time_us=at_us,
            received_time_us=received_us,
            clock=CLOCK,
            connector_id=1,
            transaction_id=transaction_id,
            register_wh=register_wh + (IMPOSSIBLE_WH if is_faulty(pace, station, session) else 0),
            seq_no=interval,
        )
    return MeterRead(
        station_id=station_id,
        event_time_us=at_us,
        received_time_us=received_us,
        clock=CLOCK,
        connector_id=1,
        transaction_id=transaction_id,
        register_wh=register_wh,
        power_w=pace.power_w,
        state="charging",
        seq_no=interval,
    )


def _padded(event: SessionStarted | MeterRead | SessionEnded, encode: Callable[[object], bytes]) -> bytes:
    """The event in EVENT_BYTES bytes: its idempotency key, the time in ms, gets leading zeros."""
    event.event_id = "0"
    event.event_id = f"{event.event_time_us // 1000:0{EVENT_BYTES - len(encode(event)) + 1}d}"
    value = encode(event)
    assert len(value) == EVENT_BYTES, "the event without its key is too long"  # noqa: S101 - our own arithmetic
    return value
