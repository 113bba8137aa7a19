"""Bytes of topic `receipts` and of exported files: deterministic JSON with the sha256 of its content as the last field.

The hash is over the record as it stands, in these very bytes, without the field `hash`: a receipt that was altered or
only laid out differently does not fit it any more. What many receipts share (tariff, price slots) is encoded once.
"""

from __future__ import annotations

import re
from functools import lru_cache
from hashlib import sha256
from importlib.metadata import version
from itertools import pairwise

import msgspec
from msgspec import UnsetType

from pipeline.domain.pricing.facts import Facts, Reading
from pipeline.domain.pricing.signals import PriceSlot, Signals
from pipeline.domain.pricing.tariff import Tariff
from pipeline.domain.receipts import FORMAT, Credit, Receipt
from pipeline.errors import InvalidMessage
from pipeline.wire.json_values import parse
from pipeline.wire.price_signals import encode_price_slot, read_price_slot
from pipeline.wire.tariffs import describe, read_tariff

SOFTWARE = f"chargeline {version('chargeline')}"
_ENCODER = msgspec.json.Encoder()


class _Kind(msgspec.Struct):
    kind: str


_KIND, _RECEIPT, _CREDIT = msgspec.json.Decoder(_Kind), msgspec.json.Decoder(Receipt), msgspec.json.Decoder(Credit)
_TAIL = b',"hash":""}'
_MWH = 1000
_SESSION_ID = re.compile(r"[A-Z2-7]{26}")
"""As domain/pseudonyms.py makes them; it becomes a file name, so a forged one might be a path."""
_LONGEST_US = 366 * 86_400 * 1_000_000


def key(session_id: str, revision: int, kind: str) -> bytes:
    return f"{session_id}:{revision}:{kind}".encode()


def file_name(receipt: Receipt | Credit) -> str:
    """The name of its exported file; another receipt never has it."""
    kind = receipt.kind.lower()
    return f"{receipt.session_id}.{receipt.generation}.{receipt.revision}.{kind}.json"


def bill_file_name(credit: Credit) -> str:
    """The file name of the bill that a credit takes back."""
    return file_name(credit).replace(".credit.", ".bill.")


def decode_receipt(value: bytes, source: str) -> Receipt | Credit:
    """A record of topic `receipts`; raises InvalidMessage that names `source`. Whether its hash fits is not asked."""
    try:
        receipt: Receipt | Credit = (_CREDIT if _KIND.decode(value).kind == "CREDIT" else _RECEIPT).decode(value)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidMessage("bad_receipt", f"{source}: not a receipt: {error}") from error
    if not _SESSION_ID.fullmatch(receipt.session_id):
        raise InvalidMessage("bad_receipt", f"{source}: not a receipt: session_id must be 26 of A-Z and 2-7")
    return receipt


def is_receipt(value: bytes) -> bool:
    """Whether the document says that it is a receipt; a CDR has no such field."""
    return FORMAT.encode() in value[:200]


def content_hash(value: bytes) -> str:
    """The right value of the field `hash` for these bytes; a line end after the record is not part of the record."""
    content, _, _ = value.rstrip(b"\r\n").rpartition(b',"hash":"')
    return sha256(content + b"}").hexdigest()


def tariff_of(receipt: Receipt) -> Tariff:
    """The tariff version inside; raises InvalidMessage that names the element that cannot be priced."""
    tariff, faults, _ = read_tariff(parse(bytes(receipt.tariff), "tariff"))
    if tariff is None:
        raise InvalidMessage(faults[0].code, describe("tariff", faults))
    return tariff


def signals_of(receipt: Receipt) -> Signals:
    """The slots inside, as the site sees them; raises InvalidMessage that names the slot."""
    named = [(f"signals[{place}]", bytes(raw)) for place, raw in enumerate(receipt.signals)]
    signals = Signals(read_price_slot(parse(raw, name), name) for name, raw in named)
    return signals if receipt.site_id is None else signals.of_site(receipt.site_id)


def facts_of(receipt: Receipt) -> Facts:
    """The facts inside; raises InvalidMessage if they are none of a session."""
    times, registers, activity = receipt.times_us, receipt.registers_wh, receipt.activity
    if not times or len(times) != len(registers):
        raise InvalidMessage("bad_receipt", "times_us and registers_wh are not readings of one session")
    powers = receipt.powers_w
    if isinstance(powers, UnsetType):
        powers = [None] * len(times)
    if len(powers) != len(times) or any(power is not None and power < 0 for power in powers):
        raise InvalidMessage("bad_receipt", "powers_w does not give 0 W or more, or null, for each of times_us")
    if any(after <= before for before, after in pairwise([*times, receipt.ended_at_us + 1])):
        raise InvalidMessage("bad_receipt", "times_us are not in order of time, or end after the session")
    between = () if isinstance(receipt.powers_between, UnsetType) else receipt.powers_between
    instants = [times[0], *(at for at, _ in between), receipt.ended_at_us]
    if between and (any(b <= a for a, b in pairwise(instants)) or min(watts for _, watts in between) < 0):
        raise InvalidMessage("bad_receipt", "powers_between are not 0 W or more, in order of time inside the session")
    if receipt.ended_at_us - times[0] > _LONGEST_US:
        raise InvalidMessage("bad_receipt", "times_us and ended_at_us are more than a year apart")
    reserved = None if isinstance(receipt.reserved_from_us, UnsetType) else receipt.reserved_from_us
    if reserved is not None and reserved > times[0]:
        raise InvalidMessage("bad_receipt", "reserved_from_us is after the start of the session")
    changes = [times[0], *(period.from_us for period in activity), receipt.ended_at_us]
    if any(after < before for before, after in pairwise(changes)):
        raise InvalidMessage("bad_receipt", "activity is not in order of time, or lies outside the session")
    return Facts(
        start_us=times[0],
        end_us=receipt.ended_at_us,
        readings=[Reading(at, wh * _MWH, power) for at, wh, power in zip(times, registers, powers, strict=True)],
        activity=activity,
        reserved_from_us=reserved,
        estimated=receipt.evidence == "estimated",
        quote=receipt.quote,
        powers_between=between,
    )


def sealed(document: Receipt | Credit) -> tuple[bytes, bytes]:
    """The record with its hash as last field, and the hash."""
    written = bytearray()
    _ENCODER.encode_into(document, written)
    del written[-len(_TAIL) :]
    digest = sha256(written)
    digest.update(b"}")
    found = digest.digest()
    written += b',"hash":"%s"}' % found.hex().encode()
    return bytes(written), found


@lru_cache(maxsize=20_000)
def encoded_price_slot(slot: PriceSlot) -> msgspec.Raw:
    return msgspec.Raw(encode_price_slot(slot))
