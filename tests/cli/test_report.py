"""`report` and `migrate`, from outside: figures, forms, and one sentence where ClickHouse is not as it should be."""

from __future__ import annotations

import csv
import io
import json
import uuid
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest

from pipeline import cli
from pipeline.settings import UP_PASSWORD, Settings, clickhouse_password
from pipeline.storage.connection import connect
from pipeline.storage.writer import ClickHouseWriter
from tests.storage.samples import HOUR_US, NOON_US, a_line, a_session, an_alert


@pytest.fixture
def database(clickhouse: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The name of a database that does not exist yet; the settings of this process point to it."""
    name = f"report_{uuid.uuid4().hex[:8]}"
    monkeypatch.setenv("CHARGELINE_CLICKHOUSE_URL", clickhouse)
    monkeypatch.setenv("CHARGELINE_CLICKHOUSE_DATABASE", name)
    yield name
    client = connect(clickhouse, "default", "")
    client.command(f"DROP DATABASE IF EXISTS {name}")
    client.close()


@pytest.fixture
def filled(clickhouse: str, database: str, capsys: pytest.CaptureFixture[str]) -> str:
    """At noon one session revised twice, a plain, a held and a void one; a day later one in another currency."""
    assert cli.run(["migrate"]) == 0
    held = a_session(
        3, lines=0, slots=0, bill_state="HELD", held_reason="TARIFF_MISSING", currency=None, total_excl_vat=None,
        total_incl_vat=None, energy_wh=None,
    )  # fmt: skip
    minimum = a_line(kind="MIN_PRICE", dimension="", window="", quantity="0", billed_quantity="0", unit="",
                     amount_excl="1.0000", amount_incl="1.1900")  # fmt: skip
    day = 24 * HOUR_US
    writer = ClickHouseWriter(clickhouse, "default", "", database)
    writer.insert_sessions([a_session(1, lines=9), a_session(1, revision=2, lines=1, duration_s=7200), a_session(2)])
    writer.insert_sessions([held, a_session(4), a_session(4, revision=2, status="void", lines=0, slots=0)])
    writer.insert_sessions(
        [a_session(5, started_at_us=NOON_US + day, ended_at_us=NOON_US + day + HOUR_US, currency="CHF", lines=1)]
    )
    last = a_session(1, revision=3, total_excl_vat="3.0000", total_incl_vat="3.5700", duration_s=7200)
    writer.insert_sessions([msgspec.structs.replace(last, lines=(a_line(), minimum))])
    writer.insert_anomalies([an_alert(1), an_alert(2), an_alert(2, state="cleared"), an_alert(3, severity="critical")])
    writer.close()
    capsys.readouterr()
    return database


def report(capsys: pytest.CaptureFixture[str], *options: str) -> Any:
    assert cli.run(["report", "--json", *options]) == 0
    return json.loads(capsys.readouterr().out)


def test_figures_count_each_session_once(filled: str, capsys: pytest.CaptureFixture[str]) -> None:
    found = report(capsys)
    assert found["period"] == {"from": None, "to": None, "zone": "UTC"}
    totals = found["totals"]
    revenue = [(each["currency"], each["bills"], each["excl_vat"], each["incl_vat"]) for each in totals.pop("revenue")]
    assert totals == {
        "sessions": 4, "open": 0, "energy_wh": 60_000, "estimated_wh": 0, "energy_unknown": 1, "held": 1
    }  # fmt: skip
    assert revenue == [("CHF", 1, "2.0000", "2.3800"), ("EUR", 2, "7.0000", "8.3300")]
    windows = [
        (each["currency"], each["window"], each["dimension"], each["excl_vat"], each["incl_vat"])
        for each in found["revenue_by_window"]
    ]
    assert windows == [
        ("CHF", "06:00-22:00 MON-FRI", "ENERGY", "2.0000", "2.3800"),
        ("EUR", "06:00-22:00 MON-FRI", "ENERGY", "6.0000", "7.1400"),
        ("EUR", "MIN_PRICE", "", "1.0000", "1.1900"),
    ]
    for currency, _, excl_vat, incl_vat in revenue:
        own = [each for each in windows if each[0] == currency]
        assert sum(Decimal(each[3]) for each in own) == Decimal(excl_vat)
        assert sum(Decimal(each[4]) for each in own) == Decimal(incl_vat)
    longest = found["longest_sessions"][0]
    assert (longest["session_id"], longest["duration_s"]) == ("s00001", 7200)
    assert sum(each["energy_wh"] for each in found["station_demand"]) == 60_000
    assert [(each["rule"], each["severity"], each["raised"], each["open"]) for each in found["anomalies"]] == [
        ("overstayed", "warning", 2, 1),
        ("overstayed", "critical", 1, 1),
    ]


def test_a_period_is_half_open_and_has_a_zone(filled: str, capsys: pytest.CaptureFixture[str]) -> None:
    one_day = ["--from", "2026-09-23T14:00:00+02:00", "--to", "2026-09-24T12:00:00"]
    found = report(capsys, *one_day)
    assert found["period"] == {"from": "2026-09-23T12:00:00Z", "to": "2026-09-24T12:00:00Z", "zone": "UTC"}
    assert found["totals"]["sessions"] == 1
    assert report(capsys, "--to", "2026-09-23T12:00:00Z")["totals"]["sessions"] == 3
    hours = {each["hour"] for each in report(capsys, "--zone", "Asia/Kolkata")["station_demand"]}
    assert hours == {17}  # 12:00-12:30 UTC is 17:30-18:00


def test_csv_writes_one_section(filled: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["report", "--csv", "--section", "longest_sessions", "--longest", "2"]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert len(rows) == 2
    assert rows[0]["started_at"] == "2026-09-22T12:00:00Z"
    assert rows[0]["flags"] == "overstayed"


def test_an_empty_section_still_has_its_header(filled: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["report", "--csv", "--section", "anomalies", "--from", "2030-01-01"]) == 0
    assert capsys.readouterr().out == "rule,severity,raised,open,stations\n"


def test_people_see_tables(filled: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["report"]) == 0
    shown = capsys.readouterr().out
    for text in ("Totals", "60.000", "06:00-22:00 MON-FRI", "6.0000 EUR", "12:00", "ST-1/1", "overstayed"):
        assert text in shown
    assert cli.run(["report", "--from", "2030-01-01"]) == 0
    assert "Anomalies: none" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--json", "--csv"], "--json or --csv"),
        (["--csv"], "add --section"),
        (["--zone", "Mars/Olympus"], "no IANA time zone"),
        (["--from", "yesterday"], "no ISO 8601 time"),
    ],
)
def test_wrong_usage_is_exit_code_2(options: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["report", *options]) == 2
    assert said in capsys.readouterr().err


def test_before_the_first_migration(database: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["report"]) == 1
    assert f"Database {database} does not exist; run `chargeline migrate`" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["report", "migrate"])
def test_no_server(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run([command, "--clickhouse-url", "http://127.0.0.1:1"]) == 1
    said = capsys.readouterr().err
    assert "127.0.0.1:1 is not available" in said
    assert "Connection refused" in said
    assert len(said.splitlines()) == 1


def test_migrate_says_what_it_did(database: str, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert cli.run(["migrate"]) == 0
    assert "applied 0001_sessions.sql" in capsys.readouterr().out
    assert cli.run(["migrate"]) == 0
    assert "nothing to do" in capsys.readouterr().out
    (tmp_path / "0001_other.sql").write_text("SELECT 1", "utf-8")
    assert cli.run(["migrate", "--folder", str(tmp_path)]) == 1
    assert "0001_other.sql was changed after it was applied" in capsys.readouterr().err


@pytest.mark.parametrize("url", ["http://u:hunter2@127.0.0.1:1", "http://u:hunter2", "http://u:hunter2@[", "hunter2@"])
def test_a_password_in_the_address_is_never_shown(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["report", "--clickhouse-url", url]) in (1, 2)
    said = "".join(capsys.readouterr())
    assert "hunter2" not in said
    assert len(said.splitlines()) == 1


def test_a_wrong_password_says_where_the_right_one_is(
    clickhouse: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "password").write_text("wrong")
    monkeypatch.setenv("CHARGELINE_CLICKHOUSE_PASSWORD_FILE", str(tmp_path / "password"))
    assert cli.run(["report", "--clickhouse-url", f"http://{clickhouse.rpartition('@')[2]}"]) == 1
    assert "CHARGELINE_CLICKHOUSE_PASSWORD_FILE, `chargeline up` says which" in capsys.readouterr().err


def test_the_password_of_up_is_found_without_settings_and_sent_nowhere_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert clickhouse_password(Settings()) == ""
    UP_PASSWORD.parent.mkdir(parents=True)
    UP_PASSWORD.write_text("of this folder\n")
    assert clickhouse_password(Settings()) == "of this folder"
    assert clickhouse_password(Settings(clickhouse_url="http://elsewhere:8123")) == ""


def test_a_password_file_that_is_missing(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("CHARGELINE_CLICKHOUSE_PASSWORD_FILE", "/nonexistent/password")
    assert cli.run(["report"]) == 2
    assert "CHARGELINE_CLICKHOUSE_PASSWORD_FILE: cannot read /nonexistent/password" in capsys.readouterr().err
