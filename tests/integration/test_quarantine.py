"""A station that outgrows its bound is set aside by a real worker, survives its death, and is released by the command.

Beside it stand records of 6 MB that compress to a few kB: no broker refuses them.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer

from pipeline.runtime.murmur import partition_of
from tests.integration.stack import Stack, json_lines, started

pytestmark = pytest.mark.verify

PARTITIONS = 8
CLOCK = "set-aside-1"
BEGIN_US = 1_772_438_400_000_000  # 2026-03-02T08:00Z
MINUTE_US = 60_000_000
LARGE, SMALL, SENDER = "LARGE-1", "SMALL-1", "SENDER-1"
READINGS = 200
BOUND = 4_000
"""Bytes of a state: fewer than those of so many readings."""


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    with started(tmp_path, station_state_bytes=str(BOUND), state_write_s="1") as stack:
        yield stack


def event(station: str, kind: str, minute: int, **fields: Any) -> bytes:
    common = {"type": kind, "station_id": station, "event_time_us": BEGIN_US + minute * MINUTE_US, "clock": CLOCK}
    return json.dumps(common | {"connector_id": 1, "transaction_id": "1"} | fields).encode()


def session(station: str, last: int) -> list[bytes]:
    reads = [event(station, "meter_read", minute, register_wh=1_000 + minute * 100) for minute in range(1, last)]
    return [event(station, "session_started", 0, register_wh=1_000), *reads]


def end(station: str, last: int) -> bytes:
    return event(station, "session_ended", last, register_wh=1_000 + last * 100, reason="EVDisconnected")


def tick(minute: int) -> bytes:
    return json.dumps({"type": "clock_ticked", "time_us": BEGIN_US + minute * MINUTE_US, "clock": CLOCK}).encode()


def send(stack: Stack, *records: tuple[str | None, bytes]) -> None:
    producer = Producer(
        {"bootstrap.servers": stack.settings.kafka, "message.max.bytes": 8_000_000, "compression.type": "lz4"}
    )
    for key, value in records:
        value = stack.control.sign(value) if b"clock_ticked" in value else value
        for partition in range(PARTITIONS) if key is None else [partition_of(key.encode(), PARTITIONS)]:
            producer.produce("meter-events", value, key, partition)
    assert producer.flush(60) == 0


def quarantined(stack: Stack) -> list[dict[str, Any]]:
    done = stack.chargeline("stations", "quarantined", "--json")
    assert done.returncode == 0, done.stderr
    return list(json_lines(done.stdout))


def wait_for(stack: Stack, stations: set[str]) -> list[dict[str, Any]]:
    deadline = time.monotonic() + 30
    found = quarantined(stack)
    while {each["station_id"] for each in found} != stations:
        assert time.monotonic() < deadline, found
        time.sleep(0.5)
        found = quarantined(stack)
    return found


def current(stack: Stack, station: str) -> list[tuple[Any, ...]]:
    stack.wait()
    query = "SELECT station_id, status, energy_wh, bill_state, held_reason FROM sessions_current"
    return [tuple(row.values())[1:] for row in stack.rows(query) if row["station_id"] == station]


def test_a_station_is_set_aside_and_comes_back(stack: Stack) -> None:
    too_large = b"7" * 6_291_456
    send(stack, *[(LARGE, value) for value in session(LARGE, READINGS)], *[(SMALL, v) for v in session(SMALL, 20)])
    send(stack, (SENDER, too_large), (SMALL, too_large), (None, too_large), (None, tick(1)))
    (aside,) = wait_for(stack, {LARGE})
    assert "a state of" in aside["reason"]
    assert f"the cap is {BOUND}" in aside["reason"]
    assert current(stack, LARGE) == [("open", (READINGS - 1) * 100, "HELD", "STATION_QUARANTINED")]

    stack.kill("assemble")
    send(stack, (LARGE, end(LARGE, READINGS)), (SMALL, end(SMALL, 20)), (None, tick(300)))
    stack.start("assemble")
    stack.wait()
    (aside,) = wait_for(stack, {LARGE})
    assert aside["records"] == 1
    assert [row[:2] for row in current(stack, SMALL)] == [("completed", 2_000)]
    assert [row[:1] for row in current(stack, LARGE)] == [("open",)]

    stack.kill("assemble")
    stack.environment["station_state_bytes"] = "900000"
    stack.start("assemble")
    done = stack.chargeline("stations", "release", LARGE)
    assert done.returncode == 0, done.stderr
    assert "1 records are applied" in done.stdout
    assert wait_for(stack, set()) == []
    send(stack, (None, tick(301)))
    assert current(stack, LARGE) == [("completed", READINGS * 100, "HELD", "SITE_MISSING")]
    assert stack.chargeline("stations", "release", LARGE).returncode == 2

    alerts = stack.rows("SELECT rule, station_id, cleared_at FROM anomalies_current")
    (alert,) = (row for row in alerts if row["rule"] == "STATION_QUARANTINED")
    assert alert["station_id"] == LARGE
    assert alert["cleared_at"] is not None
    letters = [message for message in stack.records("dead-letters") if message.value() is None]
    assert len(letters) == 2 + PARTITIONS
    assert {dict(message.headers() or ())["reason"] for message in letters} == {b"TOO_LARGE"}
