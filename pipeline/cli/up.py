"""`chargeline up`: the embedded broker and the embedded ClickHouse endpoint, ready to use, under one folder."""

from __future__ import annotations

import os
import shlex
import signal
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import click
from confluent_kafka.admin import AdminClient

from pipeline.cli.clickhouse import password, said_plainly
from pipeline.cli.options import json_option, print_json, schemas, settings
from pipeline.cli.output import echo
from pipeline.cli.progress import progress
from pipeline.cli.topics import create_topics, declared_topics
from pipeline.embedded.clickhouse import EmbeddedClickHouse
from pipeline.embedded.kafka import EmbeddedKafka
from pipeline.errors import Unavailable
from pipeline.kafka_config import client_config
from pipeline.settings import PREFIX, Settings
from pipeline.storage import migrate as migrations
from pipeline.storage.connection import connect

DATA = Path("chargeline-data")
KAFKA_PORT, CLICKHOUSE_PORT = 9092, 8123

data_option = click.option(
    "--data",
    type=click.Path(file_okay=False, path_type=Path),
    default=DATA,
    show_default=True,
    help="Folder that keeps everything.",
)
kafka_port_option = click.option(
    "--kafka-port", type=click.IntRange(0, 65535), default=KAFKA_PORT, show_default=True, help="0: a free one."
)
clickhouse_port_option = click.option(
    "--clickhouse-port",
    type=click.IntRange(0, 65535),
    default=CLICKHOUSE_PORT,
    show_default=True,
    help="0: a free one.",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Platform:
    """What runs, and the settings with which everything else finds it."""

    kafka: EmbeddedKafka
    clickhouse: EmbeddedClickHouse
    settings: Settings

    def check(self) -> None:
        """Raises Unavailable when one of the two has ended by itself."""
        if self.kafka.pid is None:
            raise Unavailable(f"Kafka has stopped by itself; see {self.kafka.data / 'broker.log'}")
        if self.clickhouse.pid is None:
            raise Unavailable(f"ClickHouse has stopped by itself; see {self.clickhouse.data / 'clickhouse.log'}")


@contextmanager
def running(
    data: Path, *, kafka_port: int = KAFKA_PORT, clickhouse_port: int = CLICKHOUSE_PORT, bare: bool = False
) -> Iterator[Platform]:
    """Both, with topics and tables unless `bare`; after the block nothing runs. Raises Unavailable, WrongUsage.

    Everything under `data` is its owner's alone: Kafka's segments hold drivers' tags.
    """
    data.mkdir(parents=True, exist_ok=True)
    data.chmod(0o700)
    with ExitStack() as stack:
        stack.callback(os.umask, os.umask(0o077))
        with progress("starting") as steps:
            steps.note("Kafka")
            kafka = stack.enter_context(EmbeddedKafka(data / "kafka", kafka_port))
            steps.note("ClickHouse")
            clickhouse = stack.enter_context(EmbeddedClickHouse(data / "clickhouse", clickhouse_port))
            found = settings(
                kafka=kafka.bootstrap,
                clickhouse_url=clickhouse.url,
                clickhouse_user="default",
                clickhouse_password_file=clickhouse.password_file,
            )
            if not bare:
                steps.note("topics and tables")
                prepare(found)
        yield Platform(kafka=kafka, clickhouse=clickhouse, settings=found)


def prepare(found: Settings, replication_factor: int | None = None) -> None:
    """Topics as declared, tables of the newest schema; repeats are harmless. Raises Unavailable, WrongUsage."""
    create_topics(AdminClient(client_config(found) | {"log_level": 0}), declared_topics(), replication_factor)
    with said_plainly():
        client = connect(found.clickhouse_url, found.clickhouse_user, password(found))
        migrations.migrate(client, found.clickhouse_database, migrations.read(schemas("clickhouse")))
        client.close()


@click.command()
@data_option
@kafka_port_option
@clickhouse_port_option
@click.option("--bare", is_flag=True, help="Neither create topics nor migrate.")
@json_option
def command(data: Path, kafka_port: int, clickhouse_port: int, bare: bool, as_json: bool) -> None:
    """Run an embedded Kafka broker and ClickHouse endpoint, both on 127.0.0.1, until Ctrl-C.

    Real Apache Kafka (one node) and ClickHouse's engine behind its HTTP interface; neither Docker nor Java is needed.
    Everything is kept under the data folder; delete it to begin anew.
    """
    with running(data, kafka_port=kafka_port, clickhouse_port=clickhouse_port, bare=bare) as platform:
        found = platform.settings
        if as_json:
            print_json(
                {
                    "kafka": found.kafka,
                    "clickhouse_url": found.clickhouse_url,
                    "clickhouse_password_file": str(found.clickhouse_password_file),
                    "data": str(data),
                }
            )
        else:
            echo(_welcome(found, data))
        stop = threading.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: stop.set())
        while not stop.wait(1):
            platform.check()
        echo("stopping", err=True)


def exports(found: Settings) -> str:
    """The line that tells a shell, and so every command in it, where the platform is."""
    return shlex.join(
        [
            "export",
            f"{PREFIX}KAFKA={found.kafka}",
            f"{PREFIX}CLICKHOUSE_URL={found.clickhouse_url}",
            f"{PREFIX}CLICKHOUSE_PASSWORD_FILE={found.clickhouse_password_file}",
        ]
    )


def curl(found: Settings) -> str:
    """curl's beginning; the shell reads the password from its file, so that no history and no screen has it."""
    file = shlex.quote(str(found.clickhouse_password_file))
    return f'curl {found.clickhouse_url} --header "X-ClickHouse-Key: $(cat {file})"'


def _welcome(found: Settings, data: Path) -> str:
    return (
        f"Kafka       {found.kafka}\n"
        f"ClickHouse  {found.clickhouse_url}  (database {found.clickhouse_database}, user {found.clickhouse_user}, "
        f"password in {found.clickhouse_password_file})\n"
        f"data        {data}  (delete it to begin anew)\n\n"
        "In another terminal:\n"
        f"  {exports(found)}\n"
        "  chargeline topics list\n"
        f"  {curl(found)} --data 'SELECT version()'\n\n"
        "Ctrl-C stops both."
    )
