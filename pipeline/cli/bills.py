"""`chargeline bills`: bills that are held because they lack a fact without which no price exists."""

from __future__ import annotations

import time
from collections import Counter
from datetime import UTC, datetime
from typing import Any

import click
import msgspec
from msgspec import structs

from pipeline.cli.clickhouse import password, said_plainly
from pipeline.cli.options import clickhouse_option, json_option, kafka_option, print_json, settings
from pipeline.cli.output import echo, echo_line
from pipeline.cli.periods import instant, period, since_option, until_option
from pipeline.cli.reference import control
from pipeline.domain.events import LIVE, BillDecided, BillDecision
from pipeline.domain.session.decisions import contradiction
from pipeline.domain.station import LATENESS_HORIZON, SECOND
from pipeline.edge.producer import produce
from pipeline.errors import Unavailable, WrongUsage
from pipeline.kafka_config import producer_config
from pipeline.settings import Settings
from pipeline.storage.reader import Question, Reader
from pipeline.topics import METER_EVENTS

QUANTITY = click.IntRange(0, 1_000_000_000_000)
LINE = (
    "{reason:<20} {age:>9}  {session_id}  {site}  {station_id}/{connector_id}  {energy} kWh, amount unknown  "
    "ended {ended}"
)


@click.group()
def command() -> None:
    """Held bills: the session and its energy are known, the amount is not."""


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
    """List held bills, the oldest first: reason, age since the end of the session, place and energy.

    With --json one line each; the keys are stable. A bill is held until what it lacks arrives; it has no amount, and
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

    To release a bill that lacks a site, tariff or price, publish that. A bill held for its evidence (see the reason in
    `bills list`) is billed by `bills decide` or given up here. The decision is an event in `meter-events`, so a replay
    repeats it; the session gets a further revision, BILL_WAIVED.
    """
    chosen = settings(kafka=kafka, clickhouse_url=clickhouse_url)
    _send(chosen, _about(chosen, session_id, None, "waive"))
    echo(f"{session_id}: nothing to pay, as soon as the stream has read it")


@command.command()
@click.argument("session_id")
@click.option("--hypothesis", metavar="NAME", default="", help="One of those in `assemble --explain`.")
@click.option("--start-register", metavar="WH", type=QUANTITY, help="The register at the start.")
@click.option("--stop-register", metavar="WH", type=QUANTITY, help="The register at the end.")
@click.option("--energy", metavar="WH", type=QUANTITY, help="This energy, whatever the registers say.")
@click.option("--started-at", metavar="TIME", help="When it began, ISO 8601; no offset: UTC.")
@click.option("--ended-at", metavar="TIME", help="When it ended.")
@click.option("--reserved-from", metavar="TIME", help="When the reservation began, to bill it by the tariff.")
@click.option("--without-reservation", is_flag=True, help="Do not bill the reservation.")
@click.option("--owner", metavar="TOKEN", help="The driver's token, where no start names it; `-`: ask for it.")
@click.option("--owner-type", metavar="TYPE", default="", help="OCPP 2.0.1 type of the token, e.g. ISO14443.")
@click.option("--withdraw", is_flag=True, help="Take the last decision back; the bill is held again.")
@click.option("--by", metavar="ID", required=True, help="Operator id, [a-z0-9._-]{1,64}, no name: receipts carry it.")
@click.option("--why", metavar="TEXT", required=True, help="Up to 255 characters: in receipts, never for analysts.")
@click.option("--station", metavar="ID", help="Of the session; only needed to decide again.")
@click.option("--clock", default=LIVE, show_default=True, help="Of the station, with --station.")
@kafka_option
@clickhouse_option
def decide(
    session_id: str, hypothesis: str, start_register: int | None, stop_register: int | None, energy: int | None,
    started_at: str | None, ended_at: str | None, reserved_from: str | None, without_reservation: bool,
    owner: str | None, owner_type: str, withdraw: bool, by: str, why: str, station: str | None, clock: str,
    kafka: str | None, clickhouse_url: str | None,
) -> None:  # fmt: skip
    """Bill the held SESSION_ID by a hypothesis, registers, energy or times for which somebody is responsible.

    The stated values replace evidence that is missing or doubted; the bill is final and estimated (quality code
    BILL_DECIDED), and its receipt names operator and reason. A later decision (with --station, as the bill is not held
    any more) takes the bill back with a credit and makes a new one; so does late evidence that suffices for a bill. An
    energy that the connector cannot have delivered, or a hypothesis that the evidence does not know, is not applied:
    the bill stays held, with the code DECISION_NOT_APPLIED. See ops/runbooks/held-bills.md.
    """
    chosen = settings(kafka=kafka, clickhouse_url=clickhouse_url)
    place = None if station is None else (station, clock)
    decided = structs.replace(
        _about(chosen, session_id, place, "withdraw" if withdraw else "bill"),
        hypothesis=hypothesis,
        start_register_wh=start_register,
        stop_register_wh=stop_register,
        energy_wh=energy,
        started_at_us=_instant("--started-at", started_at),
        ended_at_us=_instant("--ended-at", ended_at),
        reserved_from_us=_instant("--reserved-from", reserved_from),
        without_reservation=without_reservation,
        token=click.prompt("token", hide_input=True) if owner == "-" else owner,
        token_type=owner_type,
        by=by,
        why=why,
    )
    _send(chosen, decided)
    done = "held again" if withdraw else "billed"
    echo(f"{session_id}: {done} as soon as the stream has read it; `chargeline receipts show {session_id}`")


