"""What a record holds steers no terminal and is no formula, whichever command shows it."""

from __future__ import annotations

import io
import json
import re
import sys

import click
import pytest

from pipeline.cli import chargeline, run
from pipeline.cli.bills import _show as show_bills
from pipeline.cli.explaining import explained
from pipeline.cli.output import cell, echo, echo_line, plain
from pipeline.cli.report import _write_csv
from pipeline.cli.report_tables import show as show_tables
from pipeline.storage.reader import Answer
from tests.receipts import receipts, story

HOSTILE = "\x1b]0;PWN\x07\x9b31m\u202ex\r\nfake [red]line[/red] =1+1"
STEERING = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def session() -> dict[str, object]:
    return {
        "station_id": HOSTILE, "connector_id": 1, "started_at": HOSTILE, "ended_at": None, "duration_s": 1, "idle_s": 0,
        "energy_wh": 1, "flags": [HOSTILE],
    }  # fmt: skip


def test_a_line_stays_one_line_and_a_text_its_lines(capsys: pytest.CaptureFixture[str]) -> None:
    echo_line(HOSTILE)
    echo("two\nlines\t" + HOSTILE)
    echo("on stderr " + HOSTILE, err=True)
    said = capsys.readouterr()
    assert said.out.splitlines()[0].startswith(r"\u001b]0;PWN\u0007\u009b31m\u202ex\u000d\u000afake")
    assert not STEERING.search(said.out + said.err)


def test_json_keeps_its_meaning(capsys: pytest.CaptureFixture[str]) -> None:
    echo(json.dumps({"x": HOSTILE}, ensure_ascii=False))
    said = capsys.readouterr().out
    assert not STEERING.search(said)
    assert json.loads(said) == {"x": HOSTILE}


def test_bytes_are_untouched_unless_a_terminal_reads_them(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.TextIOWrapper):
        def isatty(self) -> bool:
            return True

    raw = '{"x":"\u009b31m"}'.encode()
    for stream, expected in ((io.TextIOWrapper, raw), (Terminal, b'{"x":"\\u009b31m"}')):
        buffer = io.BytesIO()
        monkeypatch.setattr(sys, "stdout", stream(buffer, "utf-8"))
        echo(raw)
        sys.stdout.flush()
        assert buffer.getvalue().strip() == expected


def test_tables_lists_and_accounts_hold_it_as_text(capsys: pytest.CaptureFixture[str]) -> None:
    show_tables({"longest_sessions": [session()]}, "UTC")
    bill = {"age_s": 1, "energy_wh": None, "session_id": "S", "revision": 1, "reason": HOSTILE, "site_id": HOSTILE}
    show_bills([bill | {"station_id": HOSTILE, "connector_id": 1, "started_at": None, "ended_at": None}])
    row = {"session_id": "S", "account": None, "evidence": HOSTILE, "bill_state": "HELD", "held_reason": HOSTILE}
    for text in explained(session() | row | {"quality": [HOSTILE]}):
        echo_line(text)
    said = capsys.readouterr()
    assert not STEERING.search(said.out + said.err)
    assert "[red]" in said.out, "no markup either"
    assert not [line for line in said.out.splitlines() if line.startswith("fake")]


def test_a_failure_that_quotes_a_record_is_escaped(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(**_: object) -> None:
        raise click.ClickException(HOSTILE)

    monkeypatch.setattr(chargeline, "main", fail)
    assert run([]) == 1
    assert not STEERING.search(capsys.readouterr().err)


@pytest.mark.parametrize("text", ['=HYPERLINK("http://evil/","x")', "+1+1", "-1+1", "@SUM(A1)", "\t=1", "\r=1", "=1"])
def test_no_cell_is_a_formula(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    _write_csv(Answer(("a", "b"), [{"a": text, "b": [text]}]))
    body = capsys.readouterr().out.splitlines()[1]
    assert body.lstrip('"').startswith("'")
    assert not STEERING.search(body)


def test_numbers_and_texts_stay_what_they_are() -> None:
    given = [-3, -3.5, "-3.50", "+2", "a=b", "", None, ["a", "b"]]
    assert [cell(each) for each in given] == [-3, -3.5, "-3.50", "+2", "a=b", "", None, "a b"]
    assert plain("Café 充電 [x]") == "Café 充電 [x]"


def test_receipts_are_shown_line_by_line(capsys: pytest.CaptureFixture[str]) -> None:
    from pipeline.cli.receipts import _show_bill
    from pipeline.wire.receipts import decode_receipt

    value = receipts(story())["1:BILL"]
    document = json.loads(value) | {"station_id": HOSTILE}
    forged = json.dumps(document).encode()
    receipt = decode_receipt(forged, "test")
    assert receipt.kind == "BILL"
    _show_bill(receipt, forged)
    said = capsys.readouterr().out
    assert not STEERING.search(said)
    assert not [line for line in said.splitlines() if line.startswith("fake")]
