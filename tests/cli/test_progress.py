"""Progress without a terminal: a plain line every two seconds, nothing for what is quick."""

from __future__ import annotations

import io

import pytest

from pipeline.cli.progress import INTERVAL_S, Lines, progress


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_line_every_two_seconds_with_share_and_rate() -> None:
    out, clock = io.StringIO(), Clock()
    lines = Lines("replay", 960, "events", out=out, clock=clock)
    for _ in range(80):
        clock.now += 0.0625
        lines.advance(12)
    lines.finish()
    assert out.getvalue().splitlines() == [
        "replay: 384 of 960 events, 40 %, 192/s",
        "replay: 768 of 960 events, 80 %, 192/s",
        "replay: 960 of 960 events, 100 %, 192/s, done in 5 s",
    ]


def test_what_ends_within_two_seconds_says_nothing() -> None:
    out, clock = io.StringIO(), Clock()
    lines = Lines("quick", None, out=out, clock=clock)
    clock.now += INTERVAL_S - 0.1
    lines.note("nearly")
    lines.finish()
    assert out.getvalue() == ""


def test_a_step_without_a_total_is_named() -> None:
    out, clock = io.StringIO(), Clock()
    lines = Lines("starting", None, out=out, clock=clock)
    clock.now += INTERVAL_S
    lines.note("Kafka")
    assert out.getvalue() == "starting: Kafka\n"


def test_without_a_terminal_stdout_stays_free_for_results(capsys: pytest.CaptureFixture[str]) -> None:
    with progress("work", 1) as report:
        assert isinstance(report, Lines)
        report.advance()
    assert capsys.readouterr().out == ""
