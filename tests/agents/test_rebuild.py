"""What a rebuild corrects, and what the stage's state knows of it afterwards."""

from __future__ import annotations

from collections.abc import Iterable

from msgspec import structs

from pipeline.agents.assembly import Assembly
from pipeline.agents.rebuild import PublishedRecords, corrections, outputs
from pipeline.agents.records import RECEIPTS
from pipeline.domain.publishing.rebuilding import Correction, take_over
from pipeline.domain.receipts import Credit, Receipt
from pipeline.domain.station import Station
from pipeline.domain.station_codec import decode_station
from pipeline.runtime.logic import Output
from pipeline.runtime.offline import MemoryArchive, Offline
from pipeline.wire.meter_events import Decoder
from pipeline.wire.receipts import decode_receipt
from tests.receipts import KEYRING, TARIFF, in_time, rating, tell
from tests.receipts import corrections as late

DEARER = TARIFF | {"elements": [{"price_components": [{"type": "ENERGY", "price": 0.9, "vat": 19, "step_size": 1}]}]}


def stage(tariff: object = TARIFF) -> Offline[Station]:
    return Offline(Assembly(rating(tariff), Decoder(KEYRING)))  # type: ignore[arg-type]  # a document


def told(outputs: Iterable[Output]) -> PublishedRecords:
    found = PublishedRecords()
    for each in outputs:
        found.take(each.topic, each.value, "output")
    return found


def only(found: Iterable[Correction]) -> Correction:
    (one,) = found
    return one


def receipts(correction: Correction) -> list[Receipt | Credit]:
    return [decode_receipt(each.value or b"", "output") for each in outputs(correction) if each.topic == RECEIPTS]


def test_what_says_the_same_is_left_alone() -> None:
    stands = told(tell(stage(), in_time()))
    assert list(corrections(stands, told(tell(stage(), in_time())))) == []


def test_a_wrong_bill_is_taken_back_and_the_next_revision_takes_back_the_new_one() -> None:
    live, right = stage(DEARER), stage()
    stands = told(tell(live, in_time()))
    found = only(corrections(stands, told(tell(right, in_time()))))
    assert (found.change, found.after.generation, found.after.revision) == ("changed", 2, 2)
    credit, bill = receipts(found)
    assert isinstance(credit, Credit)
    assert isinstance(bill, Receipt)
    former = stands.bills[found.session_id]
    assert (credit.generation, credit.revision, credit.bill_hash) == (1, 1, former.hash)
    assert (bill.generation, bill.revision) == (2, 2)
    assert bill.payable_incl_vat != former.payable_incl_vat

    station = live.states[b"CP-1"]
    written = take_over(station, right.states.get(b"CP-1"), {found.session_id: found})
    kept = decode_station(written[b""])
    assert [(each.generation, each.revision) for _, each in kept.each_session()] == [(2, 2)]
    after = stage()
    kept.archive = MemoryArchive()
    after.states[b"CP-1"] = kept
    after._schedule(b"CP-1", kept)
    outputs = list(tell(after, late({19: 104_000})))
    revised = [decode_receipt(each.value or b"", "output") for each in outputs if each.topic == RECEIPTS]
    assert [(each.kind, each.generation, each.revision) for each in revised] == [("CREDIT", 2, 2), ("BILL", 2, 3)]
    assert isinstance(revised[0], Credit)
    assert revised[0].bill_hash == bill.hash


def test_a_session_that_the_log_does_not_give_is_void_and_its_bill_taken_back() -> None:
    stands = told(tell(stage(), in_time()))
    found = only(corrections(stands, PublishedRecords()))
    assert (found.change, found.after.status, found.billed) == ("credited", "void", None)
    (credit,) = receipts(found)
    assert isinstance(credit, Credit)
    assert credit.bill_hash == stands.bills[found.session_id].hash
    void = PublishedRecords({found.session_id: found.after})
    assert list(corrections(void, PublishedRecords())) == [], "once"


def test_a_session_that_was_never_told_gets_its_bill_and_the_stage_its_evidence() -> None:
    right = stage()
    outputs = list(tell(right, in_time()))
    found = only(corrections(PublishedRecords(), told(outputs)))
    assert (found.change, found.after.generation, found.after.revision) == ("new", 2, 1)
    (bill,) = receipts(found)
    missing = Station("CP-1", archive=MemoryArchive())
    written = take_over(missing, right.states[b"CP-1"], {found.session_id: found})
    after = stage()
    after.states[b"CP-1"] = decode_station(written.pop(b""))
    after.states[b"CP-1"].archive = archive = MemoryArchive()
    for name, value in written.items():
        archive.put(name, value)
    outputs = list(tell(after, [*in_time()[1:], *late({19: 104_000})]))
    revised = [decode_receipt(each.value or b"", "output") for each in outputs if each.topic == RECEIPTS]
    assert [(each.kind, each.generation, each.revision) for each in revised] == [("CREDIT", 2, 1), ("BILL", 2, 2)]
    assert isinstance(revised[0], Credit)
    assert revised[0].bill_hash == bill.hash, "what comes later takes back the bill that the rebuild made"


def test_a_bill_of_another_generation_that_says_the_same_stands() -> None:
    stands = told(tell(stage(), in_time()))
    (session_id,) = stands.sessions
    wrong = structs.replace(stands.sessions[session_id], content_hash="0" * 32)
    found = only(corrections(PublishedRecords({session_id: wrong}, stands.bills), told(tell(stage(), in_time()))))
    assert (found.change, receipts(found)) == ("facts", [])
    assert found.billed is not None
    assert found.billed.hash.hex() == stands.bills[session_id].hash
