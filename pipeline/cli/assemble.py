"""`chargeline assemble`: reads files of events, prints sessions as JSON lines. No broker, no database, nothing is kept.

It calls the functions of the stream with the records of `chargeline replay`.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import cast

import click
import orjson

from pipeline.agents.offline import OfflineSessions
from pipeline.cli.explaining import explained
from pipeline.cli.log_files import print_bad_lines, print_set_aside, strict_option
from pipeline.cli.options import settings
from pipeline.cli.output import echo, plain
from pipeline.cli.progress import progress
from pipeline.cli.reference import keyring, passing_keyring, rating, sites_option, tariffs_option
from pipeline.edge.replayer import Format, open_log


@click.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--format", "format_", type=click.Choice(["ocpp16", "events"]), default="ocpp16", show_default=True,
    help="OCPP-J frames in their envelope, or canonical events v1.",
)  # fmt: skip
@sites_option
@tariffs_option
@click.option("--final-ticks", is_flag=True, help="Let 25 h pass after the last record, so that silent sessions close.")
@click.option(
    "--explain", is_flag=True,
    help="Add the account of the evidence: what made which fact, what was left out and why, what there is to decide.",
)  # fmt: skip
@strict_option
def command(
    files: tuple[Path, ...], format_: str, sites: Path | None, tariffs: Path | None, final_ticks: bool, explain: bool,
    strict: bool,
) -> int:  # fmt: skip
    """Assemble the sessions of FILES (.ndjson or .ndjson.gz, `-` is stdin; several files are one log).

    One JSON object per session on stdout, its latest revision, in order of start. Sessions without site or tariff have
    their energy, and their bill is HELD with the reason. Ids and pseudonyms are made with the keyring of
    CHARGELINE_KEYS_FILE, or with keys of this run alone. A line that is not a record is named on stderr and left out;
    the others are assembled, and the exit code is 1. With --explain a terminal shows a few lines per session instead;
    elsewhere the JSON has one more field, `account`.
    """
    found = settings(sites_file=sites, tariffs_file=tariffs)
    keys = keyring(found) if found.keys_file else passing_keyring()
    sessions = OfflineSessions(rating(found, keys), keys, explain=explain)
    log = open_log(files, cast(Format, format_), bad_lines="refuse" if strict else "leave out")
    exit_code = print_bad_lines(log)
    with progress("assembling", log.lines, "records") as bar:
        for _, key, value in log.records(final_ticks=final_ticks):
            sessions.feed(key, value)
            if key is not None:
                bar.advance()
    for_people = explain and sys.stdout.isatty()
    for row in sessions.rows():
        echo("\n".join(map(plain, explained(row))) + "\n" if for_people else orjson.dumps(row))
    for reason, count in sorted(sessions.refused.items()):
        echo(f"refused: {count} {reason}", err=True)
    return print_set_aside(sessions.stage.set_aside) or exit_code
