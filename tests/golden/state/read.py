"""Recorded state as the present code reads it, compared field by field. Only this file knows how a worker reads it.

vN is of stations, sites/vN of sites, changelog/vN of what the runtime keeps beside the states of every stage.

vN/converted.json names what a later version reads otherwise than version N wrote it, by patterns (fnmatch) over paths
such as `full.sessions.transaction-0.state` or `thinned.readings`: in `values` what is read now (also of new fields that
do not get their defaults), in `rows` what numbers in rows became (how many there were in a row, and those that each
got at its end), in `gone` the fields that exist no more.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from pipeline.agents.assembly import Assembly
from pipeline.agents.occupancy import Occupancy
from pipeline.domain.pseudonyms import KEY_BYTES, PURPOSES, Keyring
from pipeline.domain.rating import Rating
from pipeline.domain.sites.availability import SiteState
from pipeline.domain.station import Session, Station
from pipeline.domain.station_codec import decode_archived
from pipeline.runtime.offline import MemoryArchive
from pipeline.runtime.partition import changelog
from pipeline.runtime.partition.changelog import decode_state
from pipeline.wire.meter_events import Decoder
from pipeline.wire.ocpp import Calls
from pipeline.wire.quarantine import Mark
from tests.golden.state.values import defaults, layout, named

FOLDER = Path(__file__).parent


class Layout(NamedTuple):
    """Structs of the changelog that are versioned together."""

    folder: Path
    """Of its versions."""
    version: int
    """Of the present code."""
    roots: tuple[type[msgspec.Struct], ...]

    def recorded(self) -> Path:
        return self.folder / f"v{self.version}" / "layout.json"

    def present(self) -> dict[str, list[str]]:
        return layout(*self.roots)


STATIONS = Layout(FOLDER, Assembly.codec_version, (Station, Session, Calls))
"""`Station.calls` and its archive are typed nowhere."""
SITES = Layout(FOLDER / "sites", Occupancy.codec_version, (SiteState,))
CHANGELOG = Layout(FOLDER / "changelog", changelog.FORMAT, (Mark,))
LAYOUTS = (STATIONS, SITES, CHANGELOG)
LOGICS = (Assembly, Occupancy)
"""Every stage that has durable state."""


def versions(of: Layout = STATIONS) -> list[Path]:
    return sorted(of.folder.glob("v[0-9]*"), key=number_of)


def number_of(folder: Path) -> int:
    return int(folder.name.removeprefix("v"))


def assembly() -> Assembly:
    keyring = _keyring()
    return Assembly(Rating(keyring), Decoder(keyring))


def occupancy() -> Occupancy:
    return Occupancy(_keyring())


def _keyring() -> Keyring:
    return Keyring({purpose: {"*": bytes(KEY_BYTES)} for purpose in PURPOSES})


def read(file: Path) -> Station | Session | SiteState:
    """A record as a restarted worker has it. Of an archive record the version is that of its folder."""
    value = file.read_bytes()
    if file.suffix == ".archived":
        return decode_archived(value)
    version, _, body = decode_state(value)
    if file.parent.parent == SITES.folder:
        return occupancy().load(b"key", body, version, MemoryArchive())
    archive = MemoryArchive()
    station = assembly().load(b"key", body, version, archive)
    assert station.archive is archive
    station.archive = None
    if station.calls is not None and not isinstance(station.calls, Calls):
        station.calls = msgspec.convert(station.calls, Calls)  # as the assembly does before it uses them
    return station


def complaints(file: Path) -> list[str]:
    """What the present code reads otherwise than it should, a line for each field."""
    wrote = json.loads(file.with_suffix(".json").read_text("utf-8"))
    converted = json.loads((file.parent / "converted.json").read_text("utf-8"))
    return list(_differences(file.stem, wrote, read(file), converted))


def _differences(path: str, wrote: Any, got: Any, converted: dict[str, Any]) -> Iterator[str]:
    width, added = _of(converted["rows"], path) or (0, [])
    if width:
        wrote = [number for at in range(0, len(wrote), width) for number in (*wrote[at : at + width], *added)]
    instead = _of(converted["values"], path, wrote)
    if instead is not wrote or not isinstance(got, msgspec.Struct | dict | list | tuple) or not wrote:
        if named(got) != instead:
            yield f"{path}: {named(got)!r} instead of {instead!r}"
        return
    if isinstance(got, msgspec.Struct):
        parts = {name: getattr(got, name) for name in got.__struct_fields__}
        wrote = defaults(type(got)) | wrote  # a field that the record does not have gets its default
    else:
        parts = {str(key): value for key, value in (got.items() if isinstance(got, dict) else enumerate(got))}
        wrote = wrote if isinstance(wrote, dict) else {str(index): value for index, value in enumerate(wrote)}
    for name, value in parts.items():
        if name in wrote:
            yield from _differences(f"{path}.{name}", wrote[name], value, converted)
        else:
            yield f"{path}.{name}: {named(value)!r}, which nobody wrote"
    for name in wrote.keys() - parts.keys():
        if not any(fnmatchcase(f"{path}.{name}", pattern) for pattern in converted["gone"]):
            yield f"{path}.{name}: lost"


def _of(patterns: dict[str, Any], path: str, otherwise: Any = None) -> Any:
    return next((value for pattern, value in patterns.items() if fnmatchcase(path, pattern)), otherwise)
