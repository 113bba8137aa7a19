"""Held bills that somebody decides: events in, receipts out, each of them right, and no ledger out of balance."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.domain.metering.decided import AS_MEASURED
from pipeline.domain.receipts import Credit, Receipt
from pipeline.wire.receipts import content_hash, decode_receipt
from tests.agents.decisions import BY, WHY, Desk, account_of, hypotheses, iso
from tests.agents.test_reservations import PRICED
from tests.receipts import KEYRING, TOKEN, at

EXAMPLE = Path(__file__).parents[2] / "schemas" / "examples" / "receipts" / "v1" / "decided-bill.json"
BEFORE_WRAP = 99_998_000
"""Two kWh below eight digits of Wh."""
RISING: dict[float, int] = {5 * n: 100_000 + 900 * n for n in range(1, 8)}
"""180 Wh a minute, as a station of 11 kW reads it."""


def wrapped() -> Desk:
    """The register runs over its last digit, or was reset; nothing was read in between."""
    desk = Desk()
    desk.start(0, BEFORE_WRAP)
    desk.stop(60, 2_500)
    return held(desk, "NEGATIVE_ENERGY")


def without_start() -> Desk:
    desk = Desk()
    desk.reads(RISING)
    desk.stop(40, 107_200)
    desk.tick(101)
    return held(desk, "MISSING_START")


def jumped() -> Desk:
    """In the middle of the charge the register shows 500 kWh more: another meter, perhaps."""
    desk = Desk()
    desk.start(0, 100_000)
    desk.reads({minute: wh + (500_000 if minute > 20 else 0) for minute, wh in RISING.items()})
    desk.stop(40, 607_200)
    return held(desk, "IMPOSSIBLE_ENERGY")


def held(desk: Desk, reason: str) -> Desk:
    assert (desk.latest().bill_state, desk.latest().held_reason) == ("HELD", reason)
    assert desk.standing() == {}
    return desk


def decided(desk: Desk, energy_wh: int) -> Receipt:
    """The session is billed for so much, by decision; stored and restored it stays so."""
    bill = desk.bill()
    assert (bill.energy_wh, bill.evidence) == (energy_wh, "estimated")
    assert "BILL_DECIDED" in bill.quality
    decision = account_of(bill).decision
    assert (decision.outcome, decision.by, decision.why) == ("applied", BY, WHY)  # type: ignore[union-attr]  # fails if unset
    session = desk.latest(bill.session_id)
    assert (session.bill_state, session.energy_wh, session.revision_reason) == ("FINAL", energy_wh, "BILL_DECIDED")
    assert session.energy_low_wh is not None
    assert session.energy_high_wh is not None
    assert session.energy_low_wh <= energy_wh <= session.energy_high_wh
    told = len(desk.sessions), len(desk.receipts)
    desk.restart()
    desk.tick(2_000)
    assert (len(desk.sessions), len(desk.receipts)) == told
    assert desk.station.held == {}
    assert desk.dead == []
    return bill


# --- one for each reason ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("hypothesis", "energy_wh"), [("REGISTER_WRAPPED", 4_500), ("REGISTER_RESET", 2_500)])
def test_negative_energy(hypothesis: str, energy_wh: int) -> None:
    desk = wrapped()
    desk.decide(70, hypothesis=hypothesis)
    bill = decided(desk, energy_wh)
    assert hypotheses(account_of(bill)) == {"REGISTER_WRAPPED": 4_500, "REGISTER_RESET": 2_500}
    assert (desk.latest().energy_low_wh, desk.latest().energy_high_wh) == (2_500, 4_500)
    if hypothesis == "REGISTER_WRAPPED":
        assert desk.values == [EXAMPLE.read_bytes().rstrip()], "the published example"


@pytest.mark.parametrize(("hypothesis", "energy_wh"), [("START_REGISTER", 7_200), ("FIRST_READING", 2_200)])
def test_baseline_unclear(hypothesis: str, energy_wh: int) -> None:
    """The start says 0, the first reading comes as late as it is high."""
    desk = Desk()
    desk.start(0, 0)
    desk.reads({30: 5_000, 40: 5_700, 50: 6_400, 60: 7_100})
    desk.stop(61, 7_200)
    held(desk, "BASELINE_UNCLEAR").decide(70, hypothesis=hypothesis)
    bill = decided(desk, energy_wh)
    assert bill.registers_wh[-1] == 7_200
    assert bill.times_us[1:-1] == [at(30), at(40), at(50), at(60)][4 - len(bill.times_us[1:-1]) :]


def test_impossible_energy() -> None:
    desk = jumped()
    connector = desk.station.connector(1)
    assert (connector.attributed_wh, connector.quarantined_wh) == (0, 507_200)
    desk.decide(70, hypothesis="WITHOUT_THE_JUMP")
    decided(desk, 6_300)
    connector = desk.station.connector(1)
    assert (connector.attributed_wh, connector.quarantined_wh, connector.estimated_wh) == (6_300, 500_900, 0)


def test_partial_phases() -> None:
    desk = Desk()
    desk.start(0, None)
    desk.reads({minute: wh // 3 for minute, wh in RISING.items()}, phases=1)
    desk.stop(40, None)
    held(desk, "PHASES_PARTIAL").decide(70, hypothesis="PHASES_BALANCED")
    bill = decided(desk, 5_400)
    assert hypotheses(account_of(bill)) == {"PHASES_ARE_THE_TOTAL": 1_800, "PHASES_BALANCED": 5_400}


def test_a_missing_start_with_its_owner() -> None:
    desk = without_start()
    desk.decide(120, start_register_wh=99_900, started_at_us=at(-1), owner="OTHER")
    bill = decided(desk, 7_300)
    assert (bill.started_at_us, bill.times_us[0]) == (at(-1), at(-1))
    assert bill.registers_wh == [99_900, *RISING.values(), 107_200]
    assert bill.customer == KEYRING.pseudonym("billing", "", "OTHER")
    assert desk.latest().driver is not None


def test_a_missing_start_as_it_was_measured() -> None:
    desk = without_start()
    desk.decide(120, hypothesis=AS_MEASURED)
    bill = decided(desk, 6_300)
    assert (bill.customer, bill.registers_wh[0]) == (None, 100_900)


def test_an_ambiguous_stop_is_given_to_its_session() -> None:
    """Both sessions could be the one that it ends; it became a dead letter."""
    desk = Desk()
    desk.start(0, 100_000)
    desk.start(1, 100_100, "2", connector_id=2)
    desk.reads({20: 103_000})
    desk.reads({20: 103_100}, "2", connector_id=2)
    desk.stop(40, 107_000, None, tx_hint="unacknowledged")
    desk.tick(60)
    desk.tick(110)
    desk.tick(1_500)
    assert desk.dead == ["TX_ID_UNMATCHED"]
    first, second = (each.session_id for each in desk.sessions)
    assert [each.held_reason for each in desk.sessions] == ["STOP_AMBIGUOUS", "STOP_AMBIGUOUS"]
    desk.decide(1_510, first, stop_register_wh=107_000, ended_at_us=at(40))
    desk.decide(1_510, second, hypothesis=AS_MEASURED)
    bills = desk.standing()
    assert (bills[first].energy_wh, bills[first].ended_at_us) == (7_000, at(40))
    assert (bills[second].energy_wh, bills[second].ended_at_us) == (3_000, at(20))
    assert {bill.evidence for bill in bills.values()} == {"estimated"}


def test_sessions_that_overlap_are_divided() -> None:
    """Two drivers, one register: the first pays up to the start of the second, and not what that one charged."""
    desk = Desk()
    desk.start(0, 100_000)
    desk.start(5, 100_900, "2", driver="OTHER")
    for tx in ("1", "2"):
        desk.reads({minute: wh for minute, wh in RISING.items() if 5 < minute < 30}, tx)
    desk.stop(30, 105_400)
    desk.stop(30, 105_400, "2")
    desk.tick(35)
    first, second = sorted(
        {each.session_id: each.started_at_us or 0 for each in desk.sessions}.items(), key=lambda x: x[1]
    )
    assert {desk.latest(each).held_reason for each, _ in (first, second)} == {"SESSIONS_OVERLAP"}
    desk.decide(40, first[0], energy_wh=5_400, ended_at_us=at(30))
    assert "DECISION_NOT_APPLIED" in desk.latest().quality, "the second was there from minute 5 on"
    desk.decide(41, first[0], energy_wh=900)
    desk.decide(41, second[0], hypothesis=AS_MEASURED)
    bills = desk.standing()
    assert [(bills[each].energy_wh, bills[each].ended_at_us) for each, _ in (first, second)] == [
        (900, at(5)), (4_500, at(30)),
    ]  # fmt: skip
    assert bills[first[0]].customer != bills[second[0]].customer


def test_a_stop_before_its_start() -> None:
    desk = Desk()
    desk.start(0, 100_000)
    desk.reads(RISING)
    desk.stop(-20, 107_200, received_time_us=at(41))
    held(desk, desk.latest().held_reason or "")
    assert "NEGATIVE_DURATION" in desk.latest().quality
    desk.decide(70, ended_at_us=at(40))
    bill = decided(desk, 7_200)
    assert (bill.ended_at_us, bill.times_us[-1]) == (at(40), at(40))
    assert account_of(bill).left_out == ()


def test_energy_that_no_register_tells() -> None:
    desk = Desk()
    desk.start(0, None)
    desk.stop(40, None)
    held(desk, "ENERGY_UNKNOWN").decide(70, energy_wh=6_000)
    bill = decided(desk, 6_000)
    assert bill.times_us == [at(0), at(40)]
    most = 22_000 * 115 // 100 * 40 // 60 + 10
    assert (desk.latest().energy_low_wh, desk.latest().energy_high_wh) == (0, most)


@pytest.mark.parametrize(
    ("stated", "fee"), [({"without_reservation": True}, 0), ({"reserved_from_us": at(-30)}, 1 + 4.2 / 2)], ids=str
)
def test_a_reservation(stated: dict[str, Any], fee: float) -> None:
    desk = Desk(PRICED)
    desk.start(0, 100_000, reservation=True)
    desk.reads(RISING)
    desk.stop(40, 107_200)
    held(desk, "RESERVATION_UNKNOWN").decide(70, **stated)
    bill = decided(desk, 7_200)
    plain = Desk(PRICED)
    plain.start(0, 100_000)
    plain.reads(RISING)
    plain.stop(40, 107_200)
    assert float(bill.total_excl_vat or 0) - float(plain.bill().total_excl_vat or 0) == pytest.approx(fee)


# --- revised, overtaken, refused --------------------------------------------------------------------------------------


@pytest.mark.parametrize("minutes", [10, 600], ids=["within the reorder window", "from the archive"])
def test_a_later_decision_takes_the_bill_of_the_former_back(minutes: int) -> None:
    desk = wrapped()
    desk.tick(60 + minutes)
    desk.decide(60 + minutes, hypothesis="REGISTER_WRAPPED")
    desk.tick(70 + minutes)
    desk.tick(140 + minutes)
    desk.decide(150 + minutes, hypothesis="REGISTER_RESET")
    decided(desk, 2_500)
    assert [(each.kind, each.revision) for each in desk.receipts] == [("BILL", 2), ("CREDIT", 2), ("BILL", 3)]
    desk.decide(2_100, decision="withdraw")
    assert desk.standing() == {}
    assert (desk.latest().bill_state, desk.latest().held_reason) == ("HELD", "NEGATIVE_ENERGY")
    desk.decide(2_110, decision="waive")
    assert (desk.latest().bill_state, desk.latest().total_incl_vat) == ("FINAL", "0.0000")
    desk.decide(2_120, hypothesis="REGISTER_WRAPPED")
    assert desk.bill().energy_wh == 4_500


@pytest.mark.parametrize("tick_between", [False, True], ids=["at once", "from the archive"])
def test_late_evidence_overtakes_a_decision(tick_between: bool) -> None:
    """The start comes after all: under its own id, to its own driver; what somebody had decided is taken back."""
    desk = without_start()
    desk.decide(120, start_register_wh=99_900, owner="OTHER")
    provisional = desk.latest().session_id
    assert desk.bill().energy_wh == 7_300
    if tick_between:
        desk.tick(300)
    desk.start(0, 100_000)
    desk.tick(310)
    bill = desk.bill()
    assert (bill.energy_wh, bill.evidence) == (7_200, "complete")
    assert bill.session_id != provisional
    assert "BILL_DECIDED" not in bill.quality
    decision = account_of(bill).decision
    assert (decision.outcome, decision.by) == ("overtaken: the evidence carries a bill", BY)  # type: ignore[union-attr]
    (credit,) = (each for each in desk.receipts if isinstance(each, Credit))
    assert (credit.session_id, credit.customer) == (provisional, KEYRING.pseudonym("billing", "", "OTHER"))
    assert desk.latest(provisional).status == "void"


def test_a_start_whose_answer_comes_late_takes_back_what_was_decided_without_it() -> None:
    """OCPP 1.6: the start was in a queue; its answer names the transaction that was billed already."""
    desk = without_start()
    desk.decide(120, start_register_wh=99_000)
    provisional = desk.bill()
    assert provisional.energy_wh == 8_200
    call = {"connectorId": 1, "idTag": TOKEN, "meterStart": 100_000, "timestamp": iso(0)}
    desk.frame(130, "cp->csms", [2, "c1", "StartTransaction", call])
    desk.frame(130, "csms->cp", [3, "c1", {"transactionId": 1, "idTagInfo": {"status": "Accepted"}}])
    desk.tick(200)
    bill = desk.bill()
    assert (bill.energy_wh, bill.customer) == (7_200, KEYRING.pseudonym("billing", "", TOKEN))
    assert [each.kind for each in desk.receipts] == ["BILL", "CREDIT", "BILL"]
    assert desk.receipts[1].session_id == provisional.session_id != bill.session_id
    assert account_of(bill).decision.outcome.startswith("overtaken")  # type: ignore[union-attr]  # fails if unset


def test_a_new_doubt_holds_a_decided_bill_again() -> None:
    """Decided as an impossible jump; then another driver turns up on the same register."""
    desk = jumped()
    desk.decide(70, hypothesis="WITHOUT_THE_JUMP")
    assert desk.bill().energy_wh == 6_300
    desk.start(5, 100_900, "2", driver="OTHER")
    desk.reads({30: 605_400}, "2")
    desk.stop(39, 607_000, "2")
    desk.tick(80)
    first = next(each.session_id for each in desk.sessions)
    assert (desk.latest(first).bill_state, desk.latest(first).held_reason) == ("HELD", "SESSIONS_OVERLAP")
    assert "DECISION_NOT_APPLIED" in desk.latest(first).quality
    assert desk.standing() == {}


@pytest.mark.parametrize("stated", [{"hypothesis": "WISHFUL"}, {"energy_wh": 90_000}, {"owner": "OTHER"}], ids=str)
def test_what_gives_no_possible_energy_is_not_applied_and_says_so(stated: dict[str, Any]) -> None:
    desk = wrapped()
    desk.decide(70, **stated)
    assert "DECISION_NOT_APPLIED" in desk.latest().quality
    held(desk, "NEGATIVE_ENERGY").decide(80, hypothesis="REGISTER_RESET")
    decided(desk, 2_500)


@pytest.mark.parametrize(
    "stated",
    [
        {},
        {"hypothesis": "REGISTER_RESET", "energy_wh": 5},
        {"start_register_wh": 9, "stop_register_wh": 8},
        {"started_at_us": at(9), "ended_at_us": at(9)},
        {"hypothesis": "REGISTER_RESET", "by": ""},
        {"without_reservation": True, "reserved_from_us": at(0)},
        {"decision": "waive", "energy_wh": 5},
    ],
    ids=str,
)
def test_a_decision_that_contradicts_itself_is_refused(stated: dict[str, Any]) -> None:
    desk = wrapped()
    desk.decide(70, **stated)
    assert desk.dead == ["BAD_DECISION"]
    assert len(desk.sessions) == 1


def test_only_held_or_decided_bills_are_decided_and_each_decision_once() -> None:
    desk = Desk()
    desk.start(0, 100_000)
    desk.stop(40, 107_200)
    desk.decide(50, energy_wh=5)
    assert desk.dead == ["BILL_NOT_HELD"]
    desk = wrapped()
    for _ in range(3):
        desk.decide(70, hypothesis="REGISTER_RESET")
    assert (len(desk.sessions), desk.dead) == (2, [])
    desk.decide(69, hypothesis="REGISTER_WRAPPED")
    assert desk.dead == ["DECISION_OUT_OF_ORDER"]
    assert desk.bill().energy_wh == 2_500


def test_who_decided_and_why_is_in_the_receipt_and_no_token() -> None:
    desk = without_start()
    desk.decide(120, hypothesis=AS_MEASURED, owner="OTHER")
    assert desk.bill()
    (value,) = desk.values
    assert BY.encode() in value
    assert WHY.encode() in value
    assert b"OTHER" not in value
    altered = value.replace(WHY.encode(), WHY.upper().encode())
    assert content_hash(altered) != decode_receipt(altered, "record").hash


# --- whatever is decided ----------------------------------------------------------------------------------------------

REGISTERS = st.none() | st.sampled_from([0, 1_000, 99_998_000]) | st.integers(0, 800).map(lambda wh: 50 * wh)
MINUTES = st.integers(-30, 90)
STATED: dict[str, st.SearchStrategy[Any]] = {
    "hypothesis": st.sampled_from(
        [AS_MEASURED, "REGISTER_RESET", "REGISTER_WRAPPED", "FIRST_READING", "WITHOUT_THE_JUMP"]
    ),
    "energy_wh": st.integers(0, 30_000),
    "start_register_wh": st.integers(0, 40_000),
    "stop_register_wh": st.integers(0, 40_000),
    "started_at_us": MINUTES.map(at),
    "ended_at_us": MINUTES.map(at),
    "owner": st.sampled_from(["ONE", "OTHER"]),
    "decision": st.sampled_from(["bill", "bill", "withdraw", "waive"]),
}
DECISIONS = st.lists(st.fixed_dictionaries({}, optional=STATED), min_size=1, max_size=4)


@settings(max_examples=300, deadline=None)
@given(
    start=REGISTERS,
    stop=REGISTERS,
    stop_after=st.sampled_from([40, 40, -20]),
    reads=st.dictionaries(st.integers(0, 45).map(float), st.integers(0, 40_000), max_size=5),
    is_started=st.booleans(),
    next_start=st.sampled_from([None, 200_000_000]),
    decisions=DECISIONS,
    late_start=st.booleans(),
)
def test_whatever_is_decided_bills_once_and_keeps_the_ledger(
    start: int | None, stop: int | None, stop_after: int, reads: dict[float, int], is_started: bool,
    next_start: int | None, decisions: list[dict[str, Any]], late_start: bool,
) -> None:  # fmt: skip
    """Receipts are right, at most one bill of a session stands, ledgers balance: `standing` asserts all that."""
    desk = Desk()
    if is_started:
        desk.start(0, start)
    desk.reads(dict(sorted(reads.items())))
    desk.stop(stop_after, stop)
    desk.start(95, next_start, "2")
    desk.stop(99, None if next_start is None else next_start + 500, "2")
    desk.tick(101)
    desk.tick(106)
    wanted = [each.session_id for each in desk.sessions if each.bill_state == "HELD"]
    for number, stated in enumerate(decisions):
        for session_id in wanted[:1]:
            desk.decide(110 + number, session_id, **({"decision": "bill"} | stated))
        desk.standing()
    if late_start and not is_started:
        desk.start(0, start)
        desk.tick(120)
    desk.restart()
    desk.tick(400)
    bills = desk.standing()
    for session in {each.session_id: each for each in desk.sessions}.values():
        is_billed = session.bill_state == "FINAL" and session.status != "void" and session.tariff_id is not None
        assert (session.session_id in bills) == is_billed
        if is_billed:
            assert session.energy_wh == bills[session.session_id].energy_wh
            assert session.duration_s >= 0
            assert (session.energy_low_wh or 0) <= (session.energy_wh or 0) <= (session.energy_high_wh or 0)
