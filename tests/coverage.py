"""`make coverage`: which modules have fewer than 80 % of their lines and branches run by a test, and why that is so.

Fails for a module below that is not in REASONS, and for a reason that is no longer needed.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path

LEAST = 80
REASONS: Mapping[str, str] = {}
"""Module -> why the tests of `make test` run so little of it."""


def verdict(percent: Mapping[str, float], reasons: Mapping[str, str] = REASONS) -> list[str]:
    """What is wrong, a line each. `percent`: module -> lines and branches that were run."""
    found = [
        f"{module}: {share:.1f} %, and tests/coverage.py says no reason"
        for module, share in percent.items()
        if share < LEAST and module not in reasons
    ]
    return found + [
        f"{module}: {percent[module]:.1f} %: take it out of tests/coverage.py"
        if module in percent
        else f"{module}: does not exist"
        for module in reasons
        if percent.get(module, LEAST) >= LEAST
    ]


def main(file: str) -> int:
    report = json.loads(Path(file).read_text("utf-8"))
    percent = {name: each["summary"]["percent_covered"] for name, each in report["files"].items()}
    for module, reason in REASONS.items():
        print(f"{percent.get(module, 0):3.0f} %  {module}: {reason}")
    print(f"{report['totals']['percent_covered']:3.0f} %  all {len(percent)} modules, lines and branches")
    wrong = verdict(percent)
    print(*wrong, sep="\n", end="\n" * bool(wrong))
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
