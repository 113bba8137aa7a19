"""`assemble`, `audit` and `replay` go on after a bad line, name it, and say so with their exit code."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pipeline.cli import run


def line(minute: int, action: str, payload: dict[str, object], direction: str = "cp->csms") -> bytes:
    at = f"2026-03-02T08:{minute:02d}:00Z"
    frame = [2, f"{100 + minute}", action, payload] if action else [3, f"{100 + minute}", payload]
    return json.dumps({"station_id": "CP-1", "received_at": at, "direction": direction, "frame": frame}).encode()


def reading(minute: int) -> bytes:
    sampled = {"timestamp": f"2026-03-02T08:{minute:02d}:00Z", "sampledValue": [{"value": str(1000 + 180 * minute)}]}
    return line(minute, "MeterValues", {"connectorId": 1, "transactionId": 77, "meterValue": [sampled]})


LOG = [
    line(0, "StartTransaction", {"connectorId": 1, "idTag": "TAG0000001", "meterStart": 1000,
                                 "timestamp": "2026-03-02T08:00:00Z"}),
    line(0, "", {"transactionId": 77, "idTagInfo": {"status": "Accepted"}}, "csms->cp"),
    *map(reading, range(1, 30)),
    line(30, "StopTransaction", {"transactionId": 77, "meterStop": 6400, "timestamp": "2026-03-02T08:30:00Z"}),
]  # fmt: skip
BAD = {
    "cut off": reading(15)[:90],
    "no frame": b'{"station_id":"CP-1","received_at":"2026-03-02T08:15:00Z","direction":"cp->csms","frame":{"a":1}}',
    "not UTF-8": reading(15).replace(b"MeterValues", b"Meter\xffValues"),
    "a list": b"[1, 2]",
    "a log line of a server": b"2026-03-02 08:15:00 INFO reconnect",
}


def logged(folder: Path, *lines: bytes) -> str:
    file = folder / "log.ndjson"
    file.write_bytes(b"\n".join(lines) + b"\n")
    return str(file)


@pytest.mark.parametrize("bad", BAD.values(), ids=BAD)
@pytest.mark.parametrize("place", [0, 15, len(LOG)])
def test_the_other_lines_are_assembled(
    bad: bytes, place: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = logged(tmp_path, *LOG[:place], bad, *LOG[place:])
    assert run(["assemble", file]) == 1
    said = capsys.readouterr()
    (session,) = map(json.loads, said.out.splitlines())
    assert (session["energy_wh"], session["duration_s"], session["complete"]) == (5400, 1800, True)
    assert f"bad line {file}:{place + 1}: " in said.err
    assert f"1 of {len(LOG) + 1} lines are bad: left out" in said.err
    assert "TAG0000001" not in said.err


def test_a_good_log_says_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["assemble", logged(tmp_path, *LOG), "--strict"]) == 0
    said = capsys.readouterr()
    assert len(said.out.splitlines()) == 1
    assert said.err == ""


@pytest.mark.parametrize("command", ["assemble", "audit"])
def test_strict_stops_at_the_first_bad_line(command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = logged(tmp_path, *LOG[:4], b"{", b"[", *LOG[4:])
    assert run([command, file, "--strict"]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert f"{file}:5: " in said.err
    assert ":6: " not in said.err


def test_an_audit_goes_on_and_does_not_pass(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = logged(tmp_path, *LOG[:4], b"{", *LOG[4:])
    assert run(["audit", file, "--json"]) == 1
    said = capsys.readouterr()
    result = json.loads(said.out)
    assert result["wrong"] == 0
    assert [row["attributed_wh"] for row in result["connectors"]] == [5400]
    assert f"bad line {file}:5: " in said.err


def test_a_log_of_another_format_gives_the_advice_to_check_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["assemble", logged(tmp_path, *LOG), "--format", "events"]) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert f"{len(LOG)} of {len(LOG)} lines are bad: left out; correct them, or check --format" in said.err


def test_replay_does_not_take_both_options(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["replay", "x", "--format", "events", "--strict", "--skip-bad"]) == 2
    assert "give one of the two" in capsys.readouterr().err
