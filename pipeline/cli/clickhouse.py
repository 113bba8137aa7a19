"""What the commands that talk to ClickHouse share: its password, and how they report its failures."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import click
from clickhouse_connect.driver.exceptions import Error

from pipeline.errors import Unavailable
from pipeline.settings import Settings, clickhouse_password
from pipeline.storage.connection import NotMigrated, reason
from pipeline.storage.migrate import MigrationError

AUTHENTICATION_FAILED = 516


def password(chosen: Settings) -> str:
    """ClickHouse's password; "" where none is set. Raises WrongUsage if its file cannot be read."""
    return clickhouse_password(chosen)


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
        hint = ""
        if error.code == AUTHENTICATION_FAILED:
            hint = "; its password is read from CHARGELINE_CLICKHOUSE_PASSWORD_FILE, `chargeline up` says which"
        raise click.ClickException(f"ClickHouse refused: {reason(error)}{hint}") from error
