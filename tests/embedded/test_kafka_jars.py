"""The broker's jars: exactly the pinned ones, byte for byte, or none."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.embedded.jars import COORDINATES, FOLDER, LOCK, UNUSED, classpath, install, read_lock
from pipeline.errors import Unavailable, WrongUsage


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The installed jars under another name, so that a test may damage them."""
    for jar in classpath():
        (tmp_path / jar.name).symlink_to(jar)
    return tmp_path


def test_the_lock_holds_each_jar_once_with_what_we_asked_for() -> None:
    jars = read_lock()
    names = [jar.file_name for jar in jars]
    assert len(names) == len(set(names)) > len(COORDINATES)
    assert set(COORDINATES) <= {f"{jar.group}:{jar.artifact}:{jar.version}" for jar in jars}
    assert LOCK.read_text().splitlines() == [str(jar) for jar in jars]


def test_the_jars_live_inside_the_virtual_environment(folder: Path) -> None:
    assert {path.name for path in classpath(folder)} == {path.name for path in FOLDER.glob("*.jar")}
    assert install(folder) == 0


def test_a_jar_that_differs_is_refused(folder: Path) -> None:
    victim = classpath(folder)[0]
    content = victim.read_bytes()
    victim.unlink()
    victim.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    for refused in (classpath, install):
        with pytest.raises(Unavailable, match=rf"{victim.name} is not the pinned .*; delete it and run `make install`"):
            refused(folder)


def test_an_extra_jar_is_refused(folder: Path) -> None:
    (folder / "extra-1.0.jar").write_bytes(b"")
    for refused in (classpath, install):
        with pytest.raises(Unavailable, match=r"extra-1.0.jar is not in kafka_jars.sha256; delete it"):
            refused(folder)


def test_a_jar_that_nothing_uses_is_neither_locked_nor_left_from_before(folder: Path) -> None:
    former = folder / "log4j-core-2.25.4.jar"
    former.touch()
    with pytest.raises(Unavailable, match="is not in kafka_jars"):
        classpath(folder)
    assert install(folder) == 0
    assert not former.exists()
    assert not {jar.artifact for jar in read_lock()} & UNUSED


def test_a_missing_jar_is_named_with_the_remedy(folder: Path) -> None:
    next(folder.glob("*.jar")).unlink()
    with pytest.raises(Unavailable, match=r"1 jars are missing in .*; run `make install`"):
        classpath(folder)


def test_a_line_that_is_not_a_pin_is_named(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    lock.write_text(f"{read_lock()[0]}\norg.example:unpinned:1.0\n")
    with pytest.raises(WrongUsage, match="lock, line 2: expected `sha256"):
        read_lock(lock)
