"""`chargeline what-if`: recorded sessions re-rated under other tariffs, from ClickHouse or offline from a file."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from pipeline.cli.clickhouse import password, said_plainly
from pipeline.cli.options import clickhouse_option, json_option, print_json, settings
from pipeline.cli.output import shown
from pipeline.cli.periods import period, since_option, until_option
from pipeline.cli.pricing_files import basis, signals_option
from pipeline.cli.reference import FILE, read
from pipeline.domain.checking.rerating import Effect, Recorded, rerate
from pipeline.domain.pricing.restrictions import END_OF_DAY, Calendar
from pipeline.errors import WrongUsage
from pipeline.settings import Settings
from pipeline.storage.reader import Question, Reader
from pipeline.storage.recorded import recorded_sessions
from pipeline.wire.recorded_sessions import decode_recorded
from pipeline.wire.sites import decode_sites


@click.command("what-if")
@click.argument("file", metavar="[SESSIONS.jsonl]", type=FILE, required=False)
@clickhouse_option
@since_option
@until_option
@click.option("--sites", "sites_file", type=FILE, required=True, help="Sites document (JSON).")
@click.option("--tariffs", "tariffs_file", type=FILE, required=True, help="The other tariffs (OCPI JSON).")
@signals_option
@click.option("--off-peak", default="22:00-06:00", show_default=True, metavar="HH:MM-HH:MM", help="Local hours.")
@json_option
def command(
    file: Path | None,
    clickhouse_url: str | None,
    since: str | None,
    until: str | None,
    sites_file: Path,
    tariffs_file: Path,
    signals_file: Path | None,
    off_peak: str,
    as_json: bool,
) -> None:
    """Print revenue, off-peak share, winners and losers per site as if other tariffs had been in force.

    The sessions of a period come from ClickHouse, or from SESSIONS.jsonl: what `chargeline assemble` prints, or records
    of the topics `sessions` or `receipts`. Before is what was billed, after is the price of the recorded quarter-hour
    slots and bill lines (of the readings themselves, in receipts), both without tax; held sessions are counted by
    reason. The tariffs must bear the ids that the sites name.
    """
    if file is not None and (since or until or clickhouse_url):
        raise click.UsageError("--from, --to and --clickhouse-url are for ClickHouse: leave SESSIONS.jsonl out")
    given = basis((tariffs_file,), None, signals_file)
    sites = {site.site_id: site for site in decode_sites(read(sites_file, "sites"), str(sites_file))}
    if file is not None:
        sessions = decode_recorded(read(file, "sessions"), str(file))
    else:
        sessions = _stored(settings(clickhouse_url=clickhouse_url), period(since, until))
    effects = rerate(sessions, sites, given.tariffs, _window(off_peak), given.signals)
    documents = [_document(site_id, effect) for site_id, effect in sorted(effects.items())]
    if as_json:
        print_json(documents)
    else:
        _show(documents)


def _stored(chosen: Settings, question: Question) -> list[Recorded]:
    with said_plainly():
        reader = Reader(chosen.clickhouse_url, chosen.clickhouse_user, password(chosen), chosen.clickhouse_database)
        try:
            return recorded_sessions(reader, question)
        finally:
            reader.close()


def _document(site_id: str, effect: Effect) -> dict[str, object]:
    fields = asdict(effect)
    share = effect.off_peak_wh / effect.energy_wh if effect.energy_wh else 0.0
    return {
        "site_id": site_id,
        **fields,
        "revenue_before": f"{effect.revenue_before:.4f}",
        "revenue_after": f"{effect.revenue_after:.4f}",
        "off_peak_share": round(share, 4),
    }


def _show(documents: list[dict[str, object]]) -> None:
    table = Table(title="under the other tariffs")
    columns = ("site_id", "sessions", "revenue_before", "revenue_after", "off_peak_share", "winners", "losers")
    for name in (*columns, "not priced"):
        table.add_column(name.replace("_", " "))
    for document in documents:
        reasons = document["not_priced"]
        said = ", ".join(f"{count} {code}" for code, count in reasons.items()) if isinstance(reasons, dict) else ""
        table.add_row(*map(shown, (*(document[name] for name in columns), said)))
    Console().print(table)


def _window(text: str) -> Calendar:
    begin, dash, end = text.partition("-")
    try:
        start, stop = (int(clock[:2]) * 60 + int(clock[3:]) for clock in (begin, end) if clock[2] == ":")
        if not dash or not 0 <= start < END_OF_DAY or not 0 <= stop <= END_OF_DAY:
            raise ValueError
    except (ValueError, IndexError) as error:
        raise WrongUsage(f"--off-peak {text!r} is not HH:MM-HH:MM") from error
    return Calendar(start=start, end=stop or END_OF_DAY)
