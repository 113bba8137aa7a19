"""`chargeline audit` balances a simulated fleet with faults, and says so when a ledger does not."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pipeline.cli import run
from pipeline.domain.metering import conservation


@pytest.fixture
def events(tmp_path: Path) -> Path:
    file = tmp_path / "events.ndjson.gz"
    assert run(["simulate", "--stations", "6", "--sites", "2", "--out", str(file)]) == 0
    return file


def test_a_simulated_fleet_balances(events: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert run(["audit", str(events), "--format", "events", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["wrong"] == 0
    assert len(result["connectors"]) >= 6
    assert sum(row["attributed_wh"] for row in result["connectors"]) > 100_000
    for row in result["connectors"]:
        assert row["attributed_wh"] + row["quarantined_wh"] + row["unattributed_wh"] == row["movement_wh"]


def test_energy_booked_twice_is_found(
    events: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(conservation, "_give_back", lambda *_: None)
    real = conservation._take

    def twice(connector: object, booking: tuple[int, int, bool, int], _unbilled: int) -> None:
        real(connector, booking)  # type: ignore[arg-type]  # the connector as it came
        real(connector, booking)  # type: ignore[arg-type]  # the connector as it came

    monkeypatch.setattr(conservation, "_take", twice)
    assert run(["audit", str(events), "--format", "events"]) == 1
    assert "do not balance" in capsys.readouterr().out
