"""What is durable: records of every codec version are read field by field, and no layout changes unnoticed."""

from __future__ import annotations

import json
import shutil
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules

import msgspec
import pytest

from pipeline import agents
from pipeline.agents.assembly import Assembly
from pipeline.agents.occupancy import Occupancy
from pipeline.agents.records import RECEIPTS, SESSIONS
from pipeline.domain.events import ClockTicked
from pipeline.domain.metering.conservation import difference
from pipeline.domain.sites.availability import SiteState
from pipeline.domain.station import Session, Station
from pipeline.domain.station_codec import decode_station, encode_station
from pipeline.runtime.partition.changelog import decode_state
from pipeline.wire.sessions import decode_session
from tests.golden.state import lived
from tests.golden.state.__main__ import stations
from tests.golden.state.read import (
    FOLDER,
    LAYOUTS,
    LOGICS,
    SITES,
    Layout,
    assembly,
    complaints,
    number_of,
    occupancy,
    read,
    versions,
)
from tests.golden.state.values import Filling, layout, named
from tests.hostile.records import hostile
from tests.receipts import at
from tests.runtime.partition_log import PartitionLog


def recorded(folders: list[Path]) -> list[Path]:
    return [file for folder in folders for file in sorted([*folder.glob("*.record"), *folder.glob("*.archived")])]


RECORDED = recorded(versions())
CHANGED = (
    "the layout of the durable state is not the one recorded for version {version}. Running workers have records of "
    "that version: raise the version beside the struct (CODEC_VERSION; of the changelog: FORMAT), record it with "
    "`python -m tests.golden.state`, keep reading the old records (tests/golden/state/read.py says how conversions "
    "are named); never edit what an older version recorded"
)


@pytest.mark.parametrize("each", LAYOUTS, ids=lambda each: each.roots[0].__name__)
def test_the_layout_of_the_state_is_the_one_recorded_for_its_version(each: Layout) -> None:
    file = each.recorded()
    assert file.exists(), f"version {each.version} is not recorded: `python -m tests.golden.state`"
    assert each.present() == json.loads(file.read_text("utf-8")), CHANGED.format(version=each.version)


def test_the_state_of_every_stage_is_recorded() -> None:
    """A class of pipeline/agents that has a codec version is a stage with durable state."""
    modules = [import_module(f"pipeline.agents.{each.name}") for each in iter_modules(agents.__path__)]
    found = {each for module in modules for each in vars(module).values() if hasattr(each, "codec_version")}
    assert found == set(LOGICS)
    assert {each.version for each in LAYOUTS} >= {logic.codec_version for logic in LOGICS}


@pytest.mark.parametrize(
    "file", [*RECORDED, *recorded(versions(SITES))], ids=lambda file: "-".join(file.relative_to(FOLDER).parts)
)
def test_a_record_of_any_version_is_read_field_by_field(file: Path) -> None:
    assert complaints(file) == []


def test_each_version_that_a_worker_reads_is_recorded() -> None:
    """Those before 4 were never recorded."""
    wanted = {version for version in Assembly.readable_versions if version >= 4}
    assert {number_of(folder) for folder in versions()} == wanted
    for folder in versions():
        assert {file.suffix for file in RECORDED if file.parent == folder} == {".record", ".archived"}
        kinds = {type(read(file)) for file in RECORDED if file.parent == folder}
        assert kinds == {Station, Session}
    assert {number_of(folder) for folder in versions(SITES)} == Occupancy.readable_versions


@pytest.mark.parametrize("file", [file for file in RECORDED if file.suffix == ".record"], ids=lambda file: file.stem)
def test_what_was_read_is_written_and_read_alike(file: Path) -> None:
    station = read(file)
    assert isinstance(station, Station)
    logic = assembly()
    again = logic.load(b"key", logic.dump(station), logic.codec_version, station.archive)
    assert logic.dump(again) == logic.dump(station)


@pytest.mark.parametrize("file", recorded(versions(SITES)), ids=lambda file: file.stem)
def test_a_site_that_was_read_is_written_alike(file: Path) -> None:
    site = read(file)
    assert isinstance(site, SiteState)
    assert occupancy().dump(site) == decode_state(file.read_bytes()).body


@pytest.mark.parametrize("folder", versions(), ids=lambda folder: folder.name)
def test_a_station_lives_on_after_an_upgrade_as_without_it(folder: Path) -> None:
    """Open, pending, archived and held: nothing is billed twice, nothing is lost."""
    restarted = lived.restored(folder / "lived")
    assert restarted.states[lived.KEY].pending() == 1
    (held,) = restarted.states[lived.KEY].held
    outputs = lived.tell(restarted, lived.after(held))
    records = [decode_session(each.value) for each in outputs if each.topic == SESSIONS and each.value is not None]
    latest = {each.started_at_us: each for each in records}
    assert {start: (each.ended_at_us, each.bill_state) for start, each in latest.items()} == {
        at(0): (at(40), "FINAL"),
        lived.HELD_FROM: (at(150), "FINAL"),
        lived.OPEN_FROM: (at(190), "FINAL"),
    }
    first, open_ = latest[at(0)], latest[lived.OPEN_FROM]
    assert [(each.energy_wh, each.revision) for each in (first, open_)] == [(7_200, 2), (3_600, 1)]
    receipts = [json.loads(each.value) for each in outputs if each.topic == RECEIPTS and each.value is not None]
    assert [(each["session_id"], each["kind"], each["revision"]) for each in receipts] == [
        (first.session_id, "CREDIT", 1),
        (first.session_id, "BILL", 2),
        (open_.session_id, "BILL", 1),
    ]
    station = restarted.states[lived.KEY]
    assert (station.pending(), station.held, station.calls.starts) == (0, {}, {})
    assert not any(difference(each) for each in station.connectors.values())


