"""Present state as a worker of a version before 4 would have written it: of those nothing was recorded."""

from __future__ import annotations

from array import array
from typing import Any

import msgspec

from pipeline.domain.receipts import Billed
from pipeline.domain.station import KIND, STRIDE, Connector, Session, Station

LATER: dict[int, dict[type[msgspec.Struct], str]] = {
    2: {Billed: "claims", Session: "quote", Connector: "reports", Station: "lags"},
    3: {Session: "quote", Connector: "reports", Station: "lags"},
}
"""Version -> the field from which on its structs had none of ours; new fields are appended."""


def as_written_by(version: int, body: bytes) -> bytes:
    """`body`: what the present code wrote of a station. Readings lose their kinds and receive times."""
    later, station = LATER[version], msgspec.msgpack.decode(body)
    for session in station[_at(Station, "sessions")].values():
        readings = array("q")
        readings.frombytes(session[_at(Session, "readings")])
        rows = (readings[at : at + KIND] for at in range(0, len(readings), STRIDE))
        session[_at(Session, "readings_v4")] = b"".join(row.tobytes() for row in rows)
        billed = session[_at(Session, "billed")]
        if billed is not None and Billed in later:
            _cut(billed, Billed, later)
        _cut(session, Session, later)
    for connector in station[_at(Station, "connectors")].values():
        reports = connector[_at(Connector, "reports")]
        connector[_at(Connector, "states_v4")] = [[at, state] for at, state, _ in reports]
        _cut(connector, Connector, later)
    _cut(station, Station, later)
    return msgspec.msgpack.encode(station)


def _at(kind: type[msgspec.Struct], name: str) -> int:
    return kind.__struct_fields__.index(name)


def _cut(values: list[Any], kind: type[msgspec.Struct], later: dict[type[msgspec.Struct], str]) -> None:
    assert len(values) == len(kind.__struct_fields__)
    del values[_at(kind, later[kind]) :]
