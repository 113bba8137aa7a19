"""What the commands that read recorded logs share: the option that stops at a bad line, and the report of bad lines."""

from __future__ import annotations

from collections.abc import Mapping

import click

from pipeline.cli.output import echo
from pipeline.edge.replayer import Log

strict_option = click.option("--strict", is_flag=True, help="Stop at the first line that is not a record (exit 2).")


def print_bad_lines(log: Log) -> int:
    """Names the bad lines on stderr and says what became of them. Exit code 1, unless they were to be sent."""
    if not log.bad:
        return 0
    for line in log.named:
        echo(f"bad line {line}", err=True)
    if log.bad > len(log.named):
        echo(f"and {log.bad - len(log.named):,} more bad lines", err=True)
    what = "left out" if log.left_out == log.bad else f"of these {log.left_out:,} left out, the others kept as they are"
    advice = "correct them, or check --format" if log.bad == log.lines else "correct them"
    echo(f"{log.bad:,} of {log.lines:,} lines are bad: {what}; {advice}", err=True)
    return 1 if log.left_out or log.bad_lines != "send" else 0


def print_set_aside(stations: Mapping[bytes, str]) -> int:
    """Names the stations that met an error of ours, with its place. Exit code 1 if there are any."""
    for key, where in sorted(stations.items()):
        echo(f"{key.decode()}: an error of ours, {where}: no later message of this station is used", err=True)
    return 1 if stations else 0
