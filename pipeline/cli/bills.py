"""`chargeline bills`: bills that are held, because a fact without which no price exists is missing."""

from __future__ import annotations

import time
from collections import Counter
from datetime import UTC, datetime
from typing import Any

import click
import msgspec

from pipeline.cli.clickhouse import password, said_plainly
from pipeline.cli.options import clickhouse_option, json_option, kafka_option, print_json, settings
from pipeline.cli.periods import period, since_option, until_option
from pipeline.domain.events import LIVE, BillDecided
from pipeline.domain.station import LATENESS_HORIZON, SECOND
from pipeline.edge.producer import produce
from pipeline.errors import Unavailable, WrongUsage
from pipeline.kafka_config import producer_config
from pipeline.settings import Settings
from pipeline.storage.reader import Question, Reader
from pipeline.topics import METER_EVENTS

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
    held = [_held(row) for row in _rows(settings(clickhouse_url=clickhouse_url), period(since, until))]
    wanted = [bill for bill in held if site_id in (None, bill["site_id"]) and reason in (None, bill["reason"])]
    if as_json:
        for bill in wanted:
            print_json(bill)
    else:
        _show(wanted)


@command.command()
@click.argument("session_id")
@kafka_option
@clickhouse_option
def release(session_id: str, kafka: str | None, clickhouse_url: str | None) -> None:
    """Give up the held bill of SESSION_ID: it becomes final with nothing to pay.

    A bill that lacks a site, tariff or price is released by publishing that. One that is held for its evidence (see the
    reason in `bills list`) cannot be priced by anybody. The decision is an event in `meter-events`, so a replay repeats
    it; it comes out as a further revision, BILL_WAIVED.
    """
    chosen = settings(kafka=kafka, clickhouse_url=clickhouse_url)
    row = next((row for row in _rows(chosen, period(None, None)) if row["session_id"] == session_id), None)
    if row is None:
        raise WrongUsage(f"{session_id}: no bill of this session is held; see `chargeline bills list`")
    if row["age_s"] is not None and row["age_s"] * SECOND > LATENESS_HORIZON and row["clock"] == LIVE:
        raise WrongUsage(f"{session_id}: ended more than 7 days ago, and the stream keeps it no longer")
    decided = BillDecided(
        station_id=row["station_id"],
        session_id=session_id,
        decision="waive",
        event_time_us=time.time_ns() // 1000,
        clock=row["clock"],
    )
    record = (decided.event_time_us, decided.station_id.encode(), msgspec.json.encode(decided))
    report = produce([record], METER_EVENTS.name, producer_config(chosen))
    if report.failed:
        raise Unavailable(f"{METER_EVENTS.name}: the broker refused the decision: {report.first_error}")
    click.echo(f"{session_id}: nothing to pay, as soon as the stream has read it")


def _rows(chosen: Settings, question: Question) -> list[dict[str, Any]]:
    with said_plainly():
        reader = Reader(chosen.clickhouse_url, chosen.clickhouse_user, password(chosen), chosen.clickhouse_database)
        try:
            return reader.answer("held_bills", question).rows
        finally:
            reader.close()


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
