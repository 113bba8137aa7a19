"""`chargeline tariffs publish`: OCPI tariffs into the topic that every worker prices by."""

from __future__ import annotations

from pathlib import Path

import click

from pipeline.cli.options import json_option, kafka_option
from pipeline.cli.publishing import publish_all
from pipeline.cli.reference import FILE, read
from pipeline.errors import WrongUsage
from pipeline.topics import TARIFFS
from pipeline.wire.tariffs import decode_tariffs


@click.group()
def command() -> None:
    """Tariffs, by which sessions are priced."""


@command.command()
@click.argument("file", type=FILE)
@kafka_option
@json_option
def publish(file: Path, kafka: str | None, as_json: bool) -> None:
    """Publish the OCPI tariffs of FILE (JSON). A change needs a new `last_updated`; see `chargeline lint` first.

    Sessions that start afterwards use it, and bills that waited for it are released.
    """
    tariffs = decode_tariffs(read(file, "tariffs"), str(file))
    for tariff in tariffs:
        if tariff.updated_us is None:
            raise WrongUsage(f"{file}: tariff {tariff.id!r}: last_updated is missing; it distinguishes versions")
    documents = [(f"{tariff.id}@{tariff.version}", tariff.document.encode()) for tariff in tariffs]
    publish_all(TARIFFS, documents, kafka, as_json)
