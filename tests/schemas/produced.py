"""The examples of what we write, made by the code that writes it: `python -m tests.schemas.produced` writes the files.

Examples of what others send (meter events, tariffs, sites, spot prices) are written by hand; the decoders read them.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import msgspec

from pipeline.agents.assembly import Assembly
from pipeline.agents.occupancy import Occupancy
from pipeline.domain.events import (
    ClockTicked,
    MeterRead,
    SessionEnded,
    SessionStarted,
    StationSeen,
    StatusReported,
)
from pipeline.domain.rating import Rating
from pipeline.domain.sites.availability import SiteState
from pipeline.domain.station import Station
from pipeline.runtime.logic import Output
from pipeline.runtime.offline import Offline
from pipeline.runtime.partition.changelog import StateRecord, archive_key, encode_state
from pipeline.runtime.partition.partition import Partition
from pipeline.topics import LARGEST_RECORD
from pipeline.wire.meter_events import Decoder
from pipeline.wire.quarantine import Kept, headers_of
from pipeline.wire.tariffs import decode_tariffs
from tests.receipts import KEYRING, TARIFF, TRANSACTION, at, in_time, rating, tell
from tests.runtime.partition_log import PartitionLog
from tests.schemas.declarations import SCHEMAS

Event = SessionStarted | MeterRead | SessionEnded | ClockTicked | StationSeen | StatusReported
Example = Mapping[str, Any]
OFFSET, AT_MS = 41_027, 1_772_436_000_000
HOUR = 60


def produced() -> dict[str, Example]:
    """Path below schemas/examples, without suffix -> the example."""
    found = {
        "sessions/v1/completed": _last("sessions", _outputs(in_time())),
        "sessions/v1/held-without-site": _last("sessions", _outputs(in_time(), Rating(KEYRING, (), _tariffs()))),
        "sessions/v1/missing-stop": _first("sessions", _outputs(_without_stop())),
        "sessions/v1/void": _void(_outputs(_start_comes_late())),
        "session-updates/v1/charging": _first("session-updates", _outputs(_measured())),
        "anomalies/v1/raised": _alert("OVERSTAY", "raised", _outputs(_overstayed())),
        "anomalies/v1/cleared": _alert("OVERSTAY", "cleared", _outputs(_overstayed())),
        "anomalies/v1/of-a-station": _alert("REBOOT_LOOP", "raised", _outputs(_reboots(), Rating(KEYRING))),
        "anomalies/v1/of-a-site": _alert("SITE_SILENT", "raised", _site(_silence(), at(45))),
        "price-signals/v1/availability": _first("price-signals", _site(_silence(), at(34))),
        "connector-status/v1/occupied": _first("connector-status", _outputs(_plugged_in())),
        "connector-status/v1/station-silent": _last("connector-status", _outputs(_plugged_in())),
        "connector-status/v1/clock-ticked": _event(ClockTicked(time_us=at(0))),
        "quarantine/v1/record": _text(headers_of("meter-events", Kept(b"CP-1", b"{}", OFFSET, AT_MS))),
        "station-state/v1/station": _state(b"CP-1", Assembly, Station("CP-1")),
        "station-state/v1/closed-session-dropped": _record(archive_key(b"CP-1", TRANSACTION.encode()), None),
        "site-state/v1/site": _state(b"SITE-1", Occupancy, SiteState("SITE-1")),
    }
    return found | dict(_refused())


# --- what stations say -----------------------------------------------------------------------------------------------


def _without_stop() -> Iterator[Event]:
    yield from (each for each in in_time() if type(each) is not SessionEnded)
    yield from (ClockTicked(time_us=at(hour * HOUR)) for hour in range(1, 80))


def _start_comes_late() -> Iterator[Event]:
    """Readings and the stop of a session were kept by its charger and arrive before its start."""
    start, *rest = in_time()
    yield from rest
    yield from (ClockTicked(time_us=at(minute)) for minute in (120, 180))
    yield start
    yield ClockTicked(time_us=at(200))


def _measured() -> Iterator[Event]:
    yield from in_time()[:1]
    yield MeterRead(
        station_id="CP-1", event_time_us=at(1), received_time_us=at(1), connector_id=1, transaction_id=TRANSACTION,
        register_wh=100_180, power_w=10_800, soc_percent=43, state="charging",
    )  # fmt: skip


def _overstayed() -> Iterator[Event]:
    yield from (each for each in in_time() if type(each) not in (SessionEnded, ClockTicked))
    for hour in range(1, 8):
        yield MeterRead(
            station_id="CP-1", event_time_us=at(hour * HOUR), received_time_us=at(hour * HOUR), connector_id=1,
            transaction_id=TRANSACTION, register_wh=107_200, state="suspended_ev",
        )  # fmt: skip
        yield ClockTicked(time_us=at(hour * HOUR + 1))
    yield SessionEnded(
        station_id="CP-1", event_time_us=at(8 * HOUR), received_time_us=at(8 * HOUR), transaction_id=TRANSACTION,
        register_wh=107_200,
    )  # fmt: skip
    yield ClockTicked(time_us=at(9 * HOUR))


def _reboots() -> Iterator[Event]:
    for minute in (0, 3):
        yield StationSeen(station_id="CP-1", event_time_us=at(minute), received_time_us=at(minute), what="boot")
    yield ClockTicked(time_us=at(10))


def _plugged_in() -> Iterator[Event]:
    yield StatusReported(
        station_id="CP-1", event_time_us=at(0), received_time_us=at(0), connector_id=1, status="Preparing"
    )
    yield ClockTicked(time_us=at(30))


def _silence() -> list[Mapping[str, Any]]:
    """Three of four stations of a site fall silent about together."""
    found: list[Mapping[str, Any]] = []
    for number in range(1, 5):
        station = {"type": "connector_changed", "site_id": "SITE-1", "station_id": f"CP-{number}", "clock": "live"}
        found.append(station | {"connector_id": 1, "state": "occupied" if number == 1 else "free", "since_us": at(0)})
        if number != 4:
            found.append(station | {"connector_id": 0, "state": "silent", "since_us": at(number)})
    return found


# --- what we write ---------------------------------------------------------------------------------------------------


def _tariffs() -> Any:
    return decode_tariffs(json.dumps(TARIFF).encode(), "tariffs")


def _outputs(events: Iterable[Event], rated: Rating | None = None) -> list[Output]:
    return list(tell(Offline(Assembly(rated or rating(), Decoder(KEYRING))), events))  # type: ignore[arg-type]


def _site(changes: Iterable[Mapping[str, Any]], until_us: int) -> list[Output]:
    stage = Offline(Occupancy(KEYRING))
    found = [output for change in changes for output in stage.feed(b"SITE-1", json.dumps(change).encode())]
    return [*found, *stage.feed(None, msgspec.json.encode(ClockTicked(time_us=until_us)))]


def _values(topic: str, outputs: Iterable[Output]) -> list[Example]:
    return [json.loads(each.value) for each in outputs if each.topic == topic and each.value is not None]


def _first(topic: str, outputs: Iterable[Output]) -> Example:
    return _values(topic, outputs)[0]


def _last(topic: str, outputs: Iterable[Output]) -> Example:
    return _values(topic, outputs)[-1]


def _void(outputs: Iterable[Output]) -> Example:
    return next(each for each in _values("sessions", outputs) if each["status"] == "void")


def _alert(rule: str, state: str, outputs: Iterable[Output]) -> Example:
    return next(each for each in _values("anomalies", outputs) if (each["rule"], each["state"]) == (rule, state))


def _event(event: Event) -> Example:
    found: Example = json.loads(msgspec.json.encode(event))
    return found


def _text(headers: Iterable[tuple[str, bytes | None]]) -> Example:
    return {name: (value or b"").decode() for name, value in headers}


def _record(key: bytes, value: bytes | None) -> Example:
    return {"key": key.decode(), "value": None if value is None else base64.b64encode(value).decode()}


def _state(key: bytes, logic: type[Assembly] | type[Occupancy], state: Any) -> Example:
    made: Any = Assembly(rating(), Decoder(KEYRING)) if logic is Assembly else Occupancy(KEYRING)
    return _record(key, encode_state(StateRecord(made.codec_version, OFFSET, made.dump(state))))


class _Second(PartitionLog):
    """A partition of two, so that a key can be in the wrong one."""

    def _empty(self, number: int) -> Partition[Any]:
        return Partition(number, 2, "meter-events", self.logic, self._gate, self.max_state_bytes, self)


def _refused() -> Iterator[tuple[str, Example]]:
    log = _Second(Assembly(rating(), Decoder(KEYRING)))
    records = {"not-json": b"{", "too-large": b" " * (LARGEST_RECORD + 1), "wrong-partition": b"{}"}
    keys = {"not-json": b"CP-1", "too-large": b"CP-1", "wrong-partition": b"CP-2"}
    log.take(*((keys[name], value) for name, value in records.items()))
    for topic in ("dead-letters", "rejections"):
        for name, each in zip(records, log.outputs(topic), strict=True):
            yield f"{topic}/v1/{name}", _text(each.headers)


def main() -> None:
    for path, example in produced().items():
        text = json.dumps(example, indent=2, ensure_ascii=False) + "\n"
        (SCHEMAS / "examples" / f"{path}.json").write_text(text, "utf-8")


if __name__ == "__main__":
    main()
