"""The phase file says in which phase each stage of a process is."""

from __future__ import annotations

from pathlib import Path

from pipeline.runtime.process.phases import Phases, read_phases


def test_the_file_holds_the_current_step_of_each_stage(tmp_path: Path) -> None:
    file = tmp_path / "phases"
    phases = Phases(file)
    assemble, store = phases.register("assemble"), phases.register("store")
    assemble("offsets")
    store("insert")
    assert read_phases(file) == {"assemble": "offsets", "store": "insert"}
    assemble("commit")
    assert read_phases(file) == {"assemble": "commit", "store": "insert"}


def test_without_a_file_a_step_leaves_nothing(tmp_path: Path) -> None:
    Phases().register("assemble")("apply")
    assert list(tmp_path.iterdir()) == []
