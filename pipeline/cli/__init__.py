"""The command line: one file per command, imported when it is called.

The rule of the file: exit code 0 is good, 1 the work failed, 2 wrong usage. A failure that has a name (errors.py) is
one sentence on stderr; `--debug` shows where it came from. Any other exception is our bug and keeps its traceback.
"""

from __future__ import annotations

import importlib
import os
import sys
import traceback
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import click

from pipeline.cli.output import echo, plain
from pipeline.errors import InvalidMessage, Unavailable, WrongUsage

INTERRUPTED = 130


class Lazy(NamedTuple):
    """`module` has the click command as its attribute `command`; `help` is its line in the list of commands."""

    module: str
    help: str


COMMANDS: Mapping[str, Lazy] = {
    "demo": Lazy("pipeline.cli.demo", "Start everything, run a simulated fleet, print the report."),
    "up": Lazy("pipeline.cli.up", "Run an embedded Kafka broker and ClickHouse endpoint until Ctrl-C."),
    "topics": Lazy("pipeline.cli.topics", "Create and list the topics that schemas/topics declares."),
    "migrate": Lazy("pipeline.cli.migrate", "Bring ClickHouse to the newest schema."),
    "keys": Lazy("pipeline.cli.keys", "Make the keyring from which pseudonyms are made."),
    "sites": Lazy("pipeline.cli.sites", "Publish sites: where stations stand, their zone and tariffs."),
    "tariffs": Lazy("pipeline.cli.tariffs", "Publish tariffs: what a session costs."),
    "prices": Lazy("pipeline.cli.prices", "Publish price signals that dynamic tariffs follow."),
    "worker": Lazy("pipeline.cli.worker", "Assemble, rate and strip sessions, or store them."),
    "gateway": Lazy("pipeline.cli.gateway", "Accept chargers (OCPP-J 1.6 and 2.0.1) and write their frames to Kafka."),
    "simulate": Lazy("pipeline.cli.simulate", "Send the events of a seeded fleet to Kafka."),
    "replay": Lazy("pipeline.cli.replay", "Send recorded events or OCPP logs to Kafka."),
    "assemble": Lazy("pipeline.cli.assemble", "Files of events in, sessions as JSON lines out; no broker."),
    "audit": Lazy("pipeline.cli.audit", "Does a log conserve energy, and is every event accounted for?"),
    "report": Lazy("pipeline.cli.report", "Sessions, energy, revenue, demand and anomalies from ClickHouse."),
    "price": Lazy("pipeline.cli.price", "What a CDR or a session costs by its tariff, line by line; offline."),
    "verify": Lazy("pipeline.cli.verify", "Is a CDR or a receipt right? Offline; exit 0, 1 (mismatch) or 3."),
    "lint": Lazy("pipeline.cli.lint", "What is wrong or doubtful about OCPI tariffs; offline."),
    "preview": Lazy("pipeline.cli.preview", "What a session would cost under one or several tariffs."),
    "what-if": Lazy("pipeline.cli.what_if", "Recorded sessions under other tariffs: revenue, winners and losers."),
    "bills": Lazy("pipeline.cli.bills", "Bills that are held: why, since when, where."),
    "receipts": Lazy("pipeline.cli.receipts", "Export the receipts of final bills to files, or show them."),
    "stations": Lazy("pipeline.cli.stations", "Stations that are set aside: which, why; release them."),
    "rebuild": Lazy("pipeline.cli.rebuild", "Sessions and bills from the log again, against what stands."),
    "dead-letters": Lazy("pipeline.cli.dead_letters", "List, show and replay what could not be used."),
}


class LazyGroup(click.Group):
    """Commands by name from COMMANDS; the list of them is printed without importing any."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if (lazy := COMMANDS.get(cmd_name)) is None:
            return None
        command: click.Command = importlib.import_module(lazy.module).command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, lazy.help) for name, lazy in COMMANDS.items()])


@click.command(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--debug", is_flag=True, help="Show the traceback of a failure, too.")
@click.version_option(package_name="chargeline", prog_name="chargeline")
def chargeline(debug: bool) -> None:
    """Billing-grade monitoring of EV charging sessions: meter events in Kafka become priced sessions in ClickHouse.

    Settings are environment variables CHARGELINE_*, see ops/settings.md; options win over them. `chargeline demo` shows
    everything at once.
    """


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point of the script; ends the process."""
    sys.exit(run(sys.argv[1:] if arguments is None else arguments))


def run(arguments: Sequence[str]) -> int:
    """One call of the command line; returns its exit code."""
    try:
        code = chargeline.main(args=list(arguments), prog_name="chargeline", standalone_mode=False)
        sys.stdout.flush()
    except click.Abort:  # click's name for Ctrl-C
        return INTERRUPTED
    except click.ClickException as error:
        error.message = plain(error.message)  # it may quote a record
        error.show()
        return error.exit_code
    except (WrongUsage, Unavailable, InvalidMessage) as error:
        if "--debug" in arguments:
            traceback.print_exc()
        echo(f"chargeline: {plain(error)}", err=True)
        return 2 if isinstance(error, WrongUsage) else 1
    except BrokenPipeError:  # `chargeline ... | head`: the reader has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return code if isinstance(code, int) else 0
