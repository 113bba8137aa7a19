"""Any bytes at all: a dead letter with its reason and the original bytes, and what is good beside it goes on."""

from __future__ import annotations

import json
from functools import partial
from typing import Any, NamedTuple
from uuid import uuid4

import msgspec
import pytest
from confluent_kafka import KafkaError, Message, Producer

from pipeline.runtime.murmur import partition_of
from pipeline.topics import LARGEST_RECORD
from pipeline.wire import dead_letters
from tests.integration.stack import Stack, json_lines

PARTITIONS = 8
RUN = uuid4().hex[:8]
CLOCK = f"bad-{RUN}"
STATION, OCPP_STATION, MOVED_STATION = (f"{name}-{RUN}" for name in ("GOOD", "OCPP", "MOVED"))
BEGIN_US = 1_772_438_400_000_000  # 2026-03-02T08:00Z
MINUTE_US = 60_000_000
ELSEWHERE = 1
"""Added to the right partition it gives a wrong one."""


class Sent(NamedTuple):
    """A record, and the reason for which it must be refused; None: it is good."""

    reason: str | None
    key: bytes | None
    value: bytes | None
    partition: int


def event(kind: str, station: str = STATION, minutes: int = 0, **fields: Any) -> bytes:
    common = {"type": kind, "station_id": station, "event_time_us": BEGIN_US + minutes * MINUTE_US, "clock": CLOCK}
    return json.dumps(common | {"connector_id": 1, "transaction_id": f"{station}-1"} | fields).encode()


def frame(content: list[Any], minutes: int, direction: str = "cp->csms") -> bytes:
    at = f"2026-03-02T08:{minutes:02d}:00Z"
    envelope = {"station_id": OCPP_STATION, "received_at": at, "direction": direction, "clock": CLOCK, "frame": content}
    return json.dumps(envelope).encode()


def sent(reason: str | None, key: str | None, value: bytes | None, beside: int = 0) -> Sent:
    encoded = None if key is None else key.encode()
    partition = 0 if encoded is None else (partition_of(encoded, PARTITIONS) + beside) % PARTITIONS
    return Sent(reason, encoded, value, partition)


def session(station: str, last_beside: int = 0) -> list[Sent]:
    """1,500 Wh in half an hour."""
    return [
        sent(None, station, event("session_started", station, register_wh=1_000)),
        sent(None, station, event("meter_read", station, 10, register_wh=1_400)),
        sent(None, station, event("meter_read", station, 20, register_wh=2_100)),
        sent(
            "WRONG_PARTITION" if last_beside else None,
            station,
            event("session_ended", station, 30, register_wh=2_500, reason="EVDisconnected"),
            last_beside,
        ),
    ]


def ocpp_session() -> list[Sent]:
    """500 Wh; one of three samples is no number, one has no time."""
    samples = [
        {
            "timestamp": "2026-03-02T08:10:00Z",
            "sampledValue": [{"value": "1200"}, {"value": "much", "measurand": "SoC"}],
        },
        {"timestamp": "yesterday", "sampledValue": [{"value": "1300"}]},
    ]
    start = {"connectorId": 1, "idTag": "SYNTHETIC-1", "meterStart": 1_000, "timestamp": "2026-03-02T08:00:00Z"}
    confirmed = {"idTagInfo": {"status": "Accepted"}, "transactionId": 77}
    read = {"connectorId": 1, "transactionId": 77, "meterValue": samples}
    stop = {"transactionId": 77, "meterStop": 1_500, "timestamp": "2026-03-02T08:30:00Z"}
    values = [
        frame([2, "m-1", "StartTransaction", start], 0),
        frame([3, "m-1", confirmed], 0, "csms->cp"),
        frame([2, "m-2", "MeterValues", read], 20),
        frame([2, "m-3", "StopTransaction", stop], 30),
    ]
    return [sent(None, OCPP_STATION, value) for value in values]


