"""The passwords file: made by `chargeline gateway passwd`, checked, read again when it changes."""

from __future__ import annotations

import asyncio
import io
import os
import sys
import time
from base64 import b64encode
from pathlib import Path

import pytest
from websockets.datastructures import Headers

from pipeline.cli import run
from pipeline.errors import WrongUsage
from pipeline.gateway.handshake import chosen, identity, is_authentic
from pipeline.gateway.passwords import Passwords, line

PASSWORD = b"canary-0123456789"
OTHER = b"another-0123456789"


def file(tmp_path: Path, *lines: str) -> Path:
    made = tmp_path / "passwords"
    made.write_text("\n".join(["# chargers", "", *lines]) + "\n")
    return made


def test_the_right_password_of_the_right_station_and_no_other(tmp_path: Path) -> None:
    raw = bytes(range(200, 220))  # OCPP 1.6: any bytes
    stored = file(tmp_path, line("SIM-1", PASSWORD), line("SIM-2", OTHER), line("SIM-3", raw))

    async def check() -> None:
        passwords = Passwords(stored)
        assert await passwords.verify("SIM-1", PASSWORD)
        assert await passwords.verify("SIM-3", raw)
        assert await passwords.verify("SIM-1", PASSWORD), "also when it is remembered"
        assert not await passwords.verify("SIM-1", OTHER)
        assert not await passwords.verify("SIM-2", PASSWORD)
        assert not await passwords.verify("SIM-9", PASSWORD)
        assert not await passwords.verify("SIM-1", b"")
        assert passwords.secret("SIM-1") == Passwords(stored).secret("SIM-1") != passwords.secret("SIM-2")

    asyncio.run(check())
    assert PASSWORD.decode() not in stored.read_text()


def test_a_password_that_was_right_once_costs_no_hash_again(tmp_path: Path) -> None:
    async def check() -> float:
        passwords = Passwords(file(tmp_path, line("SIM-1", PASSWORD)))
        assert await passwords.verify("SIM-1", PASSWORD)
        began = time.perf_counter()
        for _ in range(200):
            assert await passwords.verify("SIM-1", PASSWORD)
        return (time.perf_counter() - began) / 200

    assert asyncio.run(check()) < 0.005


def test_a_changed_file_counts_at_once_and_a_broken_one_changes_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def check() -> None:
        stored = file(tmp_path, line("SIM-1", PASSWORD))
        passwords = Passwords(stored)
        assert await passwords.verify("SIM-1", PASSWORD)
        file(tmp_path, line("SIM-1", OTHER), line("SIM-2", OTHER))
        assert not await passwords.verify("SIM-1", PASSWORD)
        assert await passwords.verify("SIM-2", OTHER)
        file(tmp_path, "CANARY:nonsense")
        assert await passwords.verify("SIM-1", OTHER)
        os.remove(stored)
        assert await passwords.verify("SIM-1", OTHER)

    asyncio.run(check())
    assert "the passwords of before stay in force" in caplog.text
    assert "CANARY" not in caplog.text


@pytest.mark.parametrize(
    "bad",
    ["CANARY", "SIM-1:CANARY", "SIM 1:" + "x" * 60, "SIM-1:scrypt$3$8$1$" + "a" * 24 + "$" + "a" * 44,
     "SIM-1:scrypt$16384$99$99$" + "a" * 24 + "$" + "a" * 44, "SIM-1:scrypt$16384$8$1$" + "a" * 23 + "$" + "a" * 44],
)  # fmt: skip
def test_a_wrong_line_is_named_and_not_shown(tmp_path: Path, bad: str) -> None:
    with pytest.raises(WrongUsage, match="passwords:3: ") as wrong:
        Passwords(file(tmp_path, bad))
    assert "CANARY" not in str(wrong.value)


