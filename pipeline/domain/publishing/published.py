"""What a session becomes: one type for each kind of record, besides Alert and Quarantined of domain/outputs.py."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import msgspec

from pipeline.domain.outputs import Alert, Quarantined, StrippedSession
from pipeline.domain.pricing.signals import PriceSlot
from pipeline.domain.receipts import Credit, Receipt


class Revision(NamedTuple):
    """A session as it stands from now on."""

    record: StrippedSession
    facts: bytes
    """The record as `Forms.facts` writes it ..."""
    content_hash: str
    revision: int
    reason: str


class ViewEnded(NamedTuple):
    """There is no live view of this session any more."""

    session_id: str


class Sealed(NamedTuple):
    """A receipt or a credit with its hash, as bytes."""

    document: Receipt | Credit
    value: bytes


Published = Revision | ViewEnded | Sealed | Alert | Quarantined


class Forms(NamedTuple):
    """How wire writes what decisions rest on: whether anything changed is told by the hash of its bytes."""

    facts: Callable[[StrippedSession], tuple[bytes, str]]
    """A record without its revision, and the hash of that."""
    seal: Callable[[Receipt | Credit], tuple[bytes, bytes]]
    """A receipt with its hash as last field, and the hash."""
    price_slot: Callable[[PriceSlot], msgspec.Raw]
    software: str
    """Name and version of this program."""
