"""What a stranger meets first: help, exit codes, one sentence instead of a traceback."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

import click
import pytest
from click.testing import CliRunner

from pipeline import cli
from pipeline.errors import InvalidMessage, Unavailable, WrongUsage


def raising(error: BaseException) -> click.Command:
    @click.command()
    def command() -> None:
        raise error

    return command


@pytest.fixture
def with_command(monkeypatch: pytest.MonkeyPatch) -> Callable[[click.Command], None]:
    def put(command: click.Command) -> None:
        monkeypatch.setattr(cli.LazyGroup, "get_command", lambda *_: command)

    return put


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_every_command_in_the_list_exists_and_explains_itself(name: str) -> None:
    result = CliRunner().invoke(cli.chargeline, [name, "--help"])
    assert result.exit_code == 0, result.output
    assert f"Usage: chargeline {name}" in result.output
    command = cli.chargeline.get_command(click.Context(cli.chargeline), name)
    assert command is not None
    assert command.help, f"{name} has no docstring"
    undocumented = [
        each.name for each in command.params if isinstance(each, click.Option) and not (each.help or each.hidden)
    ]
    assert undocumented == []


def test_help_lists_every_command_and_imports_none() -> None:
    program = (
        "import sys; from pipeline.cli import COMMANDS, run; run(['--help']);"
        "sys.exit(any(lazy.module in sys.modules for lazy in COMMANDS.values()) or 'confluent_kafka' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)  # noqa: S603 - our own program
    assert done.returncode == 0, done.stderr
    for name, lazy in cli.COMMANDS.items():
        assert name in done.stdout
        assert lazy.help.split()[0] in done.stdout


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (WrongUsage("sites.json: field 3 is missing"), 2),
        (Unavailable("Kafka does not answer"), 1),
        (InvalidMessage("MALFORMED", "line 7"), 1),
        (click.Abort(), cli.INTERRUPTED),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_failure_with_a_name_is_one_sentence_and_an_exit_code(
    error: Exception,
    code: int,
    with_command: Callable[[click.Command], None],
    capsys: pytest.CaptureFixture[str],
) -> None:
    with_command(raising(error))
    assert cli.run(["any"]) == code
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.strip() == (f"chargeline: {error}" if str(error) else "")
    assert cli.run(["--debug", "any"]) == code
    assert code == cli.INTERRUPTED or "Traceback" in capsys.readouterr().err


def test_a_defect_of_ours_keeps_its_traceback(with_command: Callable[[click.Command], None]) -> None:
    with_command(raising(ZeroDivisionError()))
    with pytest.raises(ZeroDivisionError):
        cli.run(["any"])


@pytest.mark.parametrize("arguments", [["no-such-command"], ["topics", "--no-such-option"], ["keys", "create"]])
def test_wrong_usage_is_exit_code_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(arguments) == 2
    assert "Usage: chargeline" in capsys.readouterr().err


def test_a_reader_that_has_seen_enough_is_no_error() -> None:
    command = [sys.executable, "-m", "pipeline", "topics", "list", "--json"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)  # noqa: S603 - our own command
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()  # as `| head` does
    assert process.stderr.read() == ""
    process.stderr.close()
    assert process.wait(20) == 1
