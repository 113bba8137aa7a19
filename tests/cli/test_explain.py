"""`chargeline assemble --explain`, and decisions that are refused before anything is sent."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from pipeline import cli
from pipeline.cli.explaining import explained
from pipeline.domain.receipts import Decided
from tests.receipts import SITES, TARIFF, TRANSACTION, at, in_time

DROPPED = {5: 100_900, 10: 0, 15: 102_700, 25: 104_500, 30: 105_400, 35: 106_300}


@pytest.fixture
def log(tmp_path: Path) -> list[str]:
    """Arguments of `assemble` over one session whose register shows 0 once."""
    (tmp_path / "sites.json").write_text(json.dumps(SITES))
    (tmp_path / "tariffs.json").write_text(json.dumps(TARIFF))
    told = [msgspec.json.encode(each) for each in in_time(readings=DROPPED)]
    (tmp_path / "log.ndjson").write_bytes(b"\n".join(told))
    options = ["--sites", str(tmp_path / "sites.json"), "--tariffs", str(tmp_path / "tariffs.json")]
    return ["assemble", str(tmp_path / "log.ndjson"), "--format", "events", *options]


def rows(capsys: pytest.CaptureFixture[str], *arguments: str) -> list[Any]:
    capsys.readouterr()
    assert cli.run(list(arguments)) == 0
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_an_explained_session_has_the_account_of_its_evidence(
    log: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    (plain,) = rows(capsys, *log)
    (row,) = rows(capsys, *log, "--explain")
    account = row.pop("account")
    for name in ("session_id", "driver", "content_hash"):  # made with keys of one run
        del plain[name], row[name]
    assert plain == row
    assert (account["used"], account["repeated"]) == (7, 0)
    assert account["left_out"] == [
        {"reason": "REGISTER_DROPOUT", "count": 1, "first": [{"at_us": at(10), "value": "0 Wh"}], "from_us": at(10),
         "to_us": at(10)}
    ]  # fmt: skip
    facts = {each["fact"]: each["from"] for each in account["facts"]}
    assert (facts["energy"], facts["started_at"]) == ("meterStop - baseline", "start as sent")
    assert TRANSACTION not in json.dumps(account)


def test_people_read_what_made_which_fact_and_what_there_is_to_decide(
    log: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    (row,) = rows(capsys, *log, "--explain")
    text = "\n".join(explained(row))
    assert "CP-1/1  2025-06-16T19:40:00Z to 2025-06-16T20:20:00Z  7.200 kWh  complete  FINAL" in text
    assert "energy      meterStop - baseline" in text
    assert "1 REGISTER_DROPOUT, 2025-06-16T19:50:00Z to 2025-06-16T19:50:00Z: 0 Wh 2025-06-16T19:50:00Z" in text
    row["account"]["hypotheses"] = [{"name": "REGISTER_RESET", "energy_wh": 2_500}]
    row["account"]["decision"] = dict.fromkeys(Decided.__struct_fields__) | {
        "decision": "bill", "at_us": at(0), "outcome": "applied", "hypothesis": "REGISTER_RESET", "by": "desk-2",
        "why": "photo", "without_reservation": False,
    }  # fmt: skip
    text = "\n".join(explained(row))
    assert "to decide   REGISTER_RESET 2.500 kWh" in text
    assert "bill hypothesis REGISTER_RESET by desk-2, 2025-06-16T19:40:00Z: applied (photo)" in text


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ((), "it names nothing to bill by"),
        (("--energy", "5", "--hypothesis", "REGISTER_RESET"), "more than one energy"),
        (("--energy", "5", "--by", "Jane Doe"), "$.by"),
        (("--energy", "5", "--why", "x" * 256), "$.why"),
        (("--started-at", "yesterday"), "--started-at: 'yesterday' is no ISO 8601 time"),
        (("--withdraw", "--energy", "5"), "takes no facts"),
        (("--energy", "-5"), "--energy"),
    ],
    ids=lambda value: " ".join(value)[:40] if isinstance(value, tuple) else "",
)
def test_a_decision_that_the_stream_would_refuse_is_refused_before(
    options: tuple[str, ...], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    answers = ["--station", "CP-1", "--by", "desk-2", "--why", "photo", "--kafka", "127.0.0.1:1"]
    assert cli.run(["bills", "decide", "S1", *answers, *options]) == 2
    assert says in capsys.readouterr().err
