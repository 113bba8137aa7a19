"""`chargeline report`: what happened, from ClickHouse only; for people as tables, for programs as JSON or CSV.

The keys of the JSON form and the columns of the CSV form are stable: other tools rely on them.
"""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import click

from pipeline.cli.clickhouse import password, said_plainly
from pipeline.cli.options import clickhouse_option, settings
from pipeline.cli.output import cell, echo
from pipeline.cli.periods import period, since_option, until_option
from pipeline.cli.report_tables import TABLES, show
from pipeline.settings import Settings
from pipeline.storage.reader import ALWAYS, Answer, Question, Reader


@click.command("report")
@clickhouse_option
@click.option("--json", "as_json", is_flag=True, help="One JSON object: period, totals and a list per section.")
@click.option("--csv", "as_csv", is_flag=True, help="One section as CSV; name it with --section.")
@click.option("--section", type=click.Choice(list(TABLES)), help="Only this section.")
@since_option
@until_option
@click.option("--zone", default="UTC", show_default=True, metavar="ZONE", help="Time zone of the hours of the day.")
@click.option(
    "--longest", type=click.IntRange(1, 10_000), default=10, show_default=True, help="How many long sessions."
)
def command(
    clickhouse_url: str | None,
    as_json: bool,
    as_csv: bool,
    section: str | None,
    since: str | None,
    until: str | None,
    zone: str,
    longest: int,
) -> None:
    """Print sessions, energy, revenue, demand and anomalies from ClickHouse.

    Each session counts once, in its highest revision; void sessions do not count. Revenue is the sum of final bills;
    held bills are counted and have no amount.
    """
    if as_json and as_csv:
        raise click.UsageError("choose --json or --csv")
    if as_csv and section is None:
        raise click.UsageError(f"--csv writes one section: add --section ({', '.join(TABLES)})")
    question = period(since, until, _zone(zone), longest)
    sections = read(settings(clickhouse_url=clickhouse_url), question, [section] if section else list(TABLES))
    if as_json:
        echo(json.dumps(document(question, sections), indent=2))
    elif as_csv:
        _write_csv(sections[str(section)])
    else:
        show({name: answer.rows for name, answer in sections.items()}, zone)


def read(chosen: Settings, question: Question, names: Sequence[str] = tuple(TABLES)) -> dict[str, Answer]:
    """The named sections, from ClickHouse, in the types of JSON. Ends the command when ClickHouse does not answer."""
    with said_plainly():
        reader = Reader(chosen.clickhouse_url, chosen.clickhouse_user, password(chosen), chosen.clickhouse_database)
        try:
            return {name: _plain(reader.answer(name, question)) for name in names}
        finally:
            reader.close()


def document(question: Question, sections: Mapping[str, Answer]) -> dict[str, Any]:
    """The JSON form: totals as one object that holds the revenue, every other section as a list."""
    found: dict[str, Any] = {
        "period": {
            "from": _iso_us(question.from_us) if question.from_us != ALWAYS[0] else None,
            "to": _iso_us(question.to_us) if question.to_us != ALWAYS[1] else None,
            "zone": question.zone,
        }
    }
    for name, (_, rows) in sections.items():
        if name == "totals":
            found["totals"] = dict(rows[0])
        elif name == "revenue":
            found.setdefault("totals", {})["revenue"] = rows
        else:
            found[name] = rows
    return found


def _plain(answer: Answer) -> Answer:
    """The answer in the types of JSON: decimals and times as text, so that nothing is rounded on the way."""
    rows = [{name: _plain_value(value) for name, value in row.items()} for row in answer.rows]
    return Answer(answer.columns, rows)


def _plain_value(value: Any) -> Any:
    match value:
        case Decimal():
            return str(value)
        case datetime():
            return _iso(value)
        case float():
            return round(value, 3)
        case _:
            return value


def _iso(value: datetime) -> str:
    return value.astimezone(UTC).isoformat().replace("+00:00", "Z")


def _iso_us(microseconds: int) -> str:
    return _iso(datetime.fromtimestamp(microseconds / 1e6, UTC))


def _zone(name: str) -> str:
    try:
        return ZoneInfo(name).key
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise click.UsageError(f"--zone: {name!r} is no IANA time zone, e.g. Europe/Berlin") from error


def _write_csv(answer: Answer) -> None:
    writer = csv.DictWriter(sys.stdout, fieldnames=answer.columns, lineterminator="\n")
    writer.writeheader()
    for row in answer.rows:
        writer.writerow({name: cell(value) for name, value in row.items()})
