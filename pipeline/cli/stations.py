"""`chargeline stations`: stations that are set aside because an error of ours or a bound was met, and their release."""

from __future__ import annotations

from datetime import UTC, datetime

import click

from pipeline.cli.options import json_option, kafka_option, print_json, settings
from pipeline.cli.output import echo, echo_line
from pipeline.cli.progress import progress
from pipeline.cli.reference import control
from pipeline.edge.quarantine import SetAside, set_aside
from pipeline.edge.quarantine import release as send_release
from pipeline.errors import WrongUsage
from pipeline.kafka_config import client_config, producer_config
from pipeline.settings import Settings


@click.group()
def command() -> None:
    """Stations that are set aside: their messages are kept, their open sessions held, until they are released."""


@command.command()
@kafka_option
@json_option
def quarantined(kafka: str | None, as_json: bool) -> None:
    """Which stations are set aside, since when and why; the oldest first. With --json a line each, stable keys."""
    found = _read(settings(kafka=kafka))
    for each in found:
        facts = _facts(each)
        if as_json:
            print_json(facts)
        else:
            echo_line("{station_id}  since {since}  {records} records kept  {reason}  ({source})".format(**facts))
    if not found and not as_json:
        echo("no station is set aside")


@command.command()
@click.argument("station_id")
@click.option("--afresh", is_flag=True, help="Without its state, whose record cannot be read: open sessions are lost.")
@kafka_option
def release(station_id: str, afresh: bool, kafka: str | None) -> None:
    """Apply what was kept of STATION_ID, in order, and go on with it. Signed with the keyring of CHARGELINE_KEYS_FILE.

    First start a version of the software that corrects the cause. If the error is raised again, the station stays set
    aside, and nothing is lost. The release is an event in the station's topic, so a replay repeats it.
    """
    chosen = settings(kafka=kafka)
    aside = [each for each in _read(chosen) if each.key == station_id]
    if not aside:
        raise WrongUsage(f"{station_id} is not set aside; see `chargeline stations quarantined`")
    for each in aside:
        send_release(producer_config(chosen), each, b"afresh" if afresh else b"", control(chosen, each.source))
        echo(f"{station_id}: {each.records} records are applied as soon as the stream has read the release")


def _read(chosen: Settings) -> list[SetAside]:
    with progress("reading what is set aside", unit="records") as shown:
        return set_aside(client_config(chosen), shown.advance)


def _facts(aside: SetAside) -> dict[str, str | int]:
    return {
        "station_id": aside.key,
        "since": datetime.fromtimestamp(aside.mark.at_ms / 1000, UTC).isoformat(timespec="seconds"),
        "reason": aside.mark.reason,
        "records": aside.records,
        "source": aside.source,
        "partition": aside.partition,
        "offset": aside.offset,
    }
