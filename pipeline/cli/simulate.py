"""`chargeline simulate`: a seeded fleet into `meter-events`, or into a file; the same options give the same bytes.

Canonical events with labelled faults (edge/simulator.py), or OCPP frames of virtual chargers with quirks
(edge/chargers/).
"""

from __future__ import annotations

import gzip
import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, cast

import click
import msgspec
from click.core import ParameterSource

from pipeline.cli.options import json_option, kafka_option, print_json, settings
from pipeline.cli.output import echo
from pipeline.cli.progress import progress
from pipeline.cli.reference import control
from pipeline.edge.chargers import documents as charger_documents
from pipeline.edge.chargers.fleet import ChargerFleetConfig, deliveries, fleet_frames, truth_line
from pipeline.edge.chargers.registry import QUIRKS
from pipeline.edge.chargers.tape import Protocol
from pipeline.edge.faults import KINDS, parse_faults
from pipeline.edge.fleet import fleet_documents
from pipeline.edge.producer import Record, Report, limited_rate, paced, produce, signed
from pipeline.edge.simulator import DEFAULT_START, FleetConfig, Truth, ignore, simulate
from pipeline.errors import Unavailable, WrongUsage
from pipeline.kafka_config import producer_config
from pipeline.topics import METER_EVENTS

PROTOCOLS: Mapping[str, Protocol] = {"ocpp16": "ocpp1.6", "ocpp201": "ocpp2.0.1"}


@click.command(
    epilog="\b\nFaults of canonical events (share of the sessions under `all`):\n"
    + "\n".join(f"  {name:18} {kind.rate:6.1%}  {kind.meaning}" for name, kind in KINDS.items())
    + "\n\n\b\nQuirks of OCPP chargers:\n"
    + "\n".join(f"  {name:24} {quirk.meaning}" for name, quirk in QUIRKS.items())
)
@kafka_option
@click.option("--seed", default=1, show_default=True, help="The same seed gives the same bytes.")
@click.option("--stations", type=click.IntRange(1), default=60, show_default=True, help="Stations of the fleet.")
@click.option("--sites", type=click.IntRange(1), default=6, show_default=True, help="Sites that share the stations.")
@click.option("--days", type=click.IntRange(1), default=1, show_default=True, help="Days in which cars arrive.")
@click.option("--start", type=click.DateTime(["%Y-%m-%d"]), help=f"First day, UTC [default: {DEFAULT_START:%Y-%m-%d}].")
@click.option("--sessions", type=click.FloatRange(0), default=4.0, show_default=True, help="Per connector and day.")
@click.option("--faults", default="all", show_default=True, help="all, none, or kinds: late,missing_stop=0.2")
@click.option(
    "--protocol",
    type=click.Choice(["events", *PROTOCOLS]),
    default="events",
    show_default=True,
    help="Canonical events, or frames of chargers and their central system.",
)
@click.option(
    "--quirks",
    default="none",
    show_default=True,
    help="Of OCPP chargers: none, names for all of them (a,b), or all: one or two each, drawn.",
)
@click.option("--out", type=click.Path(path_type=Path), help="Write the records to this file, not to Kafka.")
@click.option("--truth", type=click.Path(path_type=Path), help="Write what really happened, one line per session.")
@click.option("--documents", type=click.Path(path_type=Path), help="Write sites.json and tariffs.json there.")
@click.option("--speed", type=click.FloatRange(0), default=0.0, help="Times real time; 0 = as fast as possible.")
@click.option("--rate", type=click.FloatRange(0), default=0.0, help="Events a second at most; 0 = no limit.")
@click.option("--limit", type=click.IntRange(1), help="Stop sending events after so many; clock ticks go on.")
@json_option
def command(
    kafka: str | None,
    seed: int,
    stations: int,
    sites: int,
    days: int,
    start: datetime | None,
    sessions: float,
    faults: str,
    protocol: str,
    quirks: str,
    out: Path | None,
    truth: Path | None,
    documents: Path | None,
    speed: float,
    rate: float,
    limit: int | None,
    as_json: bool,
) -> None:
    """Send the events of a seeded fleet to Kafka, with clock ticks and labelled faults or quirks.

    The report counts what the broker acknowledged. Clock ticks of the simulation's own clock follow the last event for
    31 hours, so that every session is closed. A file of OCPP frames has no ticks: `replay`, `assemble` and `audit` make
    them.
    """
    begin = start.replace(tzinfo=UTC) if start else DEFAULT_START
    fleet: Events | Chargers
    if protocol == "events":
        _refuse_given("quirks", "events have faults; choose a --protocol of OCPP")
        config = FleetConfig(
            seed=seed, stations=stations, sites=sites, days=days, start=begin, sessions=sessions,
            faults=parse_faults(faults),
        )  # fmt: skip
        fleet = Events(config)
    else:
        _refuse_given("faults", "chargers have quirks; choose --quirks")
        _refuse_given("sites", "virtual chargers stand at one site")
        chargers = ChargerFleetConfig(
            protocol=PROTOCOLS[protocol], quirks=quirks, seed=seed, stations=stations, start=begin,
            sessions=max(1, round(sessions * days)),
        )  # fmt: skip
        fleet = Chargers(chargers, with_ticks=out is None)
    if documents is not None:
        fleet.write_documents(documents)
    with ExitStack() as files:
        records = fleet.records(files.enter_context(_created(truth)) if truth is not None else None)
        records = limited_rate(paced(_limited(records, limit), speed), rate)
        with progress(f"simulating {fleet.clock}", unit="events") as shown:
            if out is not None:
                report = _write(records, files.enter_context(_created(out)), shown.advance)
            else:
                chosen = settings(kafka=kafka)
                records = signed(records, control(chosen, METER_EVENTS.name))
                report = produce(records, METER_EVENTS.name, producer_config(chosen), shown.advance)
    print_report(report, fleet.clock, "written to a file" if out is not None else "acknowledged by Kafka", as_json)


