"""`chargeline demo`: the whole pipeline, from meter events to a report, on one machine with nothing installed.

It uses the commands that an operator uses: `up`, `keys create`, `simulate`, `worker`, `report`.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import click

from pipeline import topics
from pipeline.agents.store import TOPICS as STORED
from pipeline.app import STAGES
from pipeline.cli.keys import write_keyring
from pipeline.cli.options import print_json
from pipeline.cli.output import echo
from pipeline.cli.progress import progress
from pipeline.cli.reference import control
from pipeline.cli.report import document, read
from pipeline.cli.report_tables import show
from pipeline.cli.simulate import print_report, write_documents
from pipeline.cli.up import Platform, curl, exports, running
from pipeline.edge.backlog import Backlog
from pipeline.edge.faults import parse_faults
from pipeline.edge.producer import produce, signed
from pipeline.edge.simulator import FleetConfig, simulate
from pipeline.errors import Unavailable
from pipeline.kafka_config import client_config, producer_config
from pipeline.settings import PREFIX, Settings
from pipeline.storage.reader import Question

PATIENCE_S = 300
STOP_S = 15


@click.command()
@click.option("--seed", default=1, show_default=True, help="The same seed gives the same day.")
@click.option("--stations", type=click.IntRange(1), default=60, show_default=True, help="Size of the fleet.")
@click.option("--faults", default="all", show_default=True, help="all, none, or kinds: late,missing_stop=0.2")
@click.option(
    "--data",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder that keeps everything [default: one that is removed at the end].",
)
@click.option("--kafka-port", type=click.IntRange(0, 65535), default=0, help="[default: a free one]")
@click.option("--clickhouse-port", type=click.IntRange(0, 65535), default=0, help="[default: a free one]")
@click.option("--stay", is_flag=True, help="Keep everything running afterwards, until Ctrl-C.")
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON, and nothing else, on stdout.")
def command(
    seed: int,
    stations: int,
    faults: str,
    data: Path | None,
    kafka_port: int,
    clickhouse_port: int,
    stay: bool,
    as_json: bool,
) -> None:
    """Start an embedded broker and ClickHouse, simulate a day of a fleet, print the report.

    One simulated day of charging, with faults mixed in, flows through Kafka into three workers: one assembles, prices
    and strips sessions, one knows the occupancy of the sites, one stores sessions in ClickHouse. No Docker and no
    system Java are needed.
    """
    config = FleetConfig(seed=seed, stations=stations, faults=parse_faults(faults))
    with ExitStack() as stack:
        folder = data or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="chargeline-demo-")))
        platform = stack.enter_context(running(folder, kafka_port=kafka_port, clickhouse_port=clickhouse_port))
        keys = folder / "keys.json"
        if not keys.exists():
            write_keyring(keys)
            echo(f"made pseudonym keys for this demo alone: {keys}", err=True)
        write_documents(config, folder)
        workers = stack.enter_context(_workers(platform.settings, folder))
        with progress(f"simulating {config.clock}", unit="events") as shown:
            source = topics.METER_EVENTS.name
            records = signed(simulate(config), control(replace(platform.settings, keys_file=keys), source))
            report = produce(records, source, producer_config(platform.settings), shown.advance)
        print_report(report, config.clock, "acknowledged by Kafka", as_json=False, err=as_json)
        _wait(platform.settings, workers)
        question = Question(zone="UTC")
        sections = read(platform.settings, question)
        if as_json:
            print_json(document(question, sections))
        else:
            show({name: answer.rows for name, answer in sections.items()}, question.zone)
        echo(_what_next(platform.settings, folder, stay), err=as_json)
        if stay:
            _stay(platform, workers)


class Workers:
    """Child processes of the demo; `check` raises Unavailable when one has ended."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.processes: dict[str, subprocess.Popen[bytes]] = {}

    def check(self) -> None:
        for stage, process in self.processes.items():
            if process.poll() is not None:
                raise Unavailable(f"the worker of stage {stage} has ended; see {self.folder / f'{stage}.log'}")


@contextmanager
def _workers(settings: Settings, folder: Path) -> Iterator[Workers]:
    """A process per stage, as in production; both end with the block."""
    workers = Workers(folder)
    environment = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}  # noqa: TID251 - handed on
    environment |= {
        f"{PREFIX}KAFKA": settings.kafka,
        f"{PREFIX}CLICKHOUSE_URL": settings.clickhouse_url,
        f"{PREFIX}CLICKHOUSE_PASSWORD_FILE": str(settings.clickhouse_password_file),
        f"{PREFIX}CLICKHOUSE_DATABASE": settings.clickhouse_database,
        f"{PREFIX}KEYS_FILE": str(folder / "keys.json"),
        f"{PREFIX}SITES_FILE": str(folder / "sites.json"),
        f"{PREFIX}TARIFFS_FILE": str(folder / "tariffs.json"),
    }
    try:
        for stage in STAGES:
            with (folder / f"{stage}.log").open("ab") as log:
                workers.processes[stage] = subprocess.Popen(  # noqa: S603 - our own command
                    [sys.executable, "-m", "pipeline", "worker", "--stage", stage],
                    env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                )  # fmt: skip
        yield workers
    finally:
        for process in workers.processes.values():
            process.terminate()
        for process in workers.processes.values():
            try:
                process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _wait(settings: Settings, workers: Workers) -> None:
    """Until every event is assembled and every session stored. Raises Unavailable."""
    began = time.monotonic()
    assemble = Backlog(client_config(settings), f"{settings.group}-assemble", [topics.METER_EVENTS.name])
    store = Backlog(client_config(settings), f"{settings.group}-store", STORED)
    total = assemble.records()
    with progress("assembling and storing", total, "records") as shown:
        done = 0
        while True:
            workers.check()
            left = assemble.records()
            shown.advance(max(0, total - left - done))
            done = max(done, total - left)
            if left == 0 and store.is_empty():
                break
            if time.monotonic() - began > PATIENCE_S:
                raise Unavailable(f"{left} records still wait after {PATIENCE_S} s; see {workers.folder}/*.log")
            time.sleep(0.3)
    assemble.close()
    store.close()
    echo(f"assembled and stored in {time.monotonic() - began:.1f} s\n", err=True)


def _what_next(settings: Settings, folder: Path, stay: bool) -> str:
    example = (
        "SELECT station_id, count() AS sessions, sum(energy_wh) / 1000 AS kwh\n"
        "     FROM charging.sessions_current GROUP BY station_id ORDER BY kwh DESC LIMIT 5 FORMAT PrettyCompact"
    )
    if not stay:
        return f"\nTo look around yourself: chargeline demo --stay, then for example\n     {example}"
    return (
        f"\nEverything keeps running under {folder} until Ctrl-C. In another terminal:\n"
        f"  {exports(settings)}\n"
        f'  {curl(settings)} --data-binary "{example}"\n'
        "  chargeline report --json\n"
        "  chargeline topics list"
    )


def _stay(platform: Platform, workers: Workers) -> None:
    waiting = threading.Event()
    try:
        while not waiting.wait(1):
            platform.check()
            workers.check()
    except KeyboardInterrupt:
        echo("stopping", err=True)
