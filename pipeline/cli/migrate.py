"""`chargeline migrate`: brings ClickHouse to the state that schemas/clickhouse describes."""

from __future__ import annotations

from pathlib import Path

import click
from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient

from pipeline.cli.clickhouse import password, said_plainly
from pipeline.cli.options import clickhouse_option, kafka_option, schemas, settings
from pipeline.cli.output import echo
from pipeline.cli.topics import TIMEOUT_S
from pipeline.errors import Unavailable, WrongUsage
from pipeline.kafka_config import client_config
from pipeline.settings import Settings
from pipeline.storage import migrate as migrations
from pipeline.storage.connection import connect

LONGEST_STATEMENT_S = 600


@click.command("migrate")
@clickhouse_option
@click.option(
    "--folder",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder with NNNN_<change>.sql files [default: schemas/clickhouse].",
)
@click.option("--refill", is_flag=True, help="Afterwards: `store` begins at the oldest record that its topics hold.")
@kafka_option
def command(clickhouse_url: str | None, folder: Path | None, refill: bool, kafka: str | None) -> None:
    """Create or update the ClickHouse database.

    Applies the numbered SQL files that the database does not have yet, in order. It may be run again at any time:
    applied files stay as they are. A file that was changed after it was applied is an error.

    --refill is for a ClickHouse that lost its data: existing rows are replaced by equal ones. The workers of the stage
    `store` must be stopped. See ops/runbooks/lost-clickhouse.md.
    """
    chosen = settings(clickhouse_url=clickhouse_url, kafka=kafka)
    with said_plainly():
        files = migrations.read(folder or schemas("clickhouse"))
        client = connect(chosen.clickhouse_url, chosen.clickhouse_user, password(chosen), timeout_s=LONGEST_STATEMENT_S)
        applied = migrations.migrate(client, chosen.clickhouse_database, files)
        client.close()
    for name in applied:
        echo(f"applied {name}")
    state = f"{chosen.clickhouse_database} is at migration {files[-1].number:04d}"
    echo(state if applied else f"{state}, nothing to do")
    if refill:
        _forget_offsets(chosen)
        echo("start the workers of `store`: they insert everything that the topics hold")


def _forget_offsets(chosen: Settings) -> None:
    """Without committed offsets a group begins where its topics do. Raises WrongUsage while it has members."""
    group = f"{chosen.group}-store"
    admin = AdminClient(client_config(chosen) | {"log_level": 0})
    try:
        admin.delete_consumer_groups([group])[group].result(TIMEOUT_S)
    except (KafkaException, TimeoutError) as error:
        code = error.args[0].code() if isinstance(error, KafkaException) else None
        if code == KafkaError.NON_EMPTY_GROUP:
            raise WrongUsage(f"group {group} has members: stop the workers of `store` first, then repeat") from error
        if code != KafkaError.GROUP_ID_NOT_FOUND:
            raise Unavailable(f"group {group}: the broker does not answer: {error}") from error
