"""`chargeline migrate`: bring ClickHouse to the state that schemas/clickhouse describes."""

from __future__ import annotations

from pathlib import Path

import click

from pipeline.cli.clickhouse import password, said_plainly
from pipeline.cli.options import clickhouse_option, schemas, settings
from pipeline.cli.output import echo
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
def command(clickhouse_url: str | None, folder: Path | None) -> None:
    """Create or update the ClickHouse database.

    Applies the numbered SQL files that the database does not have yet, in order. Run it again at any time: what is
    applied stays as it is. A file that was changed after it was applied is an error.
    """
    chosen = settings(clickhouse_url=clickhouse_url)
    with said_plainly():
        files = migrations.read(folder or schemas("clickhouse"))
        client = connect(chosen.clickhouse_url, chosen.clickhouse_user, password(chosen), timeout_s=LONGEST_STATEMENT_S)
        applied = migrations.migrate(client, chosen.clickhouse_database, files)
        client.close()
    for name in applied:
        echo(f"applied {name}")
    state = f"{chosen.clickhouse_database} is at migration {files[-1].number:04d}"
    echo(state if applied else f"{state}, nothing to do")
