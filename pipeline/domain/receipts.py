"""Receipts: what the billing party gets of a session, and what a dispute can be settled with years later.

A Receipt holds every fact that its bill rests on, so that `chargeline verify` repeats it from the file alone. A bill is
never edited: a session whose bill changed takes the former one back with a Credit and is billed anew
(ops/spec/pricing.md D25); a revision with the same bill leaves the former one standing. Neither holds a token or a
transaction id; `customer` is a pseudonym of the purpose billing.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from hashlib import sha256
from operator import attrgetter
from typing import Literal

import msgspec
from msgspec import UNSET, UnsetType

from pipeline.domain.events import BillDecision, PriceQuote
from pipeline.domain.outputs import Evidence, Line
from pipeline.domain.pricing.bill import TaxTotal
from pipeline.domain.pricing.facts import ActivityPeriod
from pipeline.domain.pricing.units import negated

FORMAT: Literal["chargeline-receipt-1"] = "chargeline-receipt-1"


class Billed(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What the state of a session keeps of its bill, to take it back should the session be corrected."""

    revision: int
    hash: bytes
    """sha256 of the receipt's content, 32 bytes."""
    ended_at_us: int
    currency: str
    total_excl: str | None
    total_incl: str | None
    payable_excl: str | None
    payable_incl: str | None
    tax: tuple[TaxTotal, ...]
    claims: bytes = b""
    """Hash of what the bill says, see `claims_of`; empty: written before codec version 3, equal to no other bill."""
    customer: str | None = ""
    """To whom it was addressed: the credit goes there, whoever it turns out to be. Empty: older records do not say."""
    generation: int = 1


class Value(msgspec.Struct, frozen=True, gc=False, forbid_unknown_fields=True):
    """A measured value as it was sent, in text."""

    at_us: int
    value: str


class LeftOut(msgspec.Struct, frozen=True, kw_only=True, gc=False, forbid_unknown_fields=True):
    """Values that made no fact, for one and the same reason."""

    reason: str
    count: int
    first: tuple[Value, ...]
    """The first ten."""
    from_us: int
    to_us: int


class Origin(
    msgspec.Struct, frozen=True, kw_only=True, gc=False, forbid_unknown_fields=True, rename={"source": "from"}
):
    """Where a fact of the session comes from."""

    fact: str
    """An open list: `started_at`, `ended_at`, `energy`, `baseline`, ..."""
    source: str
    """In JSON `from`: the reading, status or correction, in words."""


class Hypothesis(msgspec.Struct, frozen=True, kw_only=True, gc=False, forbid_unknown_fields=True):
    """An explanation of evidence that is in doubt, and the energy by it."""

    name: str
    energy_wh: int


class Decided(msgspec.Struct, frozen=True, kw_only=True, gc=False, forbid_unknown_fields=True):
    """The latest decision about the bill, and what became of it; null: not stated. Whose session it is: `customer`."""

    decision: BillDecision
    at_us: int
    outcome: str
    """`applied`; `withdrawn`; `overtaken: ...` by evidence that carries a bill; `not applied: ...` and why."""
    hypothesis: str | None
    start_register_wh: int | None
    stop_register_wh: int | None
    energy_wh: int | None
    started_at_us: int | None
    ended_at_us: int | None
    reserved_from_us: int | None
    without_reservation: bool
    by: str | None
    """The operator's id."""
    why: str | None


class Account(msgspec.Struct, frozen=True, kw_only=True, gc=False, forbid_unknown_fields=True):
    """Every measured value that bears on the session is in one of the first three."""

    used: int
    repeated: int
    left_out: tuple[LeftOut, ...]
    facts: tuple[Origin, ...]
    hypotheses: tuple[Hypothesis, ...]
    """What there was to decide, because the evidence alone held the bill."""
    decision: Decided | UnsetType = UNSET


