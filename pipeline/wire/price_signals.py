"""Price signals (JSON or CSV) <-> PriceSlot: spot prices, grid demand, availability. Prices are read as Decimal.

A slot without end is not guessed: its length belongs to it, because a market may change it.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from decimal import Decimal, InvalidOperation
from typing import Any, Final

import msgspec

from pipeline.domain.pricing.signals import PriceSlot, disputes
from pipeline.domain.pricing.units import CURRENCIES, US_PER_S, utc_text
from pipeline.errors import InvalidMessage
from pipeline.wire.json_values import Fault, Reader, parse_many
from pipeline.wire.tariffs import LEVELS

_US_PER_MINUTE = 60 * US_PER_S
_ENCODER: Final = msgspec.json.Encoder(decimal_format="number")


def decode_signals(data: bytes, source: str) -> list[PriceSlot]:
    """A list of slots, one slot, or JSON lines; raises InvalidMessage that names the slot and field, or two slots that
    contradict each other."""
    return agreed([(name, read_price_slot(document, name)) for name, document in parse_many(data, source)])


def agreed(named: Sequence[tuple[str, PriceSlot]]) -> list[PriceSlot]:
    """The slots of (name for messages, slot). Raises InvalidMessage if a price would depend on their order."""
    slots = [slot for _, slot in named]
    for one, other in disputes(slots):
        names = {slot: name for name, slot in named}
        raise InvalidMessage("bad_signal", f"{names[one]} and {names[other]}: {contradiction(one, other)}")
    return slots


def contradiction(one: PriceSlot, other: PriceSlot) -> str:
    """What is wrong with such a pair, and what to do."""
    return (
        f"{one.evidence()} and {other.evidence()} hold at the same time and none has the higher revision; "
        "give the one that is right a higher revision, or each auction a series of its own"
    )


def read_price_slot(document: Any, name: str) -> PriceSlot:
    """One slot; raises InvalidMessage with every wrong field."""
    if not isinstance(document, dict):
        raise InvalidMessage("bad_signal", f"{name}: is not an object")
    faults: list[Fault] = []
    slot = _price_slot(Reader(document, "", faults))
    if faults or slot is None:
        text = "; ".join(f"{fault.where}: {fault.text}" for fault in faults)
        raise InvalidMessage("bad_signal", f"{name}: {text}")
    return slot


def encode_price_slot(slot: PriceSlot) -> bytes:
    """The record of topic `price-signals`, and one line of a signals file; `decode_signals` reads it back."""
    fields: dict[str, object] = {"series": slot.series, "start": utc_text(slot.start_us)}
    minutes, rest = divmod(slot.end_us - slot.start_us, _US_PER_MINUTE)
    fields |= {"end": utc_text(slot.end_us)} if rest else {"minutes": minutes}
    if slot.price is not None:
        fields |= {"price": slot.price, "unit": "kWh" if slot.per_kwh == 1 else "MWh", "currency": slot.currency}
    elif slot.level is not None:
        fields["level"] = slot.level
    else:
        fields |= {"free": slot.free, "total": slot.total}
    fields["revision"] = slot.revision
    if slot.published_us is not None:
        fields["published_at"] = utc_text(slot.published_us)
    return _ENCODER.encode(fields)


def price_slot_key(slot: PriceSlot) -> bytes:
    """The record's key: every revision of a slot is kept, the same revision again replaces itself."""
    return f"{slot.series}|{utc_text(slot.start_us)}|{slot.revision}".encode()


def decode_price_csv(data: bytes, source: str, series: str, minutes: int, currency: str) -> list[PriceSlot]:
    """Day-ahead prices per MWh: columns unix_seconds (start of the slot) and price_*; every slot lasts `minutes`.

    Raises InvalidMessage that names the line, also for two rows that contradict each other.
    """
    try:
        rows = list(csv.DictReader(io.StringIO(data.decode())))
    except (UnicodeDecodeError, csv.Error) as error:
        raise InvalidMessage("bad_signal", f"{source}: not CSV in UTF-8: {error}") from error
    columns = [name for name in (rows[0] if rows else {}) if name.startswith("price")]
    if len(columns) != 1 or "unix_seconds" not in rows[0]:
        raise InvalidMessage("bad_signal", f"{source}: needs the columns unix_seconds and one price_...")
    slots: list[tuple[str, PriceSlot]] = []
    for number, row in enumerate(rows, 2):
        try:
            start_us, price = int(row["unix_seconds"]) * US_PER_S, Decimal(row[columns[0]])
        except (ValueError, TypeError, InvalidOperation) as error:
            raise InvalidMessage("bad_signal", f"{source} line {number}: not a time and a price") from error
        if not price.is_finite():
            raise InvalidMessage("bad_signal", f"{source} line {number}: {price} is not a price")
        end_us = start_us + minutes * _US_PER_MINUTE
        slot = PriceSlot(series=series, start_us=start_us, end_us=end_us, price=price, currency=currency)
        slots.append((f"{source} line {number}", slot))
    return agreed(slots)


def _price_slot(reader: Reader) -> PriceSlot | None:
    start_us = reader.instant("start")
    minutes, end_us = reader.integer("minutes", required=False, least=1), reader.instant("end", required=False)
    if (minutes is None) == (end_us is None):
        reader.fault("bad_signal", "minutes", "give either minutes or end")
    if end_us is None and start_us is not None and minutes is not None:
        end_us = start_us + minutes * _US_PER_MINUTE
    price, level = reader.number("price", required=False), reader.choice("level", LEVELS, required=False)
    free, total = reader.integer("free", required=False, least=0), reader.integer("total", required=False, least=0)
    if (price is None) + (level is None) + (free is None or total is None) != 2:
        reader.fault("bad_signal", "price", "give a price, or a level, or free and total")
    unit = reader.choice("unit", ("MWh", "kWh"), required=price is not None)
    currency = reader.text("currency", required=price is not None)
    if currency is not None and currency not in CURRENCIES:
        reader.fault("bad_signal", "currency", f"{currency!r} is not an ISO 4217 code")
    revision = reader.integer("revision", required=False, least=1) or 1
    published_us = reader.instant("published_at", required=False)
    series = reader.text("series")
    for name in reader.unknown():
        reader.fault("bad_signal", name, "is not a field of a price slot")
    if series is None or start_us is None or end_us is None:
        return None
    if end_us <= start_us:
        reader.fault("bad_signal", "end", "is not after start")
    return PriceSlot(
        series=series,
        start_us=start_us,
        end_us=end_us,
        price=price,
        per_kwh=1 if unit == "kWh" else 1000,
        currency=currency,
        level=level,
        free=free,
        total=total,
        revision=revision,
        published_us=published_us,
    )
