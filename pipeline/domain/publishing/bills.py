"""Which bill of a session stands, and what a held one waits for.

A bill is never edited: one that changed is taken back whole, and there is a new one if it is final. One that says the
same stands, with the revision and the facts that it was made from.
"""

from __future__ import annotations

from pipeline.domain.outputs import StrippedSession
from pipeline.domain.pricing.bill import Bill
from pipeline.domain.publishing.published import Forms, Sealed
from pipeline.domain.publishing.receipts import credit_of, receipt_of
from pipeline.domain.rating import Rated
from pipeline.domain.receipts import Billed, Receipt, billed, claims_hash
from pipeline.domain.station import DECISION, SIGNALS, SITES, TARIFFS, Session

WAITS_FOR = {
    "SITE_MISSING": SITES,
    "TIME_ZONE_MISSING": SITES,
    "TARIFF_MISSING": SITES | TARIFFS,
    "TARIFF_AMBIGUOUS": SITES | TARIFFS,
    "LOCK_REQUIRED": SITES | TARIFFS,
    "SIGNAL_MISSING": SIGNALS,
}
"""What would release a bill that is held for this reason; for every other reason it takes a decision."""


def waits_for(record: StrippedSession) -> int:
    """Bits as in `Station.held`; 0: the bill is not held."""
    return WAITS_FOR.get(record.held_reason or "", DECISION) if record.bill_state == "HELD" else 0


def settle(forms: Forms, session: Session, record: StrippedSession, reason: str, rated: Rated) -> list[Sealed]:
    """The bill of a new revision, where it is another one than the bill that stands."""
    published: list[Sealed] = []
    former, made = session.billed, None
    if isinstance(rated.bill, Bill) and rated.bill.state == "FINAL":
        made = receipt_of(record, session.revision, rated.measured, rated.bill, session.billing_token, forms)
        if former is not None and former.claims == claims_hash(made):
            return published
    if former is not None:
        published.append(take_back(forms, former, record, session.revision, reason, session.billing_token))
    session.billed = None
    if made is not None:
        sealed, session.billed = issue(forms, made)
        published.append(sealed)
    return published


def issue(forms: Forms, receipt: Receipt) -> tuple[Sealed, Billed]:
    """A receipt that has no hash yet, and what is to be kept to know its bill again and to take it back."""
    value, digest = forms.seal(receipt)
    return Sealed(receipt, value), billed(receipt, digest)


def take_back(
    forms: Forms, former: Billed, record: StrippedSession, revision: int, reason: str, customer: str | None
) -> Sealed:
    """The credit of a bill, because `record` has become `revision`."""
    credit = credit_of(former, record, revision, reason, customer, forms.software)
    return Sealed(credit, forms.seal(credit)[0])
