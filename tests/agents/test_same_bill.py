"""Stream, price, verify and what-if give one bill for the same facts, byte for byte."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest

from pipeline import cli
from pipeline.agents.records import RECEIPTS, SESSIONS
from pipeline.domain.checking.rerating import rebill
from pipeline.domain.outputs import StrippedSession
from pipeline.domain.pricing.units import kwh_text, utc_text
from pipeline.domain.receipts import Receipt
from pipeline.domain.sites.site import Site
from pipeline.edge.fleet import fleet_documents
from pipeline.edge.simulator import simulate
from pipeline.wire.bills import bill_document, line_document, quote_document
from pipeline.wire.receipts import decode_receipt, tariff_of
from pipeline.wire.recorded_sessions import decode_recorded
from pipeline.wire.sessions import decode_session
from pipeline.wire.sites import decode_sites
from tests.agents.test_assembly_laws import FLEET
from tests.agents.test_quotes import FOLLOWS, LOCKED, quote, receipt_of, told
from tests.agents.test_receipts import assembled
from tests.receipts import SITES as STORY_SITES

SITES = {
    site.site_id: site
    for site in decode_sites(json.dumps(fleet_documents(FLEET.seed, FLEET.stations, FLEET.sites)[0]).encode(), "sites")
}


@pytest.fixture(scope="module")
def streamed() -> list[tuple[StrippedSession, bytes]]:
    """Sessions with final bills as the stream told them, and their receipts."""
    outputs = assembled([(key, value) for _, key, value in simulate(FLEET)])
    receipts = {each.key: each.value for each in outputs if each.topic == RECEIPTS and each.value is not None}
    sessions = [decode_session(each.value) for each in outputs if each.topic == SESSIONS and each.value is not None]
    keys = [(session, f"{session.session_id}:{session.revision}:BILL".encode()) for session in sessions]
    return [(session, receipts[key]) for session, key in keys if key in receipts]


def of_stream(session: StrippedSession) -> dict[str, Any]:
    """What the topic `sessions` says of the bill, in the words of bill_document."""
    return {
        "state": session.bill_state,
        "currency": session.currency,
        "total": {"excl_vat": session.total_excl_vat, "incl_vat": session.total_incl_vat},
        "payable": {"excl_vat": session.payable_excl_vat, "incl_vat": session.payable_incl_vat},
        "time_zone": session.time_zone,
        "tariff_id": session.tariff_id,
        "tariff_version": session.tariff_version,
        "lines": [line_document(line) for line in session.lines],
    }


def session_document(receipt: Receipt) -> dict[str, Any]:
    """The same facts as a document that a person could have written."""
    readings = zip(receipt.times_us, receipt.registers_wh, strict=True)
    return {
        "start": utc_text(receipt.times_us[0]),
        "end": utc_text(receipt.ended_at_us),
        "time_zone": receipt.time_zone,
        "readings": [[utc_text(at), kwh_text(wh * 1000)] for at, wh in readings],
        "activity": [[utc_text(at), name] for at, name in receipt.activity],
        "quote": None if receipt.quote is None else quote_document(receipt.quote),
    }


def printed(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> Any:
    capsys.readouterr()
    assert cli.run([str(each) for each in arguments]) == 0
    return json.loads(capsys.readouterr().out)


def same(bill: Any) -> bytes:
    return msgspec.json.encode(bill)


def agree(
    session: StrippedSession,
    receipt: Receipt,
    value: bytes,
    sites: Mapping[str, Site],
    folder: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Asks for the bill in every way there is; `value` is the record of `receipt`."""
    file, facts, tariff = folder / "receipt.json", folder / "facts.json", folder / "tariff.json"
    file.write_bytes(value)
    facts.write_text(json.dumps(session_document(receipt)))
    tariff.write_bytes(bytes(receipt.tariff))
    (recorded,) = decode_recorded(value, "receipt")
    ours = {
        "price": printed(capsys, "price", file),
        "price of a document": printed(capsys, "price", facts, "--tariff", tariff),
        "verify": printed(capsys, "verify", file, "--json")["bill"],
        "what-if": bill_document(rebill(recorded, sites[recorded.site_id], tariff_of(receipt))),
    }
    assert {same(bill) for bill in ours.values()} == {same(ours["price"])}, [
        name for name, bill in ours.items() if same(bill) != same(ours["price"])
    ]
    told = of_stream(session)
    assert same({name: ours["price"][name] for name in told}) == same(told)
    locked_at = None if receipt.locked_at_us is None else utc_text(receipt.locked_at_us)
    assert (ours["price"]["locked_at"], ours["price"]["notes"]) == (locked_at, list(receipt.notes))


@pytest.mark.parametrize("age_s", [-1, 0, 180, 300, 301])
@pytest.mark.parametrize("tariff", [LOCKED, FOLLOWS], ids=["locked", "follows"])
def test_they_agree_on_a_session_with_a_quote(
    tariff: dict[str, Any], age_s: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    outputs = told(tariff, quote(age_s))
    receipt, value = receipt_of(outputs)
    (session,) = (decode_session(each.value) for each in outputs if each.topic == SESSIONS and each.value is not None)
    assert receipt.quote == quote(age_s)
    sites = {site.site_id: site for site in decode_sites(json.dumps(STORY_SITES).encode(), "sites")}
    agree(session, receipt, value, sites, tmp_path, capsys)


def test_the_four_ways_to_a_bill_agree(
    streamed: list[tuple[StrippedSession, bytes]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    compared = corrected = 0
    for session, value in streamed[::4]:
        receipt = decode_receipt(value, "record")
        assert isinstance(receipt, Receipt)
        if not receipt.billable:
            continue
        agree(session, receipt, value, SITES, tmp_path, capsys)
        compared += 1
        corrected += session.revision > 1
    assert compared > 80
    assert corrected > 5


def test_what_was_published_gives_the_amounts_of_the_stream_again(
    streamed: list[tuple[StrippedSession, bytes]],
) -> None:
    """what-if without receipts knows slots and lines only: not which reading proves what, but what it costs."""
    compared = 0
    for session, value in streamed:
        receipt = decode_receipt(value, "record")
        assert isinstance(receipt, Receipt)
        for recorded in decode_recorded(msgspec.json.encode(session), "session"):
            bill = rebill(recorded, SITES[recorded.site_id], tariff_of(receipt))
            amounts = (bill.total_excl, bill.total_incl, bill.payable_excl, bill.payable_incl)
            assert amounts == (
                session.total_excl_vat, session.total_incl_vat, session.payable_excl_vat, session.payable_incl_vat,
            )  # fmt: skip
            compared += 1
    assert compared > 300
