"""The advisory check finds what is affected, says when it knows nothing, and asks about everything that is pinned."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import pytest

from tests.advisories import NO_DATABASE, Pin, affected, main, pins


def database(folder: Path, **entries: list[dict[str, Any]]) -> Path:
    for ecosystem in ("PyPI", "Maven"):
        with zipfile.ZipFile(folder / f"{ecosystem}.zip", "w") as out:
            for number, entry in enumerate(entries.get(ecosystem, [])):
                out.writestr(f"{number}.json", json.dumps({"id": f"TEST-{number}", "summary": "a hole"} | entry))
    return folder


def about(ecosystem: str, name: str, **what: object) -> dict[str, Any]:
    return {"affected": [{"package": {"ecosystem": ecosystem, "name": name}, **what}]}


def events(*pairs: tuple[str, str]) -> dict[str, Any]:
    return {"ranges": [{"type": "ECOSYSTEM", "events": [{kind: version} for kind, version in pairs]}]}


def test_everything_that_is_pinned_is_asked_about() -> None:
    found = pins()
    assert {"msgspec", "faust-streaming", "confluent-kafka", "uvicorn"} <= {pin.name for pin in found}
    assert "org.apache.kafka:kafka-clients" in {pin.name for pin in found}
    assert len(found) > 100


def test_without_a_database_nothing_is_claimed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in ([], [""], [str(tmp_path)]):
        assert main(arguments) == NO_DATABASE
        said = capsys.readouterr()
        assert said.out == ""
        assert "no advisory database: nothing is known about" in said.err


def test_an_affected_pin_is_named_and_others_are_not(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    snappy = next(pin for pin in pins() if pin.name == "org.xerial.snappy:snappy-java")
    holes = [
        about("Maven", snappy.name, versions=[snappy.version]),
        about("Maven", snappy.name, versions=["0.0.1"]),
        about("Maven", "org.example:other", **events(("introduced", "0"))),
        about("Maven", snappy.name, versions=[snappy.version]) | {"withdrawn": "2026-01-01T00:00:00Z"},
    ]
    assert main([str(database(tmp_path, Maven=holes))]) == 1
    assert capsys.readouterr().out == f"{snappy.name} {snappy.version}: TEST-0 a hole\n"
    assert main([str(database(tmp_path))]) == 0
    assert "none of" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("version", "stretch", "is_affected"),
    [
        ("1.2.3", [("introduced", "0"), ("fixed", "1.2.4")], True),
        ("1.2.4", [("introduced", "0"), ("fixed", "1.2.4")], False),
        ("1.10.0", [("introduced", "1.9"), ("fixed", "1.11")], True),
        ("1.2", [("introduced", "1.2.0"), ("last_affected", "1.2.0")], True),
        ("1.2.1", [("introduced", "0"), ("last_affected", "1.2.0")], False),
        ("2.0", [("introduced", "0"), ("fixed", "1.5"), ("introduced", "2.0"), ("fixed", "2.1")], True),
        ("2.0rc1", [("introduced", "0"), ("fixed", "2.0")], True),
        ("2.1.post1", [("introduced", "0"), ("fixed", "2.1")], False),
        ("1.5.6-10", [("introduced", "0"), ("fixed", "1.5.6-9")], False),
    ],
)
def test_a_range_has_the_order_of_versions(
    tmp_path: Path, version: str, stretch: list[tuple[str, str]], is_affected: bool
) -> None:
    holes = [about("PyPI", "Some.Thing", **events(*stretch))]
    found = list(affected([Pin("PyPI", "some-thing", version)], database(tmp_path, PyPI=holes)))
    assert bool(found) is is_affected