def _about(chosen: Settings, session_id: str, place: tuple[str, str] | None, decision: BillDecision) -> BillDecided:
    """A decision about a bill that is held now, or about one at a given `place`: (station, clock)."""
    if place is None:
        row = next((row for row in _rows(chosen, period(None, None)) if row["session_id"] == session_id), None)
        if row is None:
            raise WrongUsage(f"{session_id}: no bill of this session is held; see `chargeline bills list`")
        if row["age_s"] is not None and row["age_s"] * SECOND > LATENESS_HORIZON and row["clock"] == LIVE:
            raise WrongUsage(f"{session_id}: ended more than 7 days ago, and the stream does not keep it any more")
        place = row["station_id"], row["clock"]
    return BillDecided(
        station_id=place[0],
        session_id=session_id,
        decision=decision,
        event_time_us=time.time_ns() // 1000,
        clock=place[1],
    )


def _send(chosen: Settings, decided: BillDecided) -> None:
    """Raises WrongUsage if the stream would refuse it."""
    wrong = contradiction(decided)
    if wrong:
        raise WrongUsage(f"{decided.session_id}: {wrong}")
    value = msgspec.json.encode(decided)
    try:
        msgspec.json.decode(value, type=BillDecided)
    except msgspec.ValidationError as error:
        raise WrongUsage(f"{decided.session_id}: the decision would be refused: {error}") from error
    value = control(chosen, METER_EVENTS.name).sign(value)
    report = produce(
        [(decided.event_time_us, decided.station_id.encode(), value)], METER_EVENTS.name, producer_config(chosen)
    )
    if report.failed:
        raise Unavailable(f"{METER_EVENTS.name}: the broker refused the decision: {report.first_error}")


def _instant(option: str, text: str | None) -> int | None:
    return None if text is None else instant(option, text, 0)


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
        echo_line(LINE.format(age=age, energy=energy, ended=ended, site=site, **_only(bill)))
    reasons = Counter(bill["reason"] for bill in bills)
    if bills:
        counts = ", ".join(f"{count:,} {code}" for code, count in reasons.most_common())
        echo(f"{len(bills):,} held: {counts}", err=True)
    else:
        echo("no bill is held", err=True)


def _age(seconds: int | None) -> str:
    if seconds is None:
        return "age ?"
    hours = seconds // 3600
    return f"{hours} h" if hours < 48 else f"{hours // 24} days"


def _only(bill: dict[str, Any]) -> dict[str, Any]:
    return {name: bill[name] for name in ("reason", "session_id", "station_id", "connector_id")}


def _iso(value: datetime | None) -> str | None:
    return None if value is None else value.astimezone(UTC).isoformat().replace("+00:00", "Z")
