"""The period that several commands ask about: its options, and what their texts mean."""

from __future__ import annotations

from datetime import UTC, datetime

import click

from pipeline.storage.reader import ALWAYS, Question

since_option = click.option(
    "--from", "since", metavar="TIME", help="Sessions that started at or after this, ISO 8601; no offset: UTC."
)
until_option = click.option("--to", "until", metavar="TIME", help="Sessions that started before this.")


def period(since: str | None, until: str | None, zone: str = "UTC", limit: int = 10) -> Question:
    """Without a text, from the first or to the last session. Raises click.UsageError."""
    return Question(
        zone=zone, from_us=instant("--from", since, ALWAYS[0]), to_us=instant("--to", until, ALWAYS[1]), limit=limit
    )


def instant(option: str, text: str | None, otherwise: int) -> int:
    """Microseconds UTC. Raises click.UsageError that names the option."""
    if text is None:
        return otherwise
    try:
        value = datetime.fromisoformat(text)
    except ValueError as error:
        raise click.UsageError(f"{option}: {text!r} is no ISO 8601 time, e.g. 2026-01-31T22:00:00Z") from error
    aware = value if value.tzinfo else value.replace(tzinfo=UTC)
    return round(aware.timestamp() * 1_000_000)
