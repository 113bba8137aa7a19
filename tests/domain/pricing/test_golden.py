"""Golden cases: a folder in tests/golden/pricing with session.json, tariff.json and bill.json is a test.

session.json holds the facts (wire/session_facts.py), tariff.json one OCPI tariff, bill.json what is expected: total and
payable, and where given state, held_reason, notes, locked_at, tax per rate and all lines in order, each with the fields
to compare.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from pipeline.domain.pricing.bill import Bill
from pipeline.domain.pricing.price import price
from pipeline.domain.pricing.signals import Signals
from pipeline.domain.pricing.units import utc_text
from pipeline.wire.session_facts import decode_session
from pipeline.wire.tariffs import decode_tariffs

CASES = sorted((Path(__file__).parents[2] / "golden" / "pricing").iterdir())


def test_there_are_cases() -> None:
    """The worked examples of the pricing reference alone are 16."""
    assert len(CASES) >= 16


def test_each_restriction_is_in_a_case_or_in_what_the_oracle_is_compared_with() -> None:
    root = Path(__file__).parents[3]
    schema = json.loads((root / "schemas" / "messages" / "tariffs.v1.schema.json").read_bytes())
    priced = [(case / "tariff.json").read_text("utf-8") for case in CASES]
    tried = "\n".join([*priced, Path(__file__).with_name("strategies.py").read_text("utf-8")])
    assert [name for name in schema["$defs"]["restrictions"]["properties"] if f'"{name}"' not in tried] == []


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_case_costs_what_its_bill_says(case: Path) -> None:
    """A missing file fails the case."""
    expected = json.loads((case / "bill.json").read_bytes())
    assert as_stated(bill_of(case), expected) == expected


def test_a_wrong_expectation_is_noticed() -> None:
    """The comparison itself can fail: one changed digit in a total or in a line is seen."""
    case = CASES[0]
    bill, expected = bill_of(case), json.loads((case / "bill.json").read_bytes())
    expected["lines"][0]["amount_excl"] = "1.9441"
    assert as_stated(bill, expected) != expected


def bill_of(case: Path) -> Bill:
    session = decode_session((case / "session.json").read_bytes(), case.name)
    (tariff,) = decode_tariffs((case / "tariff.json").read_bytes(), case.name)
    return price(session.facts, tariff, session.time_zone, Signals(session.signals), tax_rate=session.tax_rate)


def as_stated(bill: Bill, expected: dict[str, Any]) -> dict[str, Any]:
    """The bill in the words of bill.json, reduced to what the expectation states."""
    lines = json.loads(msgspec.json.encode(bill.lines))
    wanted = expected.get("lines", [])
    found: dict[str, Any] = {
        "total": {"excl_vat": bill.total_excl, "incl_vat": bill.total_incl},
        "payable": {"excl_vat": bill.payable_excl, "incl_vat": bill.payable_incl},
        "state": bill.state,
        "held_reason": bill.held_reason,
        "tax": {each.rate: each.tax for each in bill.tax},
        "notes": list(bill.notes),
        "locked_at": None if bill.locked_at_us is None else utc_text(bill.locked_at_us),
        "lines": [
            {name: line[name] for name in (wanted[place] if place < len(wanted) else ("kind", "dimension"))}
            for place, line in enumerate(lines)
        ],
    }
    return {name: found[name] for name in expected}
