"""`chargeline sites publish`: sites into the topic that every worker prices by."""

from __future__ import annotations

from pathlib import Path

import click

from pipeline.cli.options import json_option, kafka_option
from pipeline.cli.publishing import publish_all
from pipeline.cli.reference import FILE, read
from pipeline.topics import SITES
from pipeline.wire.json_values import canonical, parse_many
from pipeline.wire.sites import decode_sites


@click.group()
def command() -> None:
    """Sites with their time zone, tariffs, stations and connectors."""


@command.command()
@click.argument("file", type=FILE)
@kafka_option
@json_option
def publish(file: Path, kafka: str | None, as_json: bool) -> None:
    """Publish the sites of FILE (JSON). A change needs a higher `version`, and `valid_from` if it applies later.

    Sessions that start afterwards use it, and bills that waited for it are released.
    """
    data = read(file, "sites")
    sites = decode_sites(data, str(file))
    documents = [canonical(document).encode() for _, document in parse_many(data, str(file))]
    keys = [f"{site.site_id}@{site.version}" for site in sites]
    publish_all(SITES, list(zip(keys, documents, strict=True)), kafka, as_json)