def _refuse_given(option: str, why: str) -> None:
    if click.get_current_context().get_parameter_source(option) is ParameterSource.COMMANDLINE:
        raise WrongUsage(f"--{option}: {why}")


@dataclass(frozen=True, slots=True)
class Events:
    """A fleet of canonical events."""

    config: FleetConfig

    @property
    def clock(self) -> str:
        return self.config.clock

    def records(self, truth: IO[bytes] | None) -> Iterator[Record]:
        return simulate(self.config, _truth_writer(truth) if truth is not None else ignore)

    def write_documents(self, folder: Path) -> None:
        write_documents(self.config, folder)


@dataclass(frozen=True, slots=True)
class Chargers:
    """A fleet of virtual chargers. `with_ticks`: on a clock of its own."""

    config: ChargerFleetConfig
    with_ticks: bool

    @property
    def clock(self) -> str:
        return f"sim-{self.config.seed}"

    def records(self, truth: IO[bytes] | None) -> Iterator[Record]:
        """Writes first what happens, before any quirk acts."""
        if truth is not None:
            for each in self.config.truths():
                truth.write(msgspec.json.encode(truth_line(each)) + b"\n")
        if self.with_ticks:
            return deliveries(fleet_frames(self.config.said(), self.clock), self.clock)
        made = fleet_frames(self.config.said())
        return ((frame.due_us, frame.station_id.encode(), frame.value) for frame in made)

    def write_documents(self, folder: Path) -> None:
        site = charger_documents.site(said.tape for said in self.config.said())
        _write_documents(folder, [site], [charger_documents.tariff()])


def print_report(report: Report, clock: str, done: str, as_json: bool, *, err: bool = False) -> None:
    """The report on stdout, or with `err` on stderr; raises Unavailable if the broker refused records."""
    if as_json:
        print_json(msgspec.to_builtins(report) | {"clock": clock})
    else:
        pace = report.events / report.seconds if report.seconds else 0.0
        echo(
            f"{report.events:,} events and {report.ticks:,} clock ticks on clock {clock}: "
            f"{report.acknowledged:,} records {done}, {report.bytes / 1e6:,.1f} MB in {report.seconds:.1f} s "
            f"({pace:,.0f} events/s)",
            err=err,
        )
    if report.failed:
        raise Unavailable(f"{report.failed:,} records were refused; first: {report.first_error}")


def _limited(records: Iterable[Record], limit: int | None) -> Iterator[Record]:
    """The first `limit` events and all ticks."""
    sent = 0
    for record in records:
        sent += record[1] is not None
        if limit is None or sent <= limit or record[1] is None:
            yield record


def _write(records: Iterable[Record], out: IO[bytes], advance: Callable[[int], None]) -> Report:
    report, began = Report(), time.monotonic()
    for _, key, value in records:
        out.write(value + b"\n")
        report.acknowledged += 1
        if key is None:
            report.ticks += 1
            continue
        report.events += 1
        report.bytes += len(value)
        if report.events % 1_000 == 0:
            advance(1_000)
    report.seconds = time.monotonic() - began
    return report


def _truth_writer(out: IO[bytes]) -> Callable[[Truth], None]:
    def write(truth: Truth) -> None:
        out.write(msgspec.json.encode(truth) + b"\n")

    return write


def write_documents(config: FleetConfig, folder: Path) -> None:
    _write_documents(folder, *fleet_documents(config.seed, config.stations, config.sites))


def _write_documents(folder: Path, sites: Sequence[object], tariffs: Sequence[object]) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, document in (("sites.json", sites), ("tariffs.json", tariffs)):
            (folder / name).write_text(json.dumps(document, indent=1) + "\n", "utf-8")
    except OSError as error:
        raise WrongUsage(f"--documents {folder}: cannot be written: {error.strerror}") from error


def _created(file: Path) -> IO[bytes]:
    """Compressed if its name says so: that is how `assemble` and `replay` read it."""
    try:
        return cast("IO[bytes]", gzip.open(file, "wb")) if file.suffix == ".gz" else file.open("wb")
    except OSError as error:
        raise WrongUsage(f"{file}: cannot be written: {error.strerror}") from error
