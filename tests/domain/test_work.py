"""What a record costs does not grow with what its station has: work is counted, because time depends on the machine."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

import msgspec
import pytest

from pipeline.domain.events import MeterRead, SessionStarted, StationSeen, StatusReported
from pipeline.domain.publishing import folding
from pipeline.domain.station import STRIDE
from pipeline.domain.station_codec import BLOCK
from tests.builders import us
from tests.long_sessions import STATION, Stage


def told(connectors: int, sessions: int) -> Stage:
    """A station with so many connectors that told their status, and sessions that are open or ended just now."""
    stage = Stage(connectors)
    for number in range(1, connectors + 1):
        stage.feed(StatusReported(station_id=STATION, event_time_us=us(0), connector_id=number, status="Available"))
    for number in range(sessions):
        stage.feed(
            SessionStarted(
                station_id=STATION, event_time_us=us(number), connector_id=1 + number % connectors,
                transaction_id=f"t{number}", register_wh=1_000 + number,
            )
        )  # fmt: skip
    stage.feed(read(us(sessions), 5_000))
    return stage


def read(at_us: int, register_wh: int) -> MeterRead:
    return MeterRead(
        station_id=STATION, event_time_us=at_us, received_time_us=at_us, connector_id=1, transaction_id="t0",
        register_wh=register_wh,
    )  # fmt: skip


def steps(stage: Stage, event: object) -> int:
    """Steps of the interpreter that the record takes."""
    counted = 0

    def count(frame: FrameType, event: str, argument: object) -> Callable[..., Any]:
        nonlocal counted
        frame.f_trace_opcodes = True
        counted += event == "opcode"
        return count

    value = msgspec.json.encode(event)
    before = sys.gettrace()
    sys.settrace(count)
    try:
        outputs = list(stage.offline.feed(STATION.encode(), value))
    finally:
        sys.settrace(before)
    assert not isinstance(event, StatusReported) or outputs  # its site was told
    return counted


LATER = 10_000
RECORDS = {
    "status": StatusReported(
        station_id=STATION, event_time_us=us(LATER), received_time_us=us(LATER), connector_id=2, status="Charging"
    ),
    "heartbeat": StationSeen(station_id=STATION, event_time_us=us(LATER), received_time_us=us(LATER)),
    "reading": read(us(LATER), 9_000),
}


@pytest.mark.parametrize("name", RECORDS)
def test_a_record_costs_the_same_at_a_station_of_any_size(name: str) -> None:
    """S1-3: a StatusNotification took 3 ms at a station with 20,000 connectors."""
    few, many = (steps(told(*size), RECORDS[name]) for size in ((3, 6), (200, 500)))
    assert few > 100
    assert many <= few * 1.1


def test_a_reading_costs_the_same_in_a_session_of_any_length(monkeypatch: pytest.MonkeyPatch) -> None:
    """Folding looks at a part before a block, the block, and a part after it."""
    judged: list[int] = []

    def counting(rating: Any, station: Any, session: Any, readings: Any, unkept: int) -> object:
        judged.append(len(readings) // STRIDE)
        return original(rating, station, session, readings, unkept)

    original, whole = folding._judged, 400
    monkeypatch.setattr(folding, "_judged", counting)
    monkeypatch.setattr(folding, "WHOLE", whole)
    stage = Stage()
    stage.feed(SessionStarted(station_id=STATION, event_time_us=us(0), received_time_us=us(0), connector_id=1,
                              transaction_id="t0", register_wh=0))  # fmt: skip
    for second in range(1, 30_000):
        stage.feed(read(us(second), second))
    assert 100 < len(judged) <= 2 * 30_000 // whole
    assert max(judged) <= whole // 2 + (whole + 60) + BLOCK