BAD = [
    sent("MALFORMED_JSON", STATION, b"\x00\xff garbage \xfe"),
    sent("MALFORMED_JSON", STATION, b""),
    sent("MALFORMED_JSON", STATION, b"x" * LARGEST_RECORD),
    sent("MALFORMED_JSON", STATION, b'{"a":' * 100_000),
    sent("EMPTY_VALUE", STATION, None),
    sent("WRONG_PARTITION", f"NEW-{RUN}", event("meter_read", f"NEW-{RUN}", register_wh=1), ELSEWHERE),
    sent("WRONG_KEY", STATION, event("meter_read", OCPP_STATION, register_wh=1)),
    sent("INVALID_KEY", "zero\0byte", event("meter_read", "zero\0byte", register_wh=1)),
    sent("UNSUPPORTED_VERSION", STATION, event("meter_read", register_wh=1, version=2)),
    sent("UNKNOWN_TYPE", STATION, event("meter_guessed", register_wh=1)),
    sent("SCHEMA_VIOLATION", STATION, event("meter_read", register_wh="a lot")),
    sent("SCHEMA_VIOLATION", STATION, event("meter_read", register_wh=1, event_time_us=None)),
    sent("SCHEMA_VIOLATION", STATION, b'{"station_id": "x"}'),
    sent("SCHEMA_VIOLATION", OCPP_STATION, frame([2, "m-9"], 25)),
    sent("KEY_MISSING", None, event("meter_read", register_wh=1)),
    sent("TICK_AHEAD", None, b'{"type":"clock_ticked","time_us":9000000000000000}'),
    sent("TICK_WITH_KEY", STATION, b'{"type":"clock_ticked","time_us":1,"clock":"%s"}' % CLOCK.encode()),
]


@pytest.fixture(scope="module")
def arrived(stack: Stack) -> dict[tuple[int, int], Sent]:
    """Where each record lies: bad ones between any two good ones, then time passes."""
    good = session(STATION) + ocpp_session() + session(MOVED_STATION, ELSEWHERE)
    mixed = [record for number, one in enumerate(good) for record in (*BAD[number :: len(good)], one)]
    ticks = [sent(None, None, tick(hours)) for hours in range(1, 4)]
    places = produce(stack, [*mixed, *(one._replace(partition=p) for one in ticks for p in range(PARTITIONS))])
    stack.wait()
    return places


def tick(hours: int) -> bytes:
    return json.dumps({"type": "clock_ticked", "time_us": BEGIN_US + 60 * hours * MINUTE_US, "clock": CLOCK}).encode()


def produce(stack: Stack, records: list[Sent]) -> dict[tuple[int, int], Sent]:
    producer = Producer({"bootstrap.servers": stack.settings.kafka, "message.max.bytes": 5_242_880, "linger.ms": 0})
    places: dict[tuple[int, int], Sent] = {}

    def take(one: Sent, error: KafkaError | None, message: Message) -> None:
        assert error is None, error.str()
        places[message.partition() or 0, message.offset() or 0] = one

    for one in records:
        is_tick = one.reason is None and one.key is None and one.value is not None
        value = stack.control.sign(one.value or b"") if is_tick else one.value
        producer.produce("meter-events", value, one.key, one.partition, on_delivery=partial(take, one))
    assert producer.flush(60) == 0
    assert len(places) == len(records)
    return places


def letters(stack: Stack) -> dict[tuple[int, int], list[tuple[str, bytes | None, bytes | None]]]:
    """Place of the source record -> reason, key and bytes of its dead letters."""
    found: dict[tuple[int, int], list[tuple[str, bytes | None, bytes | None]]] = {}
    for record in stack.records("dead-letters"):
        cause = dead_letters.decode(dead_letters.headers_of(record.headers()))
        assert cause.topic == "meter-events"
        assert cause.detail
        found.setdefault((cause.partition, cause.offset), []).append((cause.reason, record.key(), record.value()))
    return found


