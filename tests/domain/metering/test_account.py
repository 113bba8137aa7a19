"""The account of a session's evidence: whatever came in is used, repeated, or left out for a reason."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pipeline.domain.events import BillDecided
from pipeline.domain.metering.account import FIRST, Account
from pipeline.domain.publishing.receipts import account_of
from tests.builders import Bench, charging, us


class Told(NamedTuple):
    """A reading as it is sent; seconds, Wh, W."""

    at: int
    register: int | None
    power: int | None
    how: str
    """total, begin, interval, L1, L1+L2, or loose: without a transaction id."""
    left_out: int
    times: int


READINGS = st.builds(
    Told,
    at=st.integers(-3, 75).map(lambda minute: minute * 60),
    register=st.none()
    | st.sampled_from([0, 1000, 1004, 2000, 3600, 9_000, 500_000, 99_999_500])
    | st.integers(0, 30_000),
    power=st.none() | st.sampled_from([0, 7_000, 11_000]),
    how=st.sampled_from(["total"] * 4 + ["begin", "interval", "L1", "L1+L2", "loose"]),
    left_out=st.sampled_from([0, 0, 0, 2]),
    times=st.sampled_from([1, 1, 1, 2]),
)
REGISTERS = st.none() | st.sampled_from([0, 1000, 2000, 99_999_000]) | st.integers(0, 30_000)
STEADY = [Told(int(at), register, 11_000, "total", 0, 1) for at, register in charging(60, 3000, 1183)]


def tell(bench: Bench, told: Told) -> int:
    """Sends it; returns how many values that were."""
    more: dict[str, Any] = {"power_w": told.power}
    register, tx = told.register, "t1"
    if told.how == "begin":
        more["context"] = "begin"
    elif told.how == "interval":
        more["interval_wh"], register = register, None
    elif told.how.startswith("L"):
        more["phases"] = 1 if told.how == "L1" else 3
    if told.left_out:
        more["left_out"] = (("PHASE_BESIDE_TOTAL", told.left_out),)
    if told.how == "loose":
        more["tx_hint"], more["left_out"] = "unacknowledged", ()
    bench.read(told.at, register, None if told.how == "loose" else tx, **more)
    values = (told.register is not None) + (told.power is not None)
    return values + (told.left_out if told.how != "loose" else 0)


def accounted(account: Account) -> int:
    return account.used + account.repeated + sum(each.count for each in account.left_out.values())


@settings(max_examples=400, deadline=None)
@given(
    start=REGISTERS,
    stop=REGISTERS,
    readings=st.lists(READINGS, max_size=14),
    again=st.booleans(),
    is_started=st.booleans(),
)
@example(start=1000, stop=None, readings=STEADY, again=False, is_started=True)
@example(start=1000, stop=10_000, readings=STEADY, again=True, is_started=True)
@example(start=0, stop=10_000, readings=STEADY, again=True, is_started=True)
@example(start=None, stop=10_000, readings=STEADY, again=True, is_started=False)
def test_used_repeated_and_left_out_are_what_came_in(
    start: int | None, stop: int | None, readings: Sequence[Told], again: bool, is_started: bool
) -> None:
    bench = Bench()
    came = 0
    if is_started:
        bench.start(0, start)
        came += start is not None
    if is_started and again:
        bench.start(0, start)
        came += start is not None
    for told in readings:
        if told.how == "loose" and (not is_started or not 0 <= told.at <= 3600):
            continue  # nobody's: no session had its connector then
        for _ in range(told.times):
            came += tell(bench, told)
    bench.stop(3600, stop)
    bench.stop(3600, stop)
    came += 2 * (stop is not None)
    measured = bench.rated()[1]
    account = measured.account
    assert accounted(account) == came, (account, measured.quality)
    assert (account.used > 0) <= (measured.energy_wh is not None)
    published = account_of(account)
    assert all(len(each.first) <= FIRST for each in published.left_out)
    bench.tick(3600 + 3601)
    bench.tick(3600 + 7300)
    if is_started and not any(told.how == "loose" for told in readings):
        assert accounted(bench.rated()[1].account) == came, "after the archive, too"


def test_another_stop_that_says_otherwise_leaves_a_doubt() -> None:
    bench = Bench()
    bench.start(0, 1000)
    bench.reads(charging(60, 3000, 1183))
    bench.stop(3600, 12_000)
    assert bench.result().evidence == "complete"
    bench.stop(3600, 12_005)
    assert bench.result().evidence == "complete", "the same to a step"
    bench.stop(3600, 9_000)
    assert (bench.result().evidence, bench.result().energy_wh) == ("estimated", 11_000)
    assert "DOUBLE_STOP" in bench.result().quality
    bench.tick(3700)
    assert bench.records[-1].evidence == "estimated", "a revision says so"


def test_a_begin_register_that_fits_beside_the_start_is_a_bound_of_the_truth() -> None:
    bench = Bench()
    bench.start(0, 1000)
    bench.read(0, 800, context="begin")
    bench.reads(charging(60, 3000, 1183))
    bench.stop(3600, 12_000)
    found = bench.result()
    assert (found.energy_low_wh, found.energy_wh, found.energy_high_wh) == (11_000, 11_000, 11_200)
    assert found.evidence == "estimated"
    (left,) = account_of(bench.rated()[1].account).left_out
    assert (left.reason, left.count, left.first[0].value) == ("FROZEN_BEGIN", 1, "800 Wh")


@pytest.mark.parametrize(("register", "evidence"), [(1000, "complete"), (1500, "estimated")])
def test_energy_in_a_transaction_before_its_start_makes_its_time_uncertain(register: int, evidence: str) -> None:
    bench = Bench()
    bench.start(0, 1000)
    bench.read(-300, register)
    bench.reads(charging(60, 3000, 1600))
    bench.stop(3600, 12_000)
    assert bench.result().evidence == evidence
    assert ("TIME_UNCERTAIN" in bench.result().quality) == (evidence == "estimated")


def test_what_was_told_of_activity_clock_and_identity_is_in_the_facts() -> None:
    bench = Bench()
    bench.start(0, 1000, received=3600)
    bench.status(900, "SuspendedEV", received=4500)
    for at, register in charging(60, 900, 1183):
        bench.read(at, register, received=at + 3600)
    bench.read(1800, 3750, received=5400)
    bench.stop(2000, 3750, None, received=5600, tx_hint="unacknowledged", token="a")  # noqa: S106 - a driver's token
    bench.tick(5600 + 601)  # until then other starts could have come that the stop might belong to
    facts = bench.rated()[1].account.facts
    assert (facts["started_at"], facts["ended_at"]) == ("start, clock corrected", "stop, clock corrected")
    assert facts["clock"] == "start +3600 s, stop +3600 s, 16 readings (+3600 s from 2026-03-02T07:21:00Z)"
    assert facts["activity"].startswith("StatusNotification: suspended_ev 2026-03-02T08:35:00Z")
    assert facts["identity"].startswith("messages without a usable transaction id")


STATED: dict[str, st.SearchStrategy[Any]] = {
    "energy_wh": st.integers(0, 20_000),
    "start_register_wh": st.integers(0, 20_000),
    "stop_register_wh": st.integers(0, 30_000),
    "started_at_us": st.integers(-600, 600).map(us),
    "ended_at_us": st.integers(3000, 4200).map(us),
}


@settings(max_examples=400, deadline=None)
@given(
    start=REGISTERS,
    stop=REGISTERS,
    readings=st.lists(READINGS.filter(lambda told: told.how != "loose"), max_size=14),
    is_started=st.booleans(),
    stated=st.fixed_dictionaries({}, optional=STATED),
)
def test_a_decision_leaves_no_value_out_of_the_account(
    start: int | None, stop: int | None, readings: Sequence[Told], is_started: bool, stated: dict[str, Any]
) -> None:
    """The registers that it states are values, too."""
    bench = Bench()
    if is_started:
        bench.start(0, start)
    came = sum(tell(bench, told) for told in readings)
    bench.stop(3600, stop)
    came += (stop is not None) + (is_started and start is not None)
    session = bench.session()
    session.decision = "bill"
    session.decided = BillDecided(station_id="CP-1", session_id="S", event_time_us=us(5000), decision="bill", **stated)
    account = bench.rated()[1].account
    if account.outcome == "applied":
        came += sum(name in stated for name in ("start_register_wh", "stop_register_wh"))
    assert accounted(account) == came, account
