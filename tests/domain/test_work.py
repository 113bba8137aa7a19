"""What a record costs does not grow with what its station has: work is counted, because time depends on the machine."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

import msgspec
import pytest

from pipeline.domain.events import MeterRead, SessionStarted, StationSeen, StatusReported
from pipeline.domain.metering import levels
from pipeline.domain.publishing import folding
from pipeline.domain.session import neighbours, readings
from pipeline.domain.session.finding import is_on
from pipeline.domain.station import STRIDE
from pipeline.domain.station_codec import BLOCK
from tests.builders import Bench, us
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
    value = msgspec.json.encode(event)
    outputs: list[object] = []
    counted = steps_of(lambda: outputs.extend(stage.offline.feed(STATION.encode(), value)))
    assert not isinstance(event, StatusReported) or outputs  # its site was told
    return counted


def steps_of(work: Callable[[], object]) -> int:
    counted = 0

    def count(frame: FrameType, event: str, argument: object) -> Callable[..., Any]:
        nonlocal counted
        frame.f_trace_opcodes = True
        counted += event == "opcode"
        return count

    before = sys.gettrace()
    sys.settrace(count)
    try:
        work()
    finally:
        sys.settrace(before)
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


def test_a_register_of_the_begin_costs_the_same_in_a_session_of_any_length() -> None:
    """Some firmware sends it with each reading."""

    def costs(readings: int) -> int:
        stage = told(1, 1)
        for second in range(10, 10 + readings):
            stage.feed(read(us(second), 5_000 + second))
        within_the_minute = us(9 + readings) + 1  # so that no live update is told
        return steps(stage, msgspec.structs.replace(read(within_the_minute, 5_100), context="begin"))

    few, many = costs(200), costs(1_600)
    assert few > 100
    assert many <= few * 1.1


def test_sessions_one_after_the_other_are_not_compared_pair_by_pair(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[bool] = []

    def counting(first: Any, second: Any) -> bool:
        compared.append(share(first, second))
        return compared[-1]

    share = neighbours._share
    monkeypatch.setattr(neighbours, "_share", counting)
    bench, sessions = Bench(), 60
    for number in range(sessions):
        bench.start(300 * number, 1_000 + 10 * number, f"t{number}", token="a")  # noqa: S106 - of no driver
        bench.read(300 * number + 200, 1_005 + 10 * number, f"t{number}")
        bench.stop(300 * number + 200, 1_005 + 10 * number, f"t{number}")
    assert len(bench.station.sessions) == sessions
    assert len(compared) <= sessions
    bench.start(300 * sessions - 280, 1_594, "again", token="a")  # noqa: S106
    bench.stop(300 * sessions - 200, 1_595, "again")
    assert True in compared  # those that overlap are


def test_levels_of_a_clock_that_drifts_cost_the_same_for_each_message() -> None:
    """Each message has a lag of its own; all of them were compared with all."""

    def costs(messages: int) -> int:
        minute = 60_000_000
        observations = [(us(0) + number * minute, number * minute) for number in range(messages)]
        return steps_of(lambda: levels.levels_of(observations))

    assert 100 < costs(400) <= costs(200) * 2.2


def test_readings_without_transaction_do_not_look_for_what_can_be_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[object] = []

    def counting(session: Any, connector_id: Any) -> bool:
        looked.append(session)
        return is_on(session, connector_id)

    monkeypatch.setattr(readings, "is_on", counting)
    bench = Bench()
    bench.start(0, 1_000)
    for second in range(1, 300):
        bench.read(second, 1_000 + second, None, tx_hint="zero")
    assert not looked
    bench.read(4_000, 2_000, None, tx_hint="zero")
    assert looked
