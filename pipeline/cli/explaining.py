"""The account of a session's evidence for people: a few lines that answer a dispute."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

ORDER = ("started_at", "ended_at", "baseline", "energy", "phases", "stuck", "activity", "clock", "identity")
"""Facts that are shown first, in this order; then all others."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def explained(row: Mapping[str, Any]) -> Iterator[str]:
    """Lines about a row of `assemble --explain`."""
    account = row["account"]
    yield (
        f"{row['session_id']}  {row['station_id']}/{row['connector_id']}  {row['started_at'] or '?'} to "
        f"{row['ended_at'] or 'open'}  {_kwh(row['energy_wh'])}  {row['evidence']}  {_bill(row)}"
    )
    if row["quality"]:
        yield f"  {'quality':<11} {', '.join(row['quality'])}"
    if account is not None:
        yield from account_lines(account)


def account_lines(account: Mapping[str, Any]) -> Iterator[str]:
    """Lines about an account, as it stands in a receipt."""
    facts = {each["fact"]: each["from"] for each in account["facts"]}
    for fact in [*(name for name in ORDER if name in facts), *sorted(facts.keys() - set(ORDER))]:
        yield f"  {fact:<11} {facts[fact]}"
    left = sum(each["count"] for each in account["left_out"])
    yield f"  {'values':<11} {account['used']:,} used, {account['repeated']:,} repeated, {left:,} left out"
    for each in account["left_out"]:
        first = ", ".join(f"{value['value']} {_time(value['at_us'])}" for value in each["first"])
        span = f"{_time(each['from_us'])} to {_time(each['to_us'])}"
        yield f"    {each['count']:,} {each['reason']}, {span}{': ' if first else ''}{first}"
    if account["hypotheses"]:
        yield f"  {'to decide':<11} " + ", ".join(
            f"{each['name']} {_kwh(each['energy_wh'])}" for each in account["hypotheses"]
        )
    if "decision" in account:
        yield f"  {'decision':<11} {_decision(account['decision'])}"


def _decision(decision: Mapping[str, Any]) -> str:
    named = ("hypothesis", "start_register_wh", "stop_register_wh", "energy_wh")
    timed = ("started_at_us", "ended_at_us", "reserved_from_us")
    stated = [f"{name} {decision[name]}" for name in named if decision[name] is not None]
    stated += [f"{name.removesuffix('_us')} {_time(decision[name])}" for name in timed if decision[name] is not None]
    stated += ["without reservation"] * decision["without_reservation"]
    what = " ".join([decision["decision"], ", ".join(stated)]).rstrip()
    why = f" ({decision['why']})" if decision["why"] else ""
    return f"{what} by {decision['by'] or '?'}, {_time(decision['at_us'])}: {decision['outcome']}{why}"


def _bill(row: Mapping[str, Any]) -> str:
    if row["bill_state"] == "HELD":
        return f"HELD: {row['held_reason']}"
    amount = row["payable_incl_vat"] or row["payable_excl_vat"] or "?"
    return f"{row['bill_state']} {amount} {row['currency'] or ''}".rstrip()


def _kwh(wh: int | None) -> str:
    return "energy ?" if wh is None else f"{wh / 1000:,.3f} kWh"


def _time(at_us: int) -> str:
    return (_EPOCH + timedelta(microseconds=at_us)).replace(microsecond=0).isoformat().replace("+00:00", "Z")
