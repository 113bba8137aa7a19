"""ops/field-problems.md tells of every quirk, in the words of the registry, and of no other; its codes exist."""

from __future__ import annotations

import re
from pathlib import Path

from pipeline.edge.chargers.registry import QUIRKS

REPOSITORY = Path(__file__).parents[2]
TABLE = (REPOSITORY / "ops" / "field-problems.md").read_text("utf-8").partition("## Quirks of chargers")[2]
ROWS = [row.strip("| ").split(" | ") for row in TABLE.splitlines() if row.startswith("| `")]


def test_every_quirk_is_in_the_table_with_its_meaning_and_no_other() -> None:
    assert [(row[0].strip("`"), row[1]) for row in ROWS] == [(name, each.meaning) for name, each in QUIRKS.items()]


def test_codes_of_the_table_are_those_that_analysts_know() -> None:
    known = (REPOSITORY / "ops" / "interpretation.md").read_text("utf-8").partition("## Quality codes")[2]
    codes = {code for row in ROWS for code in re.findall(r"`([A-Z_]+)`", row[3])}
    assert len(codes) > 20
    assert {code for code in codes if f"`{code}`" not in known} == set()
