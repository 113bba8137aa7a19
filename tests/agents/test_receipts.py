"""Receipts of a whole simulated fleet with every fault: each can be repeated, and together they are what is owed."""

from __future__ import annotations

import json
from collections import defaultdict
from decimal import Decimal

import pytest

from pipeline.agents.assembly import RECEIPTS, SESSIONS, Assembly
from pipeline.domain.checking.receipts import check, check_credit
from pipeline.domain.outputs import StrippedSession
from pipeline.domain.rating import Rating
from pipeline.domain.receipts import Receipt
from pipeline.edge.fleet import fleet_documents
from pipeline.edge.simulator import simulate
from pipeline.runtime.logic import Output
from pipeline.runtime.offline import Offline
from pipeline.wire.meter_events import Decoder
from pipeline.wire.receipts import content_hash, decode_receipt, facts_of, signals_of, tariff_of
from pipeline.wire.sessions import decode_session
from pipeline.wire.sites import decode_sites
from pipeline.wire.tariffs import decode_tariffs
from tests.agents.test_assembly_laws import KEYS, PLAN

History = list[tuple[bytes | None, bytes]]


@pytest.fixture(scope="module")
def history() -> History:
    return [(key, value) for _, key, value in simulate(PLAN)]


@pytest.fixture(scope="module")
def outputs(history: History) -> list[Output]:
    return assembled(history)


def assembled(history: History, reload_every: int = 0) -> list[Output]:
    """Receipts and sessions; `reload_every` so many records all state goes through its codec."""
    sites, tariffs = fleet_documents(PLAN.seed, PLAN.stations, PLAN.sites)
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
    receipts = records(outputs)
    compared = 0
    for each in outputs:
        if each.topic != SESSIONS or each.value is None:
            continue
        session = decode_session(each.value)
        if session.bill_state != "FINAL" or session.status == "void":
            continue
        receipt = decode_receipt(receipts[f"{session.session_id}:{session.revision}:BILL".encode()], "record")
        assert isinstance(receipt, Receipt)
        for name in ("lines", "total_excl_vat", "total_incl_vat", "payable_excl_vat", "payable_incl_vat", "energy_wh",
                     "evidence", "quality", "billable", "time_zone", "currency"):  # fmt: skip
            assert getattr(receipt, name) == getattr(session, name), name
        compared += 1
    assert compared > 300


def test_state_that_was_stored_and_restored_gives_the_same_receipts(history: History, outputs: list[Output]) -> None:
    assert assembled(history, reload_every=2003) == outputs
