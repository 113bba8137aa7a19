"""The fixed logs: the uniform events of the bench, and OCPP frames of as uniform chargers (half 1.6, half 2.0.1)."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pipeline.edge.uniform import CLOCK, MINUTE_US, SECOND_US, START_US, Pace, bench_events
from tests.bench.platform import write_documents

PACE = Pace(pause_s=3600, spread=True, closing_h=2)
"""60 readings a session, one a minute; in the pause closed sessions leave the reorder window and are archived."""
SESSIONS = 2
EVENTS, FRAMES = "events", "frames"
Record = tuple[bytes | None, bytes]


def write_logs(folder: Path, stations: int) -> None:
    """`stations` send events, a sixth of them frames; with the documents that price them. Always the same bytes."""
    write_documents(folder, stations)
    _write(folder / EVENTS, bench_events(stations, SESSIONS, PACE))
    _write(folder / FRAMES, frames(max(2, stations // 6)))


def _write(file: Path, records: Iterable[Record]) -> None:
    with file.open("wb") as out:
        out.writelines((key or b"") + b"\t" + value + b"\n" for key, value in records)


def frames(stations: int) -> Iterator[Record]:
    """One session of 60 readings at each station, both directions, ticks included; stations interleaved."""
    names = [f"B{number:05d}" for number in range(stations)]
    for step in range(PACE.readings + 2):
        for number, name in enumerate(names):
            at_us = START_US + step * MINUTE_US + number * MINUTE_US // stations
            register_wh = 10_000_000 + min(step, PACE.readings) * PACE.reading_wh
            action, payload, answer = (_ocpp201 if number % 2 else _ocpp16)(number, step, at_us, register_wh)
            yield _frame(name, at_us, "cp->csms", [2, str(step), action, payload])
            yield _frame(name, at_us + 50_000, "csms->cp", [3, str(step), answer])
        yield None, _tick(START_US + (step + 1) * MINUTE_US)
    for hour in range(1, 4):
        yield None, _tick(START_US + (PACE.readings + 2) * MINUTE_US + hour * 60 * MINUTE_US)


def _ocpp16(number: int, step: int, at_us: int, register_wh: int) -> tuple[str, Any, Any]:
    at = _iso(at_us)
    if step == 0:
        start = {"connectorId": 1, "idTag": f"{number:08X}", "meterStart": register_wh, "timestamp": at}
        return "StartTransaction", start, {"transactionId": number + 1, "idTagInfo": {"status": "Accepted"}}
    if step == PACE.readings + 1:
        return "StopTransaction", {"transactionId": number + 1, "meterStop": register_wh, "timestamp": at}, {}
    sampled = [
        {"value": str(register_wh), "measurand": "Energy.Active.Import.Register", "unit": "Wh"},
        {"value": str(PACE.power_w), "measurand": "Power.Active.Import", "unit": "W"},
    ]
    values = [{"timestamp": at, "sampledValue": sampled}]
    return "MeterValues", {"connectorId": 1, "transactionId": number + 1, "meterValue": values}, {}


def _ocpp201(number: int, step: int, at_us: int, register_wh: int) -> tuple[str, Any, Any]:
    at = _iso(at_us)
    kind = {0: "Started", PACE.readings + 1: "Ended"}.get(step, "Updated")
    trigger = {"Started": "Authorized", "Ended": "EVDeparted"}.get(kind, "MeterValuePeriodic")
    context = {"Started": "Transaction.Begin", "Ended": "Transaction.End"}.get(kind, "Sample.Periodic")
    sampled = [
        {"value": register_wh, "measurand": "Energy.Active.Import.Register", "context": context},
        {"value": PACE.power_w, "measurand": "Power.Active.Import", "context": context},
    ]
    event: dict[str, Any] = {
        "eventType": kind,
        "timestamp": at,
        "triggerReason": trigger,
        "seqNo": step,
        "transactionInfo": {"transactionId": f"tx-{number}", "chargingState": "Charging"},
        "evse": {"id": 1, "connectorId": 1},
        "meterValue": [{"timestamp": at, "sampledValue": sampled}],
    }
    if kind == "Started":
        event["idToken"] = {"idToken": f"{number:08X}", "type": "ISO14443"}
    return "TransactionEvent", event, {}


def _frame(name: str, at_us: int, direction: str, frame: list[Any]) -> Record:
    envelope = {
        "station_id": name, "received_at": _iso(at_us), "direction": direction, "clock": CLOCK, "frame": frame,
    }  # fmt: skip
    return name.encode(), json.dumps(envelope, separators=(",", ":")).encode()


def _tick(time_us: int) -> bytes:
    return json.dumps({"type": "clock_ticked", "time_us": time_us, "clock": CLOCK}, separators=(",", ":")).encode()


def _iso(at_us: int) -> str:
    return datetime.fromtimestamp(at_us // SECOND_US, UTC).isoformat().replace("+00:00", "Z")
