"""Progress without a terminal: a plain line every two seconds, nothing for what is quick."""

from __future__ import annotations

import contextlib
import io
import os
import pty
import subprocess
import sys

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


def test_on_a_terminal_it_is_a_bar() -> None:
    program = (
        "from pipeline.cli.progress import progress\n"
        "with progress('replay', 20, 'events') as report:\n"
        "    report.note('soon')\n"
        "    report.advance(20)\n"
    )
    controller, terminal = pty.openpty()
    process = subprocess.Popen([sys.executable, "-c", program], stdout=terminal, stderr=terminal)  # noqa: S603 - our own program
    os.close(terminal)
    shown = b""
    with contextlib.suppress(OSError), os.fdopen(controller, "rb", buffering=0) as screen:  # EIO: the terminal is gone
        while part := screen.read(4096):
            shown += part
    assert process.wait(20) == 0
    assert "replay" in shown.decode()
    assert "20/20" in shown.decode()
    assert "━" in shown.decode()
