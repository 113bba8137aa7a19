"""`chargeline prices publish`: price signals (spot prices, grid demand) into the topic that every worker prices by."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import click

from pipeline.cli.options import json_option, kafka_option
from pipeline.cli.publishing import publish_all
from pipeline.cli.reference import FILE, read
from pipeline.domain.pricing.signals import PriceSlot, disputes
from pipeline.errors import InvalidMessage, WrongUsage
from pipeline.topics import PRICE_SIGNALS
from pipeline.wire.price_signals import (
    contradiction,
    decode_price_csv,
    decode_signals,
    encode_price_slot,
    price_slot_key,
)


@click.group()
def command() -> None:
    """Price signals, which dynamic tariffs follow."""


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
    """Publish the price slots of FILE: JSON, or CSV with the columns unix_seconds and price_... (per MWh).

    A price that is published after its slot began is never used. Bills that waited for a slot are released. Two slots
    that contradict each other, in FILE or with a published one, are refused unless one has the higher revision.
    """
    data, csv = read(file, "price signals"), (series, minutes, currency)
    if file.suffix == ".csv":
        if series is None or minutes is None or currency is None:
            raise WrongUsage(f"{file}: a CSV file needs --series, --minutes and --currency, which it does not hold")
        slots = decode_price_csv(data, str(file), series, minutes, currency)
    elif any(option is not None for option in csv):
        raise WrongUsage(f"{file}: --series, --minutes and --currency are for CSV files; here each slot says its own")
    else:
        slots = decode_signals(data, str(file))
    publish_all(
        PRICE_SIGNALS,
        [(price_slot_key(slot).decode(), encode_price_slot(slot)) for slot in slots],
        kafka,
        as_json,
        agree,
    )


def agree(known: Mapping[str, bytes], fresh: Mapping[str, bytes]) -> None:
    """Raises WrongUsage for a new slot that contradicts a published one: neither would be a price."""
    new = [slot for key, value in fresh.items() for slot in decode_signals(value, key)]
    series, brought = {slot.series for slot in new}, set(new)
    there = [slot for key, value in known.items() if key.rsplit("|", 2)[0] in series for slot in _readable(key, value)]
    for one, other in disputes([*there, *new]):
        if brought & {one, other}:
            raise WrongUsage(f"{PRICE_SIGNALS.name}: {contradiction(one, other)}")


def _readable(key: str, value: bytes) -> list[PriceSlot]:
    """A record that cannot be read prices nothing (workers log it), so nothing contradicts it."""
    try:
        return decode_signals(value, key)
    except InvalidMessage:
        return []
