"""A station in the middle of its life, told by events: what came before a worker was upgraded, and what comes after.

One session is billed and in the archive, one is open, one start waits for its answer (OCPP 1.6), one bill is held.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from pipeline.agents.assembly import Assembly
from pipeline.domain.events import BillDecided, ClockTicked, MeterRead, SessionEnded, SessionStarted
from pipeline.domain.station import SECOND, Station
from pipeline.runtime.logic import Output
from pipeline.runtime.offline import MemoryArchive, Offline
from pipeline.runtime.partition.changelog import decode_state
from pipeline.wire.meter_events import Decoder
from tests.receipts import KEYRING, TOKEN, TRANSACTION, at, in_time, rating

KEY = b"CP-1"
OPEN, HELD = "TX-OPEN", "TX-HELD"
OPEN_FROM, HELD_FROM = at(170), at(140)
IMPOSSIBLE_WH = 900_000_000


def stage() -> Offline[Station]:
    return Offline(Assembly(rating(), Decoder(KEYRING)))


def before() -> Iterator[bytes]:
    """The stop of the first session does not come: the next start closes it, and it goes to the archive."""
    yield from (msgspec.json.encode(each) for each in in_time() if type(each) is not SessionEnded)
    yield _start("TX-NEXT", at(50), 107_200)
    yield _end("TX-NEXT", at(60), 109_000)
    for minute in (75, 110, 130):
        yield msgspec.json.encode(ClockTicked(time_us=at(minute)))
    yield _start(HELD, HELD_FROM, 110_000)
    yield _end(HELD, at(150), 110_000 + IMPOSSIBLE_WH)
    yield msgspec.json.encode(ClockTicked(time_us=at(165)))
    yield _start(OPEN, OPEN_FROM, 110_500)
    for minute in range(1, 10):
        yield _read(OPEN, at(170 + minute), 110_500 + 180 * minute)
    start = {"connectorId": 2, "idTag": TOKEN, "meterStart": 5_000, "timestamp": _iso(at(180))}
    yield _frame(at(180), "cp->csms", [2, "call-1", "StartTransaction", start])


def after(held: str) -> Iterator[bytes]:
    """The answer; the stop of the archived session; the end of the open one; somebody gives up the bill of `held`."""
    yield _frame(at(181), "csms->cp", [3, "call-1", {"transactionId": 88, "idTagInfo": {"status": "Accepted"}}])
    yield _end(TRANSACTION, at(40), 107_200)
    yield msgspec.json.encode(ClockTicked(time_us=at(185)))
    yield _read(OPEN, at(186), 113_380)
    yield _end(OPEN, at(190), 114_100)
    yield msgspec.json.encode(BillDecided(station_id="CP-1", event_time_us=at(191), session_id=held, decision="waive"))
    yield msgspec.json.encode(ClockTicked(time_us=at(210)))


def tell(stage: Offline[Station], values: Iterable[bytes]) -> list[Output]:
    return [output for value in values for output in stage.feed(None if b"clock_ticked" in value else KEY, value)]


def restored(folder: Path) -> Offline[Station]:
    """A stage that goes on with a recorded station; its wake-ups are planned with its next event."""
    archive = MemoryArchive()
    for file in folder.glob("*.archived"):
        archive.put(file.stem.encode(), file.read_bytes())
    version, _, body = decode_state((folder / "station.record").read_bytes())
    found = stage()
    found.states[KEY] = Assembly(rating(), Decoder(KEYRING)).load(KEY, body, version, archive)
    return found


def _start(transaction: str, at_us: int, register_wh: int) -> bytes:
    return msgspec.json.encode(
        SessionStarted(
            station_id="CP-1", event_time_us=at_us, received_time_us=at_us, connector_id=1, transaction_id=transaction,
            register_wh=register_wh, token=TOKEN,
        )
    )  # fmt: skip


def _read(transaction: str, at_us: int, register_wh: int) -> bytes:
    return msgspec.json.encode(
        MeterRead(
            station_id="CP-1", event_time_us=at_us, received_time_us=at_us, connector_id=1, transaction_id=transaction,
            register_wh=register_wh, state="charging",
        )
    )  # fmt: skip


def _end(transaction: str, at_us: int, register_wh: int) -> bytes:
    return msgspec.json.encode(
        SessionEnded(
            station_id="CP-1", event_time_us=at_us, received_time_us=at_us, transaction_id=transaction,
            register_wh=register_wh,
        )
    )  # fmt: skip


def _frame(at_us: int, direction: str, frame: list[object]) -> bytes:
    return json.dumps(
        {"station_id": "CP-1", "received_at": _iso(at_us), "direction": direction, "frame": frame}
    ).encode()


def _iso(at_us: int) -> str:
    return datetime.fromtimestamp(at_us // SECOND, UTC).isoformat()
