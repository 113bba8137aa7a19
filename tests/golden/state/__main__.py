"""Records what the present code writes as durable state: `python -m tests.golden.state`, once for each version.

vN/NAME.record is the changelog record of a station, vN/NAME.archived an archive record, NAME.json what is in it by
field name; vN/lived holds a station that tests go on with; layout.json says which fields in which order version N has.
sites/vN and changelog/vN are the same of other structs, see read.py.
Written once, never edited: workers in the field have such records. Only converted.json is edited, see read.py.
While no worker outside this checkout has written a version, its layout may still change: delete its folder, run this.
"""

from __future__ import annotations

import json
import sys
from array import array
from itertools import groupby
from pathlib import Path
from typing import Any

from pipeline.agents.assembly import Assembly
from pipeline.domain.packing import pack
from pipeline.domain.sites.availability import SiteState
from pipeline.domain.station import KIND, QUARTER, REGISTER, STRIDE, Session, Station
from pipeline.domain.station_codec import encode_archived
from pipeline.runtime.partition.changelog import StateRecord, encode_state
from pipeline.wire.ocpp import Calls
from tests.golden.state import lived
from tests.golden.state.read import LAYOUTS, SITES, STATIONS, assembly, occupancy
from tests.golden.state.values import READINGS, Filling, named

BLOCK_OF_FILLING = 5
"""Of the READINGS of a session, so many are sealed."""
THROUGH = 4711
"""Offset in the header of the records."""


def stations() -> dict[str, Station]:
    """`full`: open, closed and archived sessions, two connectors, open calls, held bills. `bare`: new to us."""
    filling = Filling()
    full = filling.struct(Station)
    sessions = [filling.struct(Session, variant) for variant in range(4)]
    for session in sessions:
        session.sealed = [(BLOCK_OF_FILLING, pack(session.readings[: BLOCK_OF_FILLING * STRIDE], STRIDE))]
    for session in sessions[:2]:
        session.closed_by = ""
    for session in sessions[2:]:
        session.slow = True
    full.sessions = {f"transaction-{number}": session for number, session in enumerate(sessions)}
    full.sessions["bare"] = Session(9, "transaction-bare")
    for session in sessions:
        full.sessions |= dict.fromkeys(session.aliases, session)
    full.calls = filling.struct(Calls)
    full.calls.early = filling.struct(Calls, 1).early
    return {"full": full, "bare": Station("CP-BARE")}


def archived() -> dict[str, tuple[Session, bool]]:
    """Name -> the session, and whether all its readings are kept: until it is billed, or where they are in doubt."""
    filling = Filling()
    found = {}
    for name, whole in (("thinned", False), ("whole", True)):
        session = filling.struct(Session, 2)
        session.slow, session.sealed = True, []
        if not whole:
            session.suspect, session.states = False, []
            session.readings[KIND::STRIDE] = array("q", [REGISTER] * READINGS)
        found[name] = session, whole
    return found


def thinned(readings: list[int]) -> list[int]:
    """The first and the last of each quarter of an hour."""
    rows = [readings[at : at + STRIDE] for at in range(0, len(readings), STRIDE)]
    kept: list[int] = []
    for _, quarter in groupby(rows, lambda row: row[0] // QUARTER):
        same = list(quarter)
        kept += same[0] + (same[-1] if len(same) > 1 else [])
    return kept


def record_stations(folder: Path) -> None:
    logic = assembly()
    for name, station in stations().items():
        body = logic.dump(station)
        (folder / f"{name}.record").write_bytes(encode_state(StateRecord(logic.codec_version, THROUGH, body)))
        write(folder / f"{name}.json", named(station))
    for name, (session, whole) in archived().items():
        expected = named(session)
        if not whole:
            kept = thinned(expected["readings"])
            dropped = (len(expected["readings"]) - len(kept)) // STRIDE
            expected |= {"readings": kept, "thinned": True, "unkept": session.unkept + 2 * dropped}  # energy and power
        (folder / f"{name}.archived").write_bytes(encode_archived(session, whole=whole))
        write(folder / f"{name}.json", expected)
    record_lived(folder / "lived", logic)
    write(folder / "converted.json", {"values": {}, "rows": {}, "gone": []})


def record_sites(folder: Path) -> None:
    logic = occupancy()
    for name, site in (("full", Filling().struct(SiteState)), ("bare", SiteState("SITE-BARE"))):
        body = logic.dump(site)
        (folder / f"{name}.record").write_bytes(encode_state(StateRecord(logic.codec_version, THROUGH, body)))
        write(folder / f"{name}.json", named(site))
    write(folder / "converted.json", {"values": {}, "rows": {}, "gone": []})


def record_lived(folder: Path, logic: Assembly) -> None:
    """A station that goes on after the upgrade: see lived.py."""
    folder.mkdir()
    stage = lived.stage()
    lived.tell(stage, lived.before())
    station = stage.states[lived.KEY]
    body = logic.dump(station)
    (folder / "station.record").write_bytes(encode_state(StateRecord(logic.codec_version, THROUGH, body)))
    for name, value in station.archive.items():
        (folder / f"{name.decode()}.archived").write_bytes(value)


def write(file: Path, value: Any) -> None:
    file.write_text(json.dumps(value, indent=1) + "\n", "utf-8")


def main() -> None:
    missing = [each for each in LAYOUTS if not each.recorded().exists()]
    if not missing:
        sys.exit(
            "all present versions are recorded already: raise the CODEC_VERSION of the struct that changed, or delete "
            "the folder if no worker outside this checkout ever wrote that version"
        )
    for each in missing:
        folder = each.recorded().parent
        folder.mkdir(parents=True)
        if each is STATIONS:
            record_stations(folder)
        elif each is SITES:
            record_sites(folder)
        write(each.recorded(), each.present())
        print(f"recorded {len(list(folder.rglob('*.*')))} files of {folder.relative_to(STATIONS.folder)}")


if __name__ == "__main__":
    main()
