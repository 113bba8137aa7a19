"""Receipts of a whole simulated fleet with every fault: each can be repeated, and together they are what is owed."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator
from decimal import Decimal

import msgspec
import pytest

from pipeline.agents.assembly import Assembly
from pipeline.agents.records import RECEIPTS, SESSIONS
from pipeline.domain.checking.receipts import check, check_credit
from pipeline.domain.outputs import StrippedSession
from pipeline.domain.rating import Rating
from pipeline.domain.receipts import NOT_CLAIMED, Credit, Receipt, claims_of
from pipeline.edge.fleet import fleet_documents
from pipeline.edge.simulator import simulate
from pipeline.runtime.logic import Output
from pipeline.runtime.offline import Offline
from pipeline.wire.meter_events import Decoder
from pipeline.wire.receipts import content_hash, decode_receipt, facts_of, signals_of, tariff_of
from pipeline.wire.sessions import decode_session
from pipeline.wire.sites import decode_sites
from pipeline.wire.tariffs import decode_tariffs
from tests.agents.test_assembly_laws import FLEET, KEYS
from tests.golden.state.older import as_written_by
from tests.receipts import KEYRING, MOVES_ENERGY, READINGS, corrections, in_time, rating, receipts, story, tell

History = list[tuple[bytes | None, bytes]]


@pytest.fixture(scope="module")
def history() -> History:
    return [(key, value) for _, key, value in simulate(FLEET)]


@pytest.fixture(scope="module")
def outputs(history: History) -> list[Output]:
    return assembled(history)


def assembled(history: History, reload_every: int = 0) -> list[Output]:
    """Receipts and sessions; `reload_every` so many records all state goes through its codec."""
    sites, tariffs = fleet_documents(FLEET.seed, FLEET.stations, FLEET.sites)
    rating = Rating(
        KEYS, decode_sites(json.dumps(sites).encode(), "sites"), decode_tariffs(json.dumps(tariffs).encode(), "tariffs")
    )
    logic = Assembly(rating, Decoder(KEYS))
    stage, found = Offline(logic), []
    for number, (key, value) in enumerate(history, 1):
        if reload_every and number % reload_every == 0:
            for kept, state in list(stage.states.items()):
                stage.states[kept] = logic.load(kept, logic.dump(state), 1, state.archive)
        found += [each for each in stage.feed(key, value) if each.topic in (RECEIPTS, SESSIONS)]
    return found


def records(outputs: list[Output]) -> dict[bytes, bytes]:
    found = {each.key: each.value for each in outputs if each.topic == RECEIPTS and each.value is not None}
    assert len(found) == sum(each.topic == RECEIPTS for each in outputs), "one record a key"
    return found


def test_every_receipt_of_the_stream_is_repeated_from_itself(outputs: list[Output]) -> None:
    bills: dict[str, Receipt] = {}
    credits = waived = 0
    for value in records(outputs).values():
        receipt = decode_receipt(value, "record")
        if isinstance(receipt, Receipt):
            found = check(receipt, content_hash(value), facts_of(receipt), tariff_of(receipt), signals_of(receipt))
            bills[receipt.hash] = receipt
            waived += not receipt.billable
        else:
            credits += 1
            found = check_credit(receipt, content_hash(value), bills[receipt.bill_hash])
        assert (found.verdict, found.findings) == ("OK", ())
    assert len(bills) > 300
    assert credits > 30
    assert waived > 10


def test_bills_less_credits_are_what_the_session_owes(outputs: list[Output]) -> None:
    owed: defaultdict[str, Decimal] = defaultdict(Decimal)
    for value in records(outputs).values():
        receipt = decode_receipt(value, "record")
        owed[receipt.session_id] += Decimal(receipt.payable_incl_vat or 0)
    latest: dict[str, StrippedSession] = {}
    for each in outputs:
        if each.topic == SESSIONS and each.value is not None:
            session = decode_session(each.value)
            latest[session.session_id] = session
    held = 0
    for session_id, session in latest.items():
        final = session.bill_state == "FINAL" and session.status != "void"
        held += not final
        expected = Decimal(session.payable_incl_vat or 0) if final else Decimal(0)
        assert owed.pop(session_id, Decimal(0)) == expected, session.quality
    assert not owed
    assert held >= 5


def test_a_session_and_its_receipt_tell_the_same_bill(outputs: list[Output]) -> None:
    """At every revision: the receipt that stands by then, be it of an earlier one."""
    compared = stood = 0
    for session, receipt in standing(outputs):
        final = session.bill_state == "FINAL" and session.status != "void"
        assert (receipt is not None) == final
        if receipt is None:
            continue
        for name in ("lines", "total_excl_vat", "total_incl_vat", "payable_excl_vat", "payable_incl_vat", "energy_wh",
                     "evidence", "billable", "time_zone", "currency", "site_id", "started_at_us"):  # fmt: skip
            assert getattr(receipt, name) == getattr(session, name), name
        compared += 1
        stood += receipt.revision < session.revision
    assert compared > 300
    assert stood >= 2, "revisions that change no bill"


def standing(outputs: list[Output]) -> Iterator[tuple[StrippedSession, Receipt | None]]:
    """Each revision in turn, with the receipt that stands when all its receipts are written."""
    told: dict[str, StrippedSession] = {}
    stands: dict[str, Receipt] = {}
    for each in outputs:
        if each.value is None:
            continue
        if each.topic == SESSIONS:
            session = decode_session(each.value)
            if session.session_id in told:
                yield told[session.session_id], stands.get(session.session_id)
            told[session.session_id] = session
            continue
        receipt = decode_receipt(each.value, "record")
        if isinstance(receipt, Receipt):
            assert receipt.session_id not in stands, "two bills stand"
            stands[receipt.session_id] = receipt
        else:
            former = stands.pop(receipt.session_id)
            assert (former.hash, former.revision) == (receipt.bill_hash, receipt.revision)
    for session_id, session in told.items():
        yield session, stands.get(session_id)


def test_no_bill_is_taken_back_for_the_same_bill(outputs: list[Output]) -> None:
    former: dict[str, Receipt] = {}
    changed = 0
    for value in records(outputs).values():
        receipt = decode_receipt(value, "record")
        if isinstance(receipt, Receipt):
            if receipt.session_id in former:
                assert claims_of(receipt) != claims_of(former[receipt.session_id])
                changed += 1
            former[receipt.session_id] = receipt
    assert changed > 30


GAP = {minute: wh for minute, wh in READINGS.items() if minute < 30}
FILLS_THE_GAP = {30: 105_400}
"""Comes late and changes a quality code, but nothing that is billed."""


def test_a_revision_with_the_same_bill_leaves_the_receipt_standing() -> None:
    stage = Offline(Assembly(rating(), Decoder(KEYRING)))
    first, later = list(tell(stage, in_time(readings=GAP))), list(tell(stage, corrections(FILLS_THE_GAP)))
    assert [(each.revision, each.quality) for each in sessions(first)] == [(1, ("GAP",))]
    assert [(each.revision, each.quality) for each in sessions(later)] == [(2, ())], "the session is told again"
    written = receipts(iter(first))
    assert list(written) == ["1:BILL"]
    assert receipts(iter(later)) == {}
    value = written["1:BILL"]
    receipt = decode_receipt(value, "record")
    assert isinstance(receipt, Receipt)
    found = check(receipt, content_hash(value), facts_of(receipt), tariff_of(receipt), signals_of(receipt))
    assert (found.verdict, receipt.quality) == ("OK", ("GAP",)), "it keeps the facts that it was made from"


@pytest.mark.parametrize("stored", [False, True])
def test_a_later_change_takes_back_the_bill_that_stands(stored: bool) -> None:
    logic = Assembly(rating(), Decoder(KEYRING))
    stage = Offline(logic)
    first = receipts(tell(stage, in_time(readings=GAP)))
    for number, late in enumerate([FILLS_THE_GAP, MOVES_ENERGY]):
        if stored:
            state = stage.states[b"CP-1"]
            stage.states[b"CP-1"] = logic.load(b"CP-1", logic.dump(state), logic.codec_version, state.archive)
        last = list(tell(stage, corrections(late, 80 + 20 * number)))
    written = receipts(iter(last))
    assert list(written) == ["1:CREDIT", "3:BILL"]
    credit, bill = (decode_receipt(value, "record") for value in written.values())
    stood = decode_receipt(first["1:BILL"], "record")
    assert isinstance(credit, Credit)
    assert isinstance(stood, Receipt)
    assert (credit.revision, credit.corrected_by, bill.revision) == (1, 3, 3)
    assert check_credit(credit, content_hash(written["1:CREDIT"]), stood).verdict == "OK"


def test_a_bill_in_state_of_codec_version_2_is_taken_back_once() -> None:
    """It does not say what it claims, so it is billed anew with the next revision, as that version would have."""
    logic = Assembly(rating(), Decoder(KEYRING))
    stage = Offline(logic)
    list(tell(stage, in_time(readings=GAP)))
    state = stage.states[b"CP-1"]
    (session,) = state.sessions.values()
    assert session.billed is not None
    assert session.billed.claims
    stage.states[b"CP-1"] = logic.load(b"CP-1", as_written_by(2, logic.dump(state)), 2, state.archive)
    assert list(receipts(tell(stage, corrections(FILLS_THE_GAP)))) == ["1:CREDIT", "2:BILL"]
    assert list(receipts(tell(stage, corrections({35: 106_300}, 100)))) == []


CLAIMED = [
    "session_id", "customer", "station_id", "connector_id", "site_id", "started_at_us", "ended_at_us",
    "energy_wh", "evidence", "billable", "time_zone", "tax_rate", "tariff_hash", "currency", "price_mode",
    "rounding_policy", "total_excl_vat", "total_incl_vat", "payable_excl_vat", "payable_incl_vat", "tax", "notes",
    "lines", "quote",
    "locked_at_us", "reserved_from_us",
]  # fmt: skip


@pytest.mark.parametrize("name", CLAIMED)
def test_whatever_a_receipt_claims_makes_another_bill(name: str) -> None:
    receipt = decode_receipt(receipts(story())["1:BILL"], "record")
    assert isinstance(receipt, Receipt)
    assert claims_of(msgspec.structs.replace(receipt, **{name: "another"})) != claims_of(receipt)
    assert set(CLAIMED) == set(Receipt.__struct_fields__) - NOT_CLAIMED, "decide for each field of a receipt"


def sessions(outputs: list[Output]) -> list[StrippedSession]:
    return [decode_session(each.value) for each in outputs if each.topic == SESSIONS and each.value is not None]


def test_state_that_was_stored_and_restored_gives_the_same_receipts(history: History, outputs: list[Output]) -> None:
    assert assembled(history, reload_every=2003) == outputs