# --- the checks themselves -------------------------------------------------------------------------------------------


def test_no_two_numbers_of_a_recorded_state_are_equal() -> None:
    """Otherwise two neighbours could be swapped unnoticed; readings are there once more under each alias."""
    full = stations()["full"]
    for session in full.sessions.values():
        full.sessions = {key: each for key, each in full.sessions.items() if key not in session.aliases}
    del full.sessions["bare"]
    seen = [part for part in _leaves(named(full)) if type(part) in (int, str) and part not in ("", *LITERALS)]
    assert len(seen) == len(set(seen)) > 500


LITERALS = (
    1, 5, "waive", "bill", "withdraw", "unacknowledged", "zero",
    "faulted", "free", "gone", "occupied", "silent", "unavailable", "unknown",
)  # fmt: skip


def _leaves(value: object) -> list[object]:
    if isinstance(value, dict):
        return [leaf for part in value.values() for leaf in _leaves(part)]
    return [leaf for part in value for leaf in _leaves(part)] if isinstance(value, list) else [value]


class Before(msgspec.Struct, array_like=True):
    low: int
    high: int
    first: bool
    second: bool


class Swapped(msgspec.Struct, array_like=True):
    high: int
    low: int
    second: bool
    first: bool


def test_two_fields_that_are_swapped_show_in_the_layout_and_in_the_values() -> None:
    def differ(field: str) -> bool:
        pairs = [(named(before), named(msgspec.convert(msgspec.to_builtins(before), Swapped))) for before in filled]
        return any(before[field] != after[field] for before, after in pairs)

    filling = Filling()
    filled = [filling.struct(Before, variant) for variant in range(4)]
    assert layout(Before)["Before"] != layout(Swapped)["Swapped"]
    assert [differ(field) for field in ("low", "high", "first", "second")] == [True] * 4


@pytest.mark.parametrize(
    ("edit", "complaint"),
    [
        (lambda wrote: wrote.__setitem__("newest_us", 5), "full.newest_us: "),
        (lambda wrote: wrote["sessions"]["transaction-1"]["states"][0].__setitem__(0, 5), "transaction-1.states.0.0: "),
        (lambda wrote: wrote["sessions"]["transaction-2"]["billed"]["tax"][1].__setitem__("tax", "5"), ".tax.1.tax: "),
        (lambda wrote: wrote["connectors"].clear(), "full.connectors"),
        (lambda wrote: wrote.__setitem__("left", 5), "full.left: lost"),
        (lambda wrote: wrote.pop("received"), "full.received: "),
    ],
    ids=["number", "in-list", "in-tuple", "emptied", "gone", "no-default"],
)
def test_a_value_that_is_read_otherwise_is_named(edit: object, complaint: str, tmp_path: Path) -> None:
    assert callable(edit)
    folder = tmp_path / "v4"
    shutil.copytree(FOLDER / "v4", folder)
    file = folder / "full.json"
    wrote = json.loads(file.read_text("utf-8"))
    edit(wrote)
    file.write_text(json.dumps(wrote), "utf-8")
    assert any(complaint in each for each in complaints(folder / "full.record"))


def test_what_a_version_converts_is_compared_with_what_it_says(tmp_path: Path) -> None:
    folder = tmp_path / "v4"
    shutil.copytree(FOLDER / "v4", folder)
    converted = json.loads((folder / "converted.json").read_text("utf-8"))
    converted["values"]["full.*-?.state"] = "x"
    (folder / "converted.json").write_text(json.dumps(converted), "utf-8")
    found = complaints(folder / "full.record")
    assert found
    assert all(".state: 'state-" in each and each.endswith("instead of 'x'") for each in found)


@pytest.mark.internal_errors
@pytest.mark.parametrize("seed", range(6))
def test_a_state_is_the_same_after_its_record(seed: int) -> None:
    """Of stations that send anything in any order: what is applied next finds the same."""
    log, records = PartitionLog(assembly()), hostile(seed, "live")
    compared = 0
    for number in range(600):
        log.take(*[next(records) for _ in range(5)], (None, msgspec.json.encode(ClockTicked(time_us=at(number)))))
        for key, entry in log.partition.entries.items():
            dumped = log.logic.dump(entry.state)
            again = log.logic.load(key, dumped, log.logic.codec_version, entry)
            assert log.logic.dump(again) == dumped
            assert [name for name, _ in again.each_session()] == [name for name, _ in entry.state.each_session()]
            compared += 1
    assert compared > 1_000


def test_a_name_that_went_over_to_another_session_loses_neither() -> None:
    """The first one keeps it as an alias, which is not where it is found any more."""
    first, second = Session(1, "a", aliases=["b"]), Session(2, "b")
    station = Station("S", sessions={"a": first, "b": second, "c": Session(3, "c", aliases=["c"])})
    again = decode_station(encode_station(station))
    assert again.sessions["b"] == second
    assert [key for key, _ in again.each_session()] == ["a", "b", "c"]
    shared = Station("S", sessions={"a": first, "b": first})
    joined = decode_station(encode_station(shared))
    assert joined.sessions["b"] is joined.sessions["a"]
