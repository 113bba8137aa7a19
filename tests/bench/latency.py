"""Latency at half load: from the append of a faulty session's stop to its alert in `anomalies`, and to a row to query.

Events are written at a steady rate by the wall clock, with the same mix as for throughput. One session in FAULTY_EVERY
ends with a register that its connector cannot deliver: an IMPOSSIBLE_ENERGY alert is due at once. Only a station's
first such session counts, so that station and rule name the alert and the row.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import islice

import msgspec
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, Message, Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from pipeline import topics
from pipeline.cli.up import prepare
from pipeline.edge.uniform import IMPOSSIBLE_WH, bench_events
from pipeline.embedded.clickhouse import EmbeddedClickHouse
from pipeline.kafka_config import client_config, producer_config
from pipeline.storage.connection import connect
from tests.bench.contenders import ASSIGNED, RESTORED, wait_said, worker
from tests.bench.measure import Child
from tests.bench.platform import HEADLINE, OUTPUTS, SOURCE, Platform, write_documents
from tests.endpoint import owner_url

FAULTY_EVERY = 3
RULE = "IMPOSSIBLE_ENERGY"
SLICE_S = 0.005
PAUSE_S = 60
"""Short, so that starts and ends come evenly: with an hour all stations would rest together, and time would jump."""
LOOK_S = 0.25
PATIENCE_S = 20.0
WARM_UP_S = 5.0
_FAULTY = b'"session_ended"'


@dataclass(slots=True)
class Seen:
    """Station -> wall clock seconds: append of the faulty stop, alert received, row seen by a query."""

    appended: dict[str, float] = field(default_factory=dict)
    alerts: dict[str, float] = field(default_factory=dict)
    rows: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Latency:
    rate: float
    """Events a second that were really written."""
    samples: int
    alert_p50_s: float
    alert_p99_s: float
    row_p50_s: float
    row_p99_s: float
    missing_alerts: int
    missing_rows: int


class _Stop(msgspec.Struct):
    station_id: str
    register_wh: int = 0


def latency(platform: Platform, stations: int, rate: float, seconds: float) -> Latency:
    """Runs both workers and a ClickHouse for `seconds` at `rate` events a second, and waits for the last rows."""
    platform.renew([SOURCE, *OUTPUTS])
    write_documents(platform.folder, stations)
    pace = replace(HEADLINE, faulty_every=FAULTY_EVERY, pause_s=PAUSE_S)
    records = list(islice(bench_events(stations, 3, pace), int(rate * (seconds + WARM_UP_S))))
    with EmbeddedClickHouse(platform.folder / "clickhouse", 0) as clickhouse:
        url = owner_url(clickhouse)
        prepare(replace(platform.settings, clickhouse_url=url))
        children: list[Child] = []
        try:
            for stage, said in (("assemble", RESTORED), ("store", ASSIGNED)):
                children.append(worker(platform, "bench-latency", 0, stage, CLICKHOUSE_URL=url))
                wait_said(children[-1], said)
            seen, stop = Seen(), threading.Event()
            with _observing(platform, url, seen, stop):
                took = _write(platform, records, rate, seen)
                deadline = time.monotonic() + PATIENCE_S
                while time.monotonic() < deadline and seen.appended.keys() - seen.rows.keys():
                    for child in children:
                        child.check()
                    time.sleep(0.1)
        finally:
            for child in children:
                child.stop()
    return _result(seen, len(records) / took)


def _write(platform: Platform, records: Sequence[tuple[bytes | None, bytes]], rate: float, seen: Seen) -> float:
    """In slices of SLICE_S; the first WARM_UP_S leave no samples. Returns how long it took."""
    producer = Producer(producer_config(platform.settings) | {"linger.ms": 5})
    began = time.monotonic()

    def appended(error: KafkaError | None, message: Message) -> None:
        if error is None and time.monotonic() - began > WARM_UP_S:
            stop = msgspec.json.decode(message.value() or b"", type=_Stop)
            seen.appended.setdefault(stop.station_id, message.timestamp()[1] / 1000)

    told: set[bytes] = set()
    partitions = range(platform.partitions)
    for number, (key, value) in enumerate(records):
        if key is None:
            for partition in partitions:
                producer.produce(SOURCE, value, None, partition)
        elif _FAULTY in value[:30] and key not in told and _is_impossible(value):
            told.add(key)
            producer.produce(SOURCE, value, key, on_delivery=appended)
        else:
            producer.produce(SOURCE, value, key)
        if number % 50 == 0:
            producer.poll(0)
            ahead_s = number / rate - (time.monotonic() - began)
            if ahead_s > SLICE_S:
                time.sleep(ahead_s)
    producer.flush(30)
    return time.monotonic() - began


def _is_impossible(value: bytes) -> bool:
    return msgspec.json.decode(value, type=_Stop).register_wh > IMPOSSIBLE_WH


@contextmanager
def _observing(platform: Platform, clickhouse_url: str, seen: Seen, stop: threading.Event) -> Iterator[None]:
    """A subscriber of `anomalies` that reads committed, and an analyst who asks every LOOK_S."""
    threads = [
        threading.Thread(target=_alerts, args=(platform, seen, stop), daemon=True),
        threading.Thread(target=_rows, args=(clickhouse_url, seen, stop), daemon=True),
    ]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join(10)


def _alerts(platform: Platform, seen: Seen, stop: threading.Event) -> None:
    consumer = Consumer(
        client_config(platform.settings)
        | {"group.id": "bench-alerts", "isolation.level": "read_committed", "fetch.wait.max.ms": 20}
    )
    topic = topics.ANOMALIES.name
    found = AdminClient(client_config(platform.settings)).list_topics(topic, timeout=10).topics[topic].partitions
    consumer.assign([TopicPartition(topic, number, OFFSET_BEGINNING) for number in found])
    while not stop.is_set():
        for message in consumer.consume(500, 0.02):
            now, value = time.time(), message.value()
            if message.error() is None and value is not None and RULE.encode() in value:
                seen.alerts.setdefault((message.key() or b"").decode(), now)
    consumer.close()


def _rows(url: str, seen: Seen, stop: threading.Event) -> None:
    client = connect(url, "default", "", "charging")
    query = f"SELECT DISTINCT station_id FROM sessions WHERE has(flags, '{RULE}')"  # noqa: S608 - our own constant
    while not stop.is_set():
        found = client.query(query).result_rows
        now = time.time()
        for (station,) in found:
            seen.rows.setdefault(station, now)
        stop.wait(LOOK_S)
    client.close()


def _result(seen: Seen, rate: float) -> Latency:
    alerts = sorted(seen.alerts[each] - at for each, at in seen.appended.items() if each in seen.alerts)
    rows = sorted(seen.rows[each] - at for each, at in seen.appended.items() if each in seen.rows)
    return Latency(
        rate=rate,
        samples=len(seen.appended),
        alert_p50_s=share(alerts, 0.50),
        alert_p99_s=share(alerts, 0.99),
        row_p50_s=share(rows, 0.50),
        row_p99_s=share(rows, 0.99),
        missing_alerts=len(seen.appended) - len(alerts),
        missing_rows=len(seen.appended) - len(rows),
    )


def share(ordered: Sequence[float], part: float) -> float:
    """The smallest value that `part` of all values do not exceed."""
    if not ordered:
        raise ValueError("no sample: neither an alert nor a row was seen")
    return ordered[max(0, min(len(ordered) - 1, round(part * len(ordered)) - 1))]
