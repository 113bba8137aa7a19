"""From the first signed tick of a partition on, nothing unsigned moves time or money there; a replay repeats that."""

from __future__ import annotations

import json
from typing import Any

import msgspec

from pipeline.agents.assembly import Assembly
from pipeline.domain.events import BillDecided, ClockTicked, SessionEnded, SessionStarted
from pipeline.domain.rating import Rating
from pipeline.wire.control import Control
from pipeline.wire.meter_events import METER_EVENTS, Decoder
from tests.builders import KEYS
from tests.runtime.partition_log import PartitionLog

CONTROL = Control(KEYS.control_key, METER_EVENTS)
FORGER = Control(b"f" * 32, METER_EVENTS)
SECOND = 1_000_000
BEGAN = 1_790_000_000 * SECOND
KEY = b"CP-1"


def log() -> PartitionLog:
    return PartitionLog(Assembly(Rating(KEYS), Decoder(KEYS)))


def tick(after_s: int) -> tuple[None, bytes]:
    return None, msgspec.json.encode(ClockTicked(time_us=BEGAN + after_s * SECOND, clock="sim"))


def signed(record: tuple[Any, bytes], control: Control = CONTROL) -> tuple[Any, bytes]:
    return record[0], control.sign(record[1])


def session() -> list[tuple[bytes, bytes]]:
    """Of ten minutes, on clock sim; without a site its bill is held."""
    place: dict[str, Any] = {"station_id": "CP-1", "connector_id": 1, "transaction_id": "7", "clock": "sim"}
    started = SessionStarted(event_time_us=BEGAN, register_wh=1000, **place)
    ended = SessionEnded(event_time_us=BEGAN + 600 * SECOND, register_wh=3000, **place)
    return [(KEY, msgspec.json.encode(started)), (KEY, msgspec.json.encode(ended))]


def waived(stage: PartitionLog) -> tuple[bytes, bytes]:
    told = [json.loads(each.value or b"") for each in stage.outputs("sessions")]
    event = BillDecided(
        station_id="CP-1", event_time_us=BEGAN + 700 * SECOND, session_id=told[-1]["session_id"], decision="waive",
        clock="sim",
    )  # fmt: skip
    return KEY, msgspec.json.encode(event)


def states(stage: PartitionLog) -> list[tuple[int, str]]:
    told = [json.loads(each.value or b"") for each in stage.outputs("sessions")]
    return [(each["revision"], each["bill_state"]) for each in told]


def test_unsigned_ones_of_before_still_count() -> None:
    stage = log()
    stage.take(*session(), tick(900))
    stage.take(waived(stage), tick(1000), signed(tick(1001)))
    assert stage.refused == []
    assert states(stage) == [(1, "HELD"), (2, "FINAL")]


def test_after_the_first_signed_tick_neither_time_nor_money_moves_unsigned() -> None:
    stage = log()
    stage.take(signed(tick(0)), *session())
    decision = waived(stage)
    stage.take(tick(900), signed(tick(900), FORGER), decision, signed(decision, FORGER))
    assert stage.refused == ["NOT_SIGNED", "BAD_SIGNATURE"] * 2
    assert states(stage) == [(1, "HELD")]
    stage.take(signed(decision))
    assert states(stage) == [(1, "HELD"), (2, "FINAL")]


def test_a_restart_and_a_replay_believe_what_the_first_run_believed() -> None:
    """The fact is durable, and older records that are applied again are believed as they were."""
    stage = log()
    stage.take(*session())
    decision = waived(stage)
    stage.take(decision)
    stage.checkpoint(write_s=1e9)  # the state record is still to come: all of it is applied again
    stage.take(signed(tick(900)), tick(901))
    stage.checkpoint(write_s=1e9)
    stage.crash()
    stage.take(tick(902), decision)
    assert stage.refused == ["NOT_SIGNED"] * 3
    stage.checkpoint()
    stage.crash()
    stage.take(tick(903))
    assert stage.refused == ["NOT_SIGNED"] * 4
    assert states(stage) == [(1, "HELD"), (2, "FINAL")]


def set_aside(*first: tuple[Any, bytes]) -> PartitionLog:
    """Its state was above the bound, which is raised by now."""
    stage = PartitionLog(Assembly(Rating(KEYS), Decoder(KEYS)), max_state_bytes=10)
    stage.take(*first, *session())
    stage.checkpoint()
    stage.take(signed(tick(5)) if first else tick(5))
    stage.checkpoint()
    assert set(stage.partition.quarantine.set_aside) == {KEY}
    stage.max_state_bytes = 900_000
    stage.crash()
    return stage


def test_only_who_has_the_key_releases_a_station() -> None:
    stage = set_aside(signed(tick(0)))
    mark = stage.partition.quarantine.set_aside[KEY].mark
    assert mark is not None
    stage.release(KEY)
    stage.release(KEY, b"", FORGER.sign_release(KEY, b"", mark.at_ms))
    stage.release(KEY, b"", CONTROL.sign_release(KEY, b"", mark.at_ms - 1))
    stage.release(KEY, b"afresh", CONTROL.sign_release(KEY, b"", mark.at_ms))
    stage.release(KEY, b"", CONTROL.sign_release(b"CP-2", b"", mark.at_ms))
    assert stage.refused == ["NOT_SIGNED"] + ["BAD_SIGNATURE"] * 4
    assert set(stage.partition.quarantine.set_aside) == {KEY}
    stage.release(KEY, b"", CONTROL.sign_release(KEY, b"", mark.at_ms))
    assert stage.partition.quarantine.set_aside == {}
    assert KEY in stage.partition.entries


def test_a_release_from_before_there_were_signatures_still_counts() -> None:
    stage = set_aside()
    stage.release(KEY)
    assert stage.partition.quarantine.set_aside == {}
