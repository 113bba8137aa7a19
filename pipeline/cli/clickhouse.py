"""What the commands that talk to ClickHouse share: its password, and how its failures are told to people."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import click
from clickhouse_connect.driver.exceptions import Error

from pipeline.errors import Unavailable
from pipeline.settings import Settings, secret
from pipeline.storage.connection import NotMigrated, reason
from pipeline.storage.migrate import MigrationError


def password(chosen: Settings) -> str:
    """ClickHouse's password from its file; "" where none is set. Raises WrongUsage if the file cannot be read."""
    return secret("clickhouse_password_file", chosen.clickhouse_password_file)


@contextmanager
def said_plainly() -> Iterator[None]:
    """Failures of ClickHouse end the command with one sentence and exit code 1."""
    try:
        yield
    except Unavailable as error:
        raise Unavailable(f"{error}; is it running (`chargeline up`), is CHARGELINE_CLICKHOUSE_URL right?") from error
    except (NotMigrated, MigrationError) as error:
        raise click.ClickException(str(error)) from error
    except Error as error:
        raise click.ClickException(f"ClickHouse refused: {reason(error)}") from error
