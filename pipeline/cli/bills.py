"""`chargeline bills`: bills that are held, because a fact without which no price exists is missing."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from typing import Any

import click

from pipeline.cli.clickhouse import password, said_plainly
from pipeline.cli.options import clickhouse_option, json_option, print_json, settings
from pipeline.cli.periods import period, since_option, until_option
from pipeline.storage.reader import Reader

LINE = (
    "{reason:<20} {age:>9}  {session_id}  {site}  {station_id}/{connector_id}  {energy} kWh, amount unknown  "
    "ended {ended}"
)


@click.group()
def command() -> None:
    """Bills that are held: their sessions and energy are known, their amounts are not."""


@command.command("list")
@clickhouse_option
@since_option
@until_option
@click.option("--site", "site_id", metavar="ID", help="Only of this site.")
@click.option("--reason", metavar="CODE", help="Only those held for this reason, e.g. TARIFF_MISSING.")
@json_option
def list_(
    clickhouse_url: str | None,
    since: str | None,
    until: str | None,
    site_id: str | None,
    reason: str | None,
    as_json: bool,
) -> None:
    """Held bills, the oldest first: reason, age since the end of the session, place and energy.

    With --json a line each; the keys are stable. A bill is held until what it lacks is there; it has no amount, and
    none is guessed.
    """
    chosen, question = settings(clickhouse_url=clickhouse_url), period(since, until)
    with said_plainly():
        reader = Reader(chosen.clickhouse_url, chosen.clickhouse_user, password(chosen), chosen.clickhouse_database)
        try:
            rows = reader.answer("held_bills", question).rows
        finally:
            reader.close()
    held = [_held(row) for row in rows]
    wanted = [bill for bill in held if site_id in (None, bill["site_id"]) and reason in (None, bill["reason"])]
    if as_json:
        for bill in wanted:
            print_json(bill)
    else:
        _show(wanted)


def _held(row: dict[str, Any]) -> dict[str, Any]:
    return {
        "session_id": row["session_id"],
        "revision": row["revision"],
        "reason": row["held_reason"],
        "age_s": row["age_s"],
        "site_id": row["site_id"],
        "station_id": row["station_id"],
        "connector_id": row["connector_id"],
        "started_at": _iso(row["started_at"]),
        "ended_at": _iso(row["ended_at"]),
        "energy_wh": row["energy_wh"],
        "amount": None,
    }


def _show(bills: list[dict[str, Any]]) -> None:
    for bill in bills:
        age = _age(bill["age_s"])
        energy = "?" if bill["energy_wh"] is None else f"{bill['energy_wh'] / 1000:.3f}"
        ended, site = bill["ended_at"] or "unknown", bill["site_id"] or "no known site"
        click.echo(LINE.format(age=age, energy=energy, ended=ended, site=site, **_only(bill)))
    reasons = Counter(bill["reason"] for bill in bills)
    if bills:
        counts = ", ".join(f"{count:,} {code}" for code, count in reasons.most_common())
        click.echo(f"{len(bills):,} held: {counts}", err=True)
    else:
        click.echo("no bill is held", err=True)


def _age(seconds: int | None) -> str:
    if seconds is None:
        return "age ?"
    hours = seconds // 3600
    return f"{hours} h" if hours < 48 else f"{hours // 24} days"


def _only(bill: dict[str, Any]) -> dict[str, Any]:
    return {name: bill[name] for name in ("reason", "session_id", "station_id", "connector_id")}


def _iso(value: datetime | None) -> str | None:
    return None if value is None else value.astimezone(UTC).isoformat().replace("+00:00", "Z")
