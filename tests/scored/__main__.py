"""`python -m tests.scored`: simulated fleets with every fault against the truth; precision and recall per kind.

Generates and assembles in one process, fleet by fleet, until there are as many sessions as asked for. Exit 1: an
energy ledger does not balance, a fault went unnoticed, or a session suffers from what it should not.

With --quirks: virtual chargers that speak OCPP frames as real firmware does, every quirk alone and every pair. Exit 1:
a final and complete bill is not true, a ledger does not balance, or sound evidence was not believed (quirk_score.py).
"""

from __future__ import annotations

import argparse
import json
import sys
import time

from rich.console import Console
from rich.table import Table

from pipeline.cli.progress import progress
from tests.scored import quirk_run
from tests.scored.fleets import fleet_config, run
from tests.scored.score import Finds, Verdict

SHOWN = 20
"""So many violations are printed for people; `--json` has all."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.scored", description=__doc__)
    parser.add_argument("--sessions", type=int, help="at least so many (default 100,000; of one quirk or pair 1,000)")
    parser.add_argument("--seed", type=int, default=1, help="of the first fleet; the others count on from it")
    parser.add_argument("--faults", default="all", help="as of `chargeline simulate`")
    parser.add_argument("--quirks", action="store_true", help="virtual chargers with quirks in place of faults")
    one = parser.add_mutually_exclusive_group()
    one.add_argument("--quirk", metavar="NAME", help="only this quirk, alone")
    one.add_argument("--pair", metavar="A,B", help="only these quirks, together")
    parser.add_argument("--json", action="store_true", dest="as_json")
    given = parser.parse_args()
    if given.sessions is None:
        given.sessions = 1_000 if given.quirk or given.pair else 100_000
    if given.sessions < 1:
        parser.error("--sessions must be at least 1")
    if given.quirks or given.quirk or given.pair:
        try:
            return quirk_run.main(given.sessions, given.seed, given.quirk, given.pair, given.as_json)
        except ValueError as error:
            parser.error(str(error))
    began, verdict, seed = time.monotonic(), Verdict(), given.seed
    with progress("scoring", None, "events") as bar:
        while verdict.sessions < given.sessions:
            verdict.add(run(fleet_config(seed, given.faults), bar.advance))
            bar.note(f"{verdict.sessions:,} sessions, {len(verdict.violations)} violations")
            seed += 1
    took_s = time.monotonic() - began
    if given.as_json:
        print(json.dumps(_figures(verdict, given.seed, took_s), indent=1))
    else:
        _show(verdict, took_s)
    return 1 if verdict.violations else 0


def _figures(verdict: Verdict, seed: int, took_s: float) -> dict[str, object]:
    return {
        "seed": seed,
        "sessions": verdict.sessions,
        "whole": verdict.whole,
        "events": verdict.events,
        "connectors": verdict.connectors,
        "seconds": round(took_s, 1),
        "kinds": {
            kind: {
                "sessions": finds.sessions,
                "noticed": finds.noticed,
                "false": finds.false,
                "precision": finds.precision,
                "recall": finds.recall,
                "true_energy": finds.true_energy,
                "codes": dict(sorted(finds.codes.items())),
            }
            for kind, finds in verdict.kinds.items()
        },
        "violations": verdict.violations,
    }


def _show(verdict: Verdict, took_s: float) -> None:
    console = Console(width=None if sys.stdout.isatty() else 150)
    table = Table(title=f"{verdict.sessions:,} sessions, {verdict.events:,} events, {verdict.connectors:,} connectors")
    for column in ("fault", "sessions", "noticed", "false", "precision", "recall", "true energy", "codes"):
        table.add_column(column, justify="left" if column in ("fault", "codes") else "right")
    for kind, finds in verdict.kinds.items():
        table.add_row(kind, *_row(finds))
    console.print(table)
    console.print(
        f"{verdict.whole:,} sessions with whole evidence; {took_s:.0f} s; {len(verdict.violations)} violations"
    )
    for text in verdict.violations[:SHOWN]:
        console.print(f"  {text}", markup=False, highlight=False, soft_wrap=True)


def _row(finds: Finds) -> tuple[str, ...]:
    codes = ", ".join(f"{code} {count:,}" for code, count in finds.codes.most_common(4))
    shares = ("-" if share is None else f"{share:.4f}" for share in (finds.precision, finds.recall))
    return (f"{finds.sessions:,}", f"{finds.noticed:,}", f"{finds.false:,}", *shares, f"{finds.true_energy:,}", codes)


if __name__ == "__main__":
    sys.exit(main())