def test_a_station_has_one_line_and_an_empty_file_is_a_mistake(tmp_path: Path) -> None:
    with pytest.raises(WrongUsage, match="passwords:4: a station that has a line already"):
        Passwords(file(tmp_path, line("SIM-1", PASSWORD), line("SIM-1", OTHER)))
    with pytest.raises(WrongUsage, match="no station in it"):
        Passwords(file(tmp_path))
    with pytest.raises(WrongUsage, match="cannot be read: No such file"):
        Passwords(tmp_path / "none")


def basic(user: str, password: bytes) -> str:
    return "Basic " + b64encode(user.encode() + b":" + password).decode()


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ([basic("SIM-1", PASSWORD)], True),
        ([basic("SIM-1", PASSWORD).replace("Basic", "basic")], True),
        ([basic("SIM-2", PASSWORD)], False),
        ([basic("SIM-1", OTHER)], False),
        ([], False),
        ([basic("SIM-1", PASSWORD)] * 2, False),
        (["Basic"], False),
        (["Basic *"], False),
        (["Basic \xff"], False),
        (["Basic U0lNLTE="], False),
        (["Bearer " + PASSWORD.decode()], False),
    ],
)
def test_basic_authentication(tmp_path: Path, headers: list[str], expected: bool) -> None:
    async def check() -> bool:
        passwords = Passwords(file(tmp_path, line("SIM-1", PASSWORD), line("SIM-2", OTHER)))
        return await is_authentic(
            "SIM-1", Headers([("Authorization", each) for each in headers]), passwords, "192.0.2.1"
        )

    assert asyncio.run(check()) is expected


def test_the_identity_is_the_one_segment_of_the_path() -> None:
    assert identity("/SIM-1") == identity("/SIM%2D1") == identity("/SIM-1?x=1") == "SIM-1"
    for path in ("/", "", "/a/b", "/a%2Fb", "/a:b", "/" + "x" * 49, "/%00", "/a%0Ab", "/ä"):
        assert identity(path) is None, path


def test_the_version_is_the_charger_s_first_choice_that_we_speak() -> None:
    assert chosen(["ocpp2.1", "ocpp1.6", "ocpp2.0.1"]) == "ocpp1.6"
    assert chosen(["ocpp2.0.1"]) == "ocpp2.0.1"
    assert chosen(["ocpp1.5", "soap"]) is None
    assert chosen([]) is None


def passwd(monkeypatch: pytest.MonkeyPatch, name: str, typed: bytes, *options: str) -> int:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(typed)))
    return run(["gateway", "passwd", name, *options])


def test_passwd_adds_to_a_file_that_only_its_owner_reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = tmp_path / "passwords"
    made.touch(0o644)
    for number in (1, 2):
        assert passwd(monkeypatch, f"SIM-{number}", PASSWORD + b"\n", "--file", str(made)) == 0
    assert [each.partition(":")[0] for each in made.read_text().splitlines()] == ["SIM-1", "SIM-2"]
    assert made.stat().st_mode & 0o777 == 0o600
    assert passwd(monkeypatch, "SIM-3", PASSWORD + b"\n", "--file", str(tmp_path / "new")) == 0
    assert (tmp_path / "new").stat().st_mode & 0o777 == 0o600


def test_passwd_prints_a_line_that_lets_the_station_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert passwd(monkeypatch, "SIM-1", PASSWORD + b"\n") == 0
    printed = capsys.readouterr().out

    async def check() -> bool:
        return await Passwords(file(tmp_path, printed.strip())).verify("SIM-1", PASSWORD)

    assert asyncio.run(check())
    assert PASSWORD.decode() not in printed


def test_passwd_refuses_a_short_password_and_a_bad_identity(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert passwd(monkeypatch, "SIM-1", b"canary\n") == 2
    assert passwd(monkeypatch, "a:b", PASSWORD + b"\n") == 2
    said = capsys.readouterr().err
    assert "16 to 256 bytes" in said
    assert "IDENTITY: 1 to 48" in said
    assert "canary" not in said
