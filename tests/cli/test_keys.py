"""The keyring: random, private, never replaced, never shown."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from pipeline.cli import run
from pipeline.domain.pseudonyms import PURPOSES, Keyring


def test_a_keyring_has_a_key_of_its_own_for_every_purpose_and_is_private(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "keys.json"
    assert run(["keys", "create", str(file)]) == 0
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    keys = json.loads(file.read_text())["keys"]
    assert set(keys) == set(PURPOSES)
    assert len(set(keys.values())) == len(PURPOSES)
    assert Keyring.decode(file.read_bytes()).pseudonym("analytics", "ISO14443", "0000")
    said = capsys.readouterr()
    assert not any(key in said.out + said.err for key in keys.values())


def test_an_existing_keyring_is_never_replaced(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "keys.json"
    assert run(["keys", "create", str(file)]) == 0
    before = file.read_bytes()
    assert run(["keys", "create", str(file)]) == 2
    assert file.read_bytes() == before
    assert "a keyring is never replaced" in capsys.readouterr().err


def test_a_folder_that_does_not_exist_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["keys", "create", str(tmp_path / "none" / "keys.json")]) == 2
    assert "keys.json cannot be written: No such file" in capsys.readouterr().err
