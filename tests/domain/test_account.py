"""The account of a session's evidence: whatever came in is used, repeated, or left out for a reason."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from hypothesis import example, given, settings
from hypothesis import strategies as st

from pipeline.domain.metering.account import FIRST, Account
from pipeline.domain.rating.receipts import account_of
from tests.builders import Bench, charging


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
