"""`make coverage` fails for a module that no test runs, and for a reason that is none any more."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests import coverage


def test_a_module_below_the_least_needs_a_reason_and_a_reason_a_module() -> None:
    percent = {"a.py": 79.9, "b.py": 80.0, "c.py": 10.0}
    assert coverage.verdict(percent, {"c.py": "it ends the process"}) == [
        "a.py: 79.9 %, and tests/coverage.py says no reason"
    ]
    assert coverage.verdict(percent, dict.fromkeys(("a.py", "b.py", "c.py", "d.py"), "-")) == [
        "b.py: 80.0 %: take it out of tests/coverage.py",
        "d.py: does not exist",
    ]


def test_the_report_of_coverage_is_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = {"new.py": {"summary": {"percent_covered": 0}}}
    (tmp_path / "coverage.json").write_text(json.dumps({"files": files, "totals": {"percent_covered": 0}}), "utf-8")
    assert coverage.main(str(tmp_path / "coverage.json")) == 1
    assert "new.py: 0.0 %" in capsys.readouterr().out
