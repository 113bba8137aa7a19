"""What the evidence of energy amounts to; where that is nothing, all of it is left out, and the account says why."""

from __future__ import annotations

from typing import Any

import msgspec

from pipeline.domain.metering.account import Account
from pipeline.domain.metering.evidence import Evidence
from pipeline.domain.metering.registers import Point

ENERGY_UNKNOWN = "ENERGY_UNKNOWN"
"""Why values were left out of which nothing follows, and why a bill is held for that."""


class Judgement(msgspec.Struct, kw_only=True, gc=False):
    """`times` and `registers` run from start to end (us, Wh, rising); empty when the energy is not known."""

    times: list[int] = []
    registers: list[int] = []
    energy_wh: int | None = None
    low_wh: int | None = None
    high_wh: int | None = None
    """The truth lies between them; equal to `energy_wh` where the evidence proves it."""
    estimated_wh: int = 0
    """Of it, what no register proves."""
    is_proven: bool = False
    """Something else proves it."""
    quarantined_wh: int = 0
    dropped_wh: int = 0
    start_register_wh: int | None = None
    stop_register_wh: int | None = None
    codes: list[str] = []
    unseen_us: int = 0
    """Time in which nothing tells what flowed, beyond the gaps between readings."""
    is_rising: bool = False
    """It is known that no two of the registers are equal, unless perhaps the last two."""
    account: Account


def unknown(
    found: Evidence, codes: list[str], registers: list[Point] | None = None, *, has_start: bool = True, **known: Any
) -> Judgement:
    """Nothing makes the energy: all that is not left out yet is left out for the last of the codes."""
    reason, account = codes[-1] if codes else ENERGY_UNKNOWN, found.account
    for values in (found.registers if registers is None else registers, found.begins, found.intervals):
        account.leave_out(reason, values)
    if has_start:
        leave_out_one(account, reason, found.since_us, found.start_wh)
    if "STOP_REPLACED" not in codes:
        leave_out_one(account, reason, found.until_us, found.stop_wh)
    account.leave_out(reason, found.powers, "W")
    account.facts["energy"] = f"not known: {reason}"
    return nothing(found, codes, **known)


def nothing(found: Evidence, codes: list[str], **known: Any) -> Judgement:
    """No energy is known; a fall that nothing explains moves the ledger along (conservation.py)."""
    start, stop = found.start_wh, found.stop_wh
    known = {
        "start_register_wh": start,
        "stop_register_wh": stop if stop is not None else start,
        "dropped_wh": start - stop if start is not None and stop is not None and stop < start else 0,
    } | known
    return Judgement(codes=codes, account=found.account, **known)


def leave_out_one(account: Account, reason: str, at_us: int, register_wh: int | None) -> None:
    if register_wh is not None:
        account.leave_out(reason, [(at_us, register_wh)])
