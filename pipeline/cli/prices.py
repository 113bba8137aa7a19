"""`chargeline prices publish`: price signals (spot prices, grid demand) into the topic that every worker prices by."""

from __future__ import annotations

from pathlib import Path

import click

from pipeline.cli.options import json_option, kafka_option
from pipeline.cli.publishing import publish_all
from pipeline.cli.reference import FILE, read
from pipeline.errors import WrongUsage
from pipeline.topics import PRICE_SIGNALS
from pipeline.wire.price_signals import decode_price_csv, decode_signals, encode_slot, slot_key


@click.group()
def command() -> None:
    """What dynamic tariffs follow."""


@command.command()
@click.argument("file", type=FILE)
@click.option("--series", help="Name of the series; of a CSV file only.")
@click.option("--minutes", type=click.IntRange(1), help="Length of each slot; of a CSV file only.")
@click.option("--currency", help="ISO 4217 code of the prices; of a CSV file only.")
@kafka_option
@json_option
def publish(
    file: Path, series: str | None, minutes: int | None, currency: str | None, kafka: str | None, as_json: bool
) -> None:
    """Publish the slots of FILE: JSON, or CSV with the columns unix_seconds and price_... (per MWh).

    What was published about a slot after it began never prices it. Bills held for lack of a slot are released.
    """
    data, csv = read(file, "price signals"), (series, minutes, currency)
    if file.suffix == ".csv":
        if series is None or minutes is None or currency is None:
            raise WrongUsage(f"{file}: a CSV file needs --series, --minutes and --currency: they are not in it")
        slots = decode_price_csv(data, str(file), series, minutes, currency)
    elif any(option is not None for option in csv):
        raise WrongUsage(f"{file}: --series, --minutes and --currency are for CSV files; here each slot says its own")
    else:
        slots = decode_signals(data, str(file))
    publish_all(PRICE_SIGNALS, [(slot_key(slot).decode(), encode_slot(slot)) for slot in slots], kafka, as_json)
