"""Times that no clock shows are refused at the door of the assembly, whatever the record is (S1-5)."""

from __future__ import annotations

import msgspec
import pytest

from pipeline.domain.bounds import AHEAD_US
from pipeline.domain.events import ClockTicked, MeterRead, SessionEnded, SessionStarted
from pipeline.domain.metering.conservation import tally
from pipeline.domain.station import DAY, HOUR, MINUTE
from pipeline.errors import InvalidMessage
from tests.long_sessions import STATION, Stage
from tests.receipts import STARTED_US

YEAR_9999_US = 253_402_300_799_999_999
APPENDED_MS = STARTED_US // 1000


def started(at_us: int = STARTED_US, **more: object) -> SessionStarted:
    return SessionStarted(
        station_id=STATION, event_time_us=at_us, connector_id=1, transaction_id="t1", register_wh=1_000,
        **more,  # type: ignore[arg-type]  # only known fields are passed
    )  # fmt: skip


def feed(stage: Stage, event: object, append_ms: int = APPENDED_MS) -> list[str]:
    return [output.topic for output in stage.offline.feed(STATION.encode(), msgspec.json.encode(event), append_ms)]


@pytest.mark.parametrize("field", ["event_time_us", "received_time_us"])
def test_a_live_event_a_day_ahead_of_the_brokers_clock_is_taken_and_a_later_one_refused(field: str) -> None:
    def read(at_us: int) -> MeterRead:
        event = MeterRead(
            station_id=STATION, event_time_us=STARTED_US, transaction_id="t1", connector_id=1, register_wh=2_000
        )
        return msgspec.structs.replace(event, **{field: at_us})

    taken, stage = Stage(), Stage()
    for each in (taken, stage):
        feed(each, started())
    feed(taken, read(STARTED_US + AHEAD_US))
    assert taken.station.seen_us == STARTED_US + AHEAD_US
    before = stage.logic.dump(stage.station)
    with pytest.raises(InvalidMessage, match="a day ahead of the broker's clock") as refused:
        feed(stage, read(STARTED_US + AHEAD_US + 1))
    assert refused.value.reason == "CLOCK_WRONG"
    assert stage.logic.dump(stage.station) == before


def test_a_simulation_has_a_clock_of_its_own() -> None:
    stage = Stage()
    feed(stage, started(STARTED_US + 90 * DAY, clock="sim-1"))
    assert "t1" not in stage.station.sessions  # its key is a hash
    assert len(stage.station.sessions) == 1


def test_a_clock_that_the_receive_time_corrects_is_no_reason() -> None:
    stage = Stage()
    feed(stage, started(STARTED_US + 80 * 365 * DAY, received_time_us=STARTED_US))
    assert len(stage.station.sessions) == 1


@pytest.mark.parametrize("first", ["start", "stop"])
def test_a_stop_of_the_year_9999_is_a_dead_letter(first: str) -> None:
    """S1-5b and c: an endless loop over 8,000 years of slots, or "date value out of range"."""
    stage = Stage()
    stop = SessionEnded(station_id=STATION, event_time_us=YEAR_9999_US, transaction_id="t1", register_wh=2_000)
    for event in (started(), stop) if first == "start" else (stop, started()):
        topics = feed(stage, event, 1 << 62)  # offline nothing tells the broker's clock
        assert ("dead-letters" in topics) is (event is stop)
    stage.feed(ClockTicked(time_us=STARTED_US + 25 * HOUR))
    stage.feed(ClockTicked(time_us=STARTED_US + 49 * HOUR))
    (session,) = stage.sessions.values()
    assert session.ended_at_us == STARTED_US
    assert not tally(stage.station).stations_off


def test_a_frame_that_was_received_in_the_future_is_a_dead_letter() -> None:
    """OCPP frames carry the receive time of their gateway."""
    stage = Stage()

    def heartbeat(received_at: str) -> list[str]:
        frame = {
            "station_id": STATION, "received_at": received_at, "direction": "cp->csms",
            "frame": [2, "1", "Heartbeat", {}],
        }  # fmt: skip
        value = msgspec.json.encode(frame)
        return [output.topic for output in stage.offline.feed(STATION.encode(), value, APPENDED_MS)]

    assert heartbeat("2025-06-16T19:41:00Z") == []
    assert heartbeat("2025-06-18T19:41:00Z") == ["dead-letters"]
    assert stage.station.seen_us == STARTED_US + MINUTE
    assert not tally(stage.station).stations_off
