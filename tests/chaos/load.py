"""The load as a process of its own: `python -m tests.chaos.load OPTIONS`, with options as JSON.

At an even pace until its standard input ends, then as fast as the broker takes it; so it lasts as long as the schedule.
Every now and then a record is cut off, as a broken gateway would do.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from pipeline import topics
from pipeline.domain.pseudonyms import control_key
from pipeline.edge.faults import parse_faults
from pipeline.edge.producer import Record, produce, signed
from pipeline.edge.simulator import FleetConfig, simulate
from pipeline.kafka_config import producer_config
from pipeline.settings import Settings
from pipeline.topics import LARGEST_RECORD
from pipeline.wire.control import Control
from tests.hostile.records import FOREIGN_KEYS, HOSTILE, hostile

DAMAGED_EVERY = 2_003
SECOND = 1_000_000
POISON_EVERY = 20
LIVE_STATIONS = 6
LIVE_SESSION_S = 20
POISONERS = frozenset({*(station.encode() for station in HOSTILE), *FOREIGN_KEYS})
"""Keys whose outputs are not compared."""
SLICE_S = 0.02
"""Even, not in surges: between two of them everything would be committed, and a kill would hit workers at rest."""


def fleet_config(options: dict[str, Any]) -> FleetConfig:
    return FleetConfig(
        seed=options["seed"],
        stations=options["stations"],
        sites=max(1, options["stations"] // 20),
        days=options["days"],
        sessions=options["sessions"],
        faults=parse_faults("all"),
    )


def _damaged(records: Iterator[Record]) -> Iterator[Record]:
    for number, (due_us, key, value) in enumerate(records):
        yield due_us, key, value
        if key is not None and number % DAMAGED_EVERY == 0:
            yield due_us, key, value[: len(value) // 2]


def _paced(hurry: threading.Event, records: Iterator[Record], per_second: int) -> Iterator[Record]:
    """What is due within SLICE_S comes at once; without pace after `hurry`."""
    began, slice_ = time.monotonic(), max(1, round(per_second * SLICE_S))
    for number, record in enumerate(records):
        if number % slice_ == 0:
            hurry.wait(max(0.0, number / per_second - (time.monotonic() - began)))
        yield record


def _poisoned(records: Iterator[Record], since: Path, seed: int, clock: str) -> Iterator[Record]:
    """Every POISON_EVERY-th record is one of a hostile station or producer, as far as a producer can send it.

    From when the file `since` is there: an earlier release may not survive it.
    """
    sendable = (
        (key, value) for key, value in hostile(seed, clock) if value is not None and len(value) <= LARGEST_RECORD + 1
    )
    for number, record in enumerate(records):
        yield record
        if number % POISON_EVERY == 0 and since.exists():
            yield record[0], *next(sendable)


def is_honest(key: bytes | None, value: bytes) -> bool:
    """Is it no record of a hostile station, and no tick of a hostile clock?"""
    return key not in POISONERS and (key is not None or b'"nobody"' not in value)


def _with_live(records: Iterator[Record], stations: int) -> Iterator[Record]:
    """A few stations on the clock of the world beside the simulated ones: only for these do live ticks mean time."""
    began = time.time()
    for record in records:
        while stations and began <= time.time():
            second = round(began)
            for number in range(stations):
                yield second * SECOND, f"LIVE-{number}".encode(), _live_event(f"LIVE-{number}", second + 7 * number)
            began += 1
        yield record


def _live_event(station: str, second: int) -> bytes:
    """A session of 20 s every 20 s, and its readings."""
    session, after = divmod(second, LIVE_SESSION_S)
    kinds = {0: "session_started", LIVE_SESSION_S - 1: "session_ended"}
    event = {
        "type": kinds.get(after, "meter_read"), "station_id": station, "connector_id": 1,
        "transaction_id": f"{station}-{session}", "event_time_us": second * SECOND, "register_wh": second % 10**9 * 3,
    }  # fmt: skip
    return msgspec.json.encode(event)


def main(options: dict[str, Any]) -> None:
    hurry = threading.Event()

    def listen() -> None:
        sys.stdin.read()
        hurry.set()

    threading.Thread(target=listen, daemon=True).start()
    source = topics.METER_EVENTS.name
    control = Control(control_key(Path(options["keys_file"]).read_bytes(), "keyring"), source)
    config = fleet_config(options)
    honest = _damaged(signed(simulate(config), control))
    load = _poisoned(honest, Path(options["poison"]), config.seed, config.clock) if options["poison"] else honest
    records = _with_live(_paced(hurry, load, options["rate"]), options["live"])
    report = produce(records, source, producer_config(Settings(kafka=options["kafka"])))
    Path(options["report"]).write_bytes(msgspec.json.encode(report))


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