class Receipt(msgspec.Struct, frozen=True, kw_only=True, gc=False, forbid_unknown_fields=True):
    """A final bill with everything that it was made from. Times are us UTC, energy Wh, amounts decimal texts."""

    format: Literal["chargeline-receipt-1"]
    software: str
    """Name and version of the program that made the bill."""
    kind: Literal["BILL"]
    session_id: str
    generation: int
    revision: int
    customer: str | None
    """Pseudonym (purpose billing) by which the billing party finds its customer; null: no token was presented."""
    station_id: str
    connector_id: int
    site_id: str | None
    started_at_us: int | None
    ended_at_us: int
    energy_wh: int | None
    evidence: Evidence
    quality: tuple[str, ...]
    billable: bool
    """False: too short or too little energy to be billed; a WAIVER line takes the amount back."""
    times_us: list[int]
    registers_wh: list[int]
    """The readings used, parallel to `times_us`; the first is the start, the last the end."""
    activity: list[ActivityPeriod]
    """From each instant on, until the next: charging, idle or paused by the station."""
    time_zone: str | None
    tax_rate: Decimal | None
    """Of the site in percent, for tariffs that add tax without naming a rate."""
    tariff_hash: str
    tariff: msgspec.Raw
    """The tariff version as it was given, in canonical JSON; `tariff_hash` is its sha256."""
    signals: list[msgspec.Raw]
    """The price slots that the bill depends on, as `prices publish` takes them."""
    currency: str
    price_mode: str
    rounding_policy: str
    total_excl_vat: str | None
    total_incl_vat: str | None
    payable_excl_vat: str | None
    payable_incl_vat: str | None
    tax: tuple[TaxTotal, ...]
    notes: tuple[str, ...]
    lines: tuple[Line, ...]
    quote: PriceQuote | None = None
    """What the driver was shown before the start; null (and absent in older receipts): nothing that we were told of."""
    locked_at_us: int | None = None
    """Whose prices hold: the quote's instant if it binds, else the start; null: no quote, or prices are not LOCKED."""
    powers_w: list[int | None] | UnsetType = UNSET
    """What the charger stated at each of `times_us`, null where nothing; absent (as in older receipts): nowhere."""
    powers_between: list[tuple[int, int]] | UnsetType = UNSET
    """(us, W) stated between the readings used; absent: none."""
    reserved_from_us: int | UnsetType = UNSET
    """Since when the connector was reserved, as somebody decided; absent: no reservation is billed."""
    account: Account | UnsetType = UNSET
    """What became of the evidence, for disputes: no bill rests on it. Absent in receipts that were made without."""
    hash: str = ""
    """64 hex characters of the sha256 over the record without this field. It stays last: wire/receipts.py adds it."""


class Credit(msgspec.Struct, frozen=True, kw_only=True, gc=False, forbid_unknown_fields=True):
    """Takes a whole bill back: its amounts, negated."""

    format: Literal["chargeline-receipt-1"]
    software: str
    kind: Literal["CREDIT"]
    session_id: str
    generation: int
    revision: int
    """Of the bill that is taken back ..."""
    bill_hash: str
    """... and the hash of its receipt."""
    corrected_by: int
    """The revision that takes its place."""
    reason: str
    """Why there is one, see `revision_reason` of topic `sessions`."""
    customer: str | None
    station_id: str
    connector_id: int
    ended_at_us: int
    """As the bill says it."""
    currency: str
    total_excl_vat: str | None
    total_incl_vat: str | None
    payable_excl_vat: str | None
    payable_incl_vat: str | None
    tax: tuple[TaxTotal, ...]
    hash: str = ""


NOT_CLAIMED = frozenset(
    {"format", "software", "kind", "generation", "revision", "hash"}
    | {"quality", "times_us", "registers_wh", "activity", "signals", "powers_w", "powers_between", "account"}
    | {"tariff"}  # its hash is claimed
)
"""Where two receipts may differ and still be one bill: what it was made from, by what, and what only warns."""
_NAMES = [name for name in Receipt.__struct_fields__ if name not in NOT_CLAIMED and name != "reserved_from_us"]
_CLAIMED = attrgetter(*_NAMES)
_CLAIMS_BYTES = 16
_ENCODER = msgspec.json.Encoder()


def claims_of(receipt: Receipt) -> tuple[object, ...]:
    """Who owes what, for what and how far proven. The facts of either receipt give this again when it is verified."""
    first, *rest = _CLAIMED(receipt)
    claims = first, 1, *rest  # where the generation stood: of another one, and the same in all else, it is one bill
    if isinstance(receipt.reserved_from_us, UnsetType):  # so that bills from before it was a claim are still the same
        return claims
    return *claims, receipt.reserved_from_us


def claims_hash(receipt: Receipt) -> bytes:
    return sha256(_ENCODER.encode(claims_of(receipt))).digest()[:_CLAIMS_BYTES]


def billed(receipt: Receipt, digest: bytes) -> Billed:
    """What is kept of a receipt whose content has this sha256."""
    return Billed(
        revision=receipt.revision,
        hash=digest,
        ended_at_us=receipt.ended_at_us,
        currency=receipt.currency,
        total_excl=receipt.total_excl_vat,
        total_incl=receipt.total_incl_vat,
        payable_excl=receipt.payable_excl_vat,
        payable_incl=receipt.payable_incl_vat,
        tax=receipt.tax,
        claims=claims_hash(receipt),
        customer=receipt.customer,
        generation=receipt.generation,
    )


def taken_back(tax: Sequence[TaxTotal]) -> tuple[TaxTotal, ...]:
    """The same tax with the opposite sign."""
    return tuple(
        TaxTotal(rate=each.rate, tax=negated(each.tax) or "", payable=negated(each.payable) or "") for each in tax
    )
