"""`chargeline audit`: does a log conserve energy, is every event accounted for? Per connector and station, offline."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import cast

import click

from pipeline.agents.offline import OfflineSessions
from pipeline.cli.log_files import print_bad_lines, print_set_aside, strict_option
from pipeline.cli.options import json_option, print_json, settings
from pipeline.cli.output import echo
from pipeline.cli.progress import progress
from pipeline.cli.reference import passing_keyring, rating, sites_option
from pipeline.domain.metering.conservation import difference, unattributed
from pipeline.domain.station import Station
from pipeline.edge.replayer import Format, open_log


@click.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--format",
    "format_",
    type=click.Choice(["ocpp16", "events"]),
    default="ocpp16",
    show_default=True,
    help="OCPP-J frames in their envelope, or canonical events.",
)
@sites_option
@strict_option
@json_option
def command(files: tuple[Path, ...], format_: str, sites: Path | None, strict: bool, as_json: bool) -> int:
    """Audit FILES (.ndjson or .ndjson.gz; several files are one log).

    Per connector: attributed + quarantined + unattributed energy = movement of the register. Per station: received =
    used + duplicates + quarantined + outside sessions + pending. Exit 1 if one of them does not hold, or if a line is
    not a record: such lines are named on stderr and left out.
    """
    found = settings(sites_file=sites)
    keys = passing_keyring()
    sessions = OfflineSessions(rating(found, keys), keys)
    log = open_log(files, cast(Format, format_), bad_lines="refuse" if strict else "leave out")
    exit_code = print_bad_lines(log)
    with progress("auditing", log.lines, "records") as bar:
        for _, key, value in log.records(final_ticks=True):
            sessions.feed(key, value)
            if key is not None:
                bar.advance()
    rows = [row for station in sessions.stage.states.values() for row in _rows(station)]
    wrong = [row for row in rows if row["difference_wh"] or row["events_missing"]]
    if as_json:
        print_json({"connectors": rows, "wrong": len(wrong)})
    else:
        for row in wrong:
            echo("wrong: " + ", ".join(f"{name} {value}" for name, value in row.items()))
        totals = {name: sum(int(str(row[name])) for row in rows) for name in ENERGY}
        echo(
            f"{len(rows)} connectors: "
            + ", ".join(f"{name.removesuffix('_wh')} {wh:,} Wh" for name, wh in totals.items())
            + f"; {len(wrong)} of them do not balance"
        )
    return print_set_aside(sessions.stage.set_aside) or (1 if wrong else exit_code)


ENERGY = ("attributed_wh", "quarantined_wh", "unattributed_wh", "movement_wh", "estimated_wh")


def _rows(station: Station) -> Iterator[dict[str, object]]:
    accounted = station.used + station.duplicates + station.quarantined + station.outside + station.pending()
    for connector in station.connectors.values():
        if connector.opening_wh is None:
            continue
        yield {
            "station_id": station.station_id,
            "connector_id": connector.connector_id,
            "attributed_wh": connector.attributed_wh,
            "quarantined_wh": connector.quarantined_wh,
            "unattributed_wh": unattributed(connector),
            "movement_wh": connector.closing_wh - connector.opening_wh,
            "estimated_wh": connector.estimated_wh,
            "difference_wh": difference(connector),
            "events_missing": station.received - accounted,
        }
