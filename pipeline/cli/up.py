"""`chargeline up`: the embedded broker and the embedded ClickHouse endpoint, ready to use, under one folder."""

from __future__ import annotations

import os
import shlex
import signal
import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import click
from confluent_kafka.admin import AdminClient

from pipeline.access import ROLES
from pipeline.cli.acls import apply_acls, apply_users
from pipeline.cli.clickhouse import password, said_plainly
from pipeline.cli.declared import declared_topics
from pipeline.cli.options import json_option, print_json, schemas, settings
from pipeline.cli.output import echo
from pipeline.cli.progress import progress
from pipeline.cli.topics import create_topics
from pipeline.embedded import jars
from pipeline.embedded.clickhouse import EmbeddedClickHouse
from pipeline.embedded.kafka import EmbeddedKafka
from pipeline.embedded.kafka_secured import ADMIN, Credentials, create
from pipeline.errors import Unavailable, WrongUsage
from pipeline.kafka_config import client_config
from pipeline.settings import PREFIX, Settings
from pipeline.storage import migrate as migrations
from pipeline.storage.connection import connect

DATA = Path("chargeline-data")
KAFKA_PORT, CLICKHOUSE_PORT = 9092, 8123
ACCESS = "access"
"""Folder of a secured broker's certificate, passwords and client files."""

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
    """Of a secured broker: those of its administrator."""
    credentials: Credentials | None = None

    def check(self) -> None:
        """Raises Unavailable when one of the two has ended by itself."""
        if self.kafka.pid is None:
            raise Unavailable(f"Kafka has stopped by itself; see {self.kafka.data / 'broker.log'}")
        if self.clickhouse.pid is None:
            raise Unavailable(f"ClickHouse has stopped by itself; see {self.clickhouse.data / 'clickhouse.log'}")


@contextmanager
def running(
    data: Path,
    *,
    kafka_port: int = KAFKA_PORT,
    clickhouse_port: int = CLICKHOUSE_PORT,
    bare: bool = False,
    secure: bool = False,
) -> Iterator[Platform]:
    """Both, with topics and tables unless `bare`; after the block nothing runs. Raises Unavailable, WrongUsage.

    `secure`: the broker knows a user per role and what each may do, and speaks TLS only.

    Everything under `data` is its owner's alone: Kafka's segments hold drivers' tags.
    """
    with ExitStack() as stack:
        stack.callback(os.umask, os.umask(0o077))
        for ours in (data / "kafka", data / "clickhouse"):
            ours.mkdir(parents=True, exist_ok=True)
            ours.chmod(0o700)  # a former version left it open; `data` itself may be anybody's
        with progress("starting") as shown:
            if not jars.FOLDER.exists():  # an installed wheel; `make install` has fetched them for a checkout
                shown.note("fetching Kafka, once")
                jars.install()
            shown.note("Kafka")
            credentials = _credentials(data, secure)
            kafka = stack.enter_context(EmbeddedKafka(data / "kafka", kafka_port, credentials=credentials))
            shown.note("ClickHouse")
            clickhouse = stack.enter_context(EmbeddedClickHouse(data / "clickhouse", clickhouse_port))
            found = settings(
                kafka=kafka.bootstrap,
                clickhouse_url=clickhouse.url,
                clickhouse_user="default",
                clickhouse_password_file=clickhouse.password_file,
                kafka_properties_file=credentials.client(ADMIN) if credentials else None,
            )
            if credentials is not None:
                shown.note("users and rights")
                admin = AdminClient(client_config(found) | {"log_level": 0})
                apply_users(admin, credentials)
                apply_acls(admin, found.group)
            if not bare:
                shown.note("topics and tables")
                prepare(found)
        yield Platform(kafka=kafka, clickhouse=clickhouse, settings=found, credentials=credentials)


def _credentials(data: Path, secure: bool) -> Credentials | None:
    """Refuses to change `secure` of a folder: a broker gets its first users at its first start. Raises WrongUsage."""
    folder, is_old = data / ACCESS, (data / "kafka" / "log").exists()
    if secure and is_old and not folder.exists():
        raise WrongUsage(f"{data} was begun without --secure, and its broker knows no users; choose another --data")
    if not secure and folder.exists():
        raise WrongUsage(f"{data} was begun with --secure, and without it would be open to everybody; add --secure")
    return create(folder, list(ROLES)) if secure else None


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
@click.option("--secure", is_flag=True, help="TLS, one user per role, and only the rights of roles.")
@json_option
def command(data: Path, kafka_port: int, clickhouse_port: int, bare: bool, secure: bool, as_json: bool) -> None:
    """Run an embedded Kafka broker and ClickHouse endpoint, both on 127.0.0.1, until Ctrl-C.

    Real Apache Kafka (one node) and ClickHouse's engine behind its HTTP interface; neither Docker nor Java is needed.
    Everything is kept under the data folder; delete it to start afresh.
    """
    ports = {"kafka_port": kafka_port, "clickhouse_port": clickhouse_port}
    with running(data, **ports, bare=bare, secure=secure) as platform:
        found = platform.settings
        files = {role: str(platform.credentials.client(role)) for role in ROLES} if platform.credentials else {}
        if as_json:
            print_json(
                {
                    "kafka": found.kafka,
                    "clickhouse_url": found.clickhouse_url,
                    "clickhouse_password_file": str(found.clickhouse_password_file),
                    "kafka_properties_files": files,
                    "data": str(data),
                }
            )
        else:
            echo(_welcome(found, data, files))
        stop = threading.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: stop.set())
        while not stop.wait(1):
            platform.check()
        echo("stopping", err=True)


def exports(found: Settings) -> str:
    """The line for a shell that makes its commands find the platform."""
    return shlex.join(
        [
            "export",
            f"{PREFIX}KAFKA={found.kafka}",
            f"{PREFIX}CLICKHOUSE_URL={found.clickhouse_url}",
            f"{PREFIX}CLICKHOUSE_PASSWORD_FILE={found.clickhouse_password_file}",
        ]
    )


def curl(found: Settings) -> str:
    """The beginning of a curl command; the shell reads the password from its file, so no history or screen shows it."""
    file = shlex.quote(str(found.clickhouse_password_file))
    return f'curl {found.clickhouse_url} --header "X-ClickHouse-Key: $(cat {file})"'


def _welcome(found: Settings, data: Path, files: Mapping[str, str]) -> str:
    roles = "".join(f"  {file}  {ROLES[role].who}\n" for role, file in files.items())
    login = f"and CHARGELINE_KAFKA_PROPERTIES_FILE, one for each role:\n{roles}" if files else ""
    return (
        f"Kafka       {found.kafka}{' (TLS, users, access control)' if files else ''}\n"
        f"ClickHouse  {found.clickhouse_url}  (database {found.clickhouse_database}, user {found.clickhouse_user}, "
        f"password in {found.clickhouse_password_file})\n"
        f"data        {data}  (delete it to start afresh)\n\n"
        "In another terminal:\n"
        f"  {exports(found)}\n{login}"
        "  chargeline topics list\n"
        f"  {curl(found)} --data 'SELECT version()'\n\n"
        "Ctrl-C stops both."
    )
