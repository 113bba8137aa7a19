"""What a rebuild corrects: the sessions and bills that stand, against those that the log gives today.

The rule of the file: what says the same stays. A bill that differs is taken back whole and made anew, as after late
evidence, and the state of the stage is told of it: whatever comes later takes back the bill that stands, and no other.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

from msgspec import structs

from pipeline.domain.outputs import StrippedSession
from pipeline.domain.publishing.bills import issue, take_back
from pipeline.domain.publishing.published import Forms, Published, Revision
from pipeline.domain.publishing.stripping import nothing_of
from pipeline.domain.receipts import Billed, Credit, Receipt, billed, claims_of
from pipeline.domain.station import LATENESS_HORIZON, Session, Station
from pipeline.domain.station_codec import decode_archived, encode_archived, encode_station

REBUILT = "REBUILT"
Change = Literal["changed", "credited", "new", "facts"]
"""Of the bill: another one, none any more, one where there was none; `facts`: only of the session."""


@dataclass(slots=True)
class Standing:
    """The latest record of each session, and its bill that no credit has taken back."""

    sessions: dict[str, StrippedSession] = field(default_factory=dict)
    bills: dict[str, Receipt] = field(default_factory=dict)

    def session(self, record: StrippedSession) -> None:
        known = self.sessions.get(record.session_id)
        if known is None or _version(known) <= _version(record):
            self.sessions[record.session_id] = record

    def receipt(self, receipt: Receipt | Credit) -> None:
        """The next one, in the order in which they were published."""
        bill = self.bills.get(receipt.session_id)
        if isinstance(receipt, Receipt):
            self.bills[receipt.session_id] = receipt
        elif bill is not None and bill.hash == receipt.bill_hash:
            del self.bills[receipt.session_id]


@dataclass(frozen=True, slots=True, kw_only=True)
class Correction:
    """Of one session: what stands, what the log gives, and the records that put it right."""

    session_id: str
    change: Change
    before: StrippedSession | None
    after: StrippedSession
    former: Receipt | None
    bill: Receipt | None
    published: tuple[Published, ...]
    content_hash: str
    billed: Billed | None


def corrections(forms: Forms, stands: Standing, rebuilt: Standing) -> Iterator[Correction]:
    """Of every session that either knows, in order of its id."""
    for session_id in sorted(stands.sessions.keys() | rebuilt.sessions.keys()):
        before, after = stands.sessions.get(session_id), rebuilt.sessions.get(session_id)
        if before is None or before.status != "void" or after is not None:
            bills = stands.bills.get(session_id), rebuilt.bills.get(session_id)
            found = _correction(forms, session_id, before, after, *bills)
            if found is not None:
                yield found


def _correction(
    forms: Forms,
    session_id: str,
    before: StrippedSession | None,
    after: StrippedSession | None,
    former: Receipt | None,
    bill: Receipt | None,
) -> Correction | None:
    generation, revision = (1, 0) if before is None else _version(before)
    if after is None:
        assert before is not None  # noqa: S101 - the id is of one of the two
        place = before.station_id, before.connector_id, before.clock
        after = nothing_of(session_id, generation, place, before.ended_at_us, None)
    is_same_bill = (None if former is None else claims_of(former)) == (None if bill is None else claims_of(bill))
    if is_same_bill and before is not None:
        _, content_hash = forms.facts(_unpublished(after, generation))
        if content_hash == before.content_hash:
            return None
    after = _unpublished(after, generation + 1)
    facts, content_hash = forms.facts(after)
    revision += 1
    published: list[Published] = [Revision(after, facts, content_hash, revision, REBUILT)]
    stands = None if former is None else billed(former, bytes.fromhex(former.hash))
    if not is_same_bill:
        if former is not None and stands is not None:
            published.append(take_back(forms, stands, after, revision, REBUILT, former.customer))
            stands = None
        if bill is not None:
            again = structs.replace(
                bill, generation=after.generation, revision=revision, software=forms.software, hash=""
            )
            sealed, stands = issue(forms, again)
            published.append(sealed)
    return Correction(
        session_id=session_id,
        change=_change(is_same_bill, former, bill),
        before=before,
        after=structs.replace(after, revision=revision),
        former=former,
        bill=bill,
        published=tuple(published),
        content_hash=content_hash,
        billed=stands,
    )


def take_over(station: Station, rebuilt: Station | None, found: Mapping[str, Correction]) -> dict[bytes, bytes]:
    """The state records of `station` in which a corrected session is now as it was published; b"" is the main one.

    A session that the stage does not have is taken from `rebuilt`, with its evidence: a late message finds it there.
    What neither has any more is beyond the lateness horizon, and no message reaches it.
    """
    written: dict[bytes, bytes] = {}
    missing = set(found)
    for _, session in station.each_session():
        if session.session_id in found:
            _mark(session, found[session.session_id])
            missing.discard(session.session_id)
            written[b""] = b""
    for name, session in _archived(station):
        if session.session_id in found:
            _mark(session, found[session.session_id])
            missing.discard(session.session_id)
            written[name] = encode_archived(session, whole=True)
    for name, session in _ended(rebuilt) if missing and rebuilt is not None else ():
        if session.session_id in missing:
            _mark(session, found[session.session_id])
            session.booked = None  # the ledger of the stage's connector does not have it
            written[name] = encode_archived(session, whole=True)
            written[b""] = b""
            station.forget_at_us = min(station.forget_at_us, (session.ended_at_us or 0) + LATENESS_HORIZON)
            station.wake_us = 0
    if b"" in written:
        written[b""] = encode_station(station)
    return written


def _ended(station: Station) -> Iterator[tuple[bytes, Session]]:
    for key, session in station.each_session():
        if session.ended():
            yield key.encode(), session
    yield from _archived(station)


def _archived(station: Station) -> Iterator[tuple[bytes, Session]]:
    return ((name, decode_archived(value)) for name, value in station.archive.items())


def _mark(session: Session, correction: Correction) -> None:
    session.generation, session.revision = _version(correction.after)
    session.content_hash, session.billed = correction.content_hash, correction.billed


def _change(is_same_bill: bool, former: Receipt | None, bill: Receipt | None) -> Change:
    if is_same_bill:
        return "facts"
    if former is None:
        return "new"
    return "credited" if bill is None else "changed"


def _unpublished(record: StrippedSession, generation: int) -> StrippedSession:
    return structs.replace(record, generation=generation, revision=0, revision_reason="", content_hash="")


def _version(record: StrippedSession) -> tuple[int, int]:
    return record.generation, record.revision