def current(stack: Stack, station: str) -> list[dict[str, Any]]:
    found = stack.rows("SELECT station_id, energy_wh, status, evidence FROM sessions_current")
    return [row for row in found if row["station_id"] == station]


def test_each_bad_record_is_one_dead_letter_with_reason_place_and_bytes(
    stack: Stack, arrived: dict[tuple[int, int], Sent]
) -> None:
    told = letters(stack)
    for place, one in arrived.items():
        if one.reason is not None:
            assert [(reason, key) for reason, key, _ in told.get(place, [])] == [(one.reason, one.key)]
            assert told[place][0][2] == one.value, one.reason
    refused = {place for place, one in arrived.items() if one.reason is not None}
    bad_parts = {place for place, one in arrived.items() if one.value and b"yesterday" in one.value}
    assert told.keys() == refused | bad_parts


def test_the_bad_parts_of_a_frame_are_told_and_the_rest_is_used(
    stack: Stack, arrived: dict[tuple[int, int], Sent]
) -> None:
    (place,) = (place for place, one in arrived.items() if one.value and b"yesterday" in one.value)
    assert sorted(letters(stack)[place]) == [
        (reason, OCPP_STATION.encode(), arrived[place].value) for reason in ("BAD_TIMESTAMP", "BAD_VALUE")
    ]
    (row,) = current(stack, OCPP_STATION)
    assert (row["energy_wh"], row["status"], row["evidence"]) == (500, "completed", "complete")


@pytest.mark.usefixtures("arrived")
def test_good_records_between_them_make_their_session(stack: Stack) -> None:
    (row,) = current(stack, STATION)
    assert (row["energy_wh"], row["status"], row["evidence"]) == (1_500, "completed", "complete")


def test_clickhouse_knows_places_and_reasons_and_no_content(stack: Stack, arrived: dict[tuple[int, int], Sent]) -> None:
    rows = stack.rows("SELECT source_partition, source_offset, reason FROM rejections FINAL")
    stored = sorted((row["source_partition"], row["source_offset"], row["reason"]) for row in rows)
    assert stored == sorted((*place, reason) for place, found in letters(stack).items() for reason, _, _ in found)
    assert {one.reason for one in arrived.values() if one.reason} <= {reason for _, _, reason in stored}
    assert b"garbage" not in stack.text("SELECT * FROM rejections FORMAT JSONEachRow")


@pytest.mark.usefixtures("arrived")
def test_what_came_to_a_wrong_partition_is_used_after_its_replay(stack: Stack) -> None:
    assert current(stack, MOVED_STATION) == [], "its stop was refused: it is still open"
    listed = stack.chargeline("dead-letters", "list", "--reason", "WRONG_PARTITION", "--json")
    assert {row["bytes"] for row in json_lines(listed.stdout)} >= {len(session(MOVED_STATION)[-1].value or b"")}
    done = stack.chargeline("dead-letters", "replay", "--reason", "WRONG_PARTITION", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["acknowledged"] == 2
    produce(stack, [sent(None, None, tick(4))._replace(partition=p) for p in range(PARTITIONS)])
    stack.wait()
    (after,) = current(stack, MOVED_STATION)
    assert (after["energy_wh"], after["status"], after["evidence"]) == (1_500, "completed", "complete")


def test_detail_and_reason_hold_nothing_of_the_content(stack: Stack, arrived: dict[tuple[int, int], Sent]) -> None:
    told = stack.chargeline("dead-letters", "list", "--json", "--limit", "1000")
    assert len(json_lines(told.stdout)) >= len(BAD)
    for content in (b"garbage", b"much", b"yesterday", b"a lot", b"SYNTHETIC-1", STATION.encode()):
        assert any(content in (one.value or b"") for one in arrived.values())
        assert content.decode() not in told.stdout
    assert msgspec.json.decode(told.stdout.splitlines()[0])["reason"]
