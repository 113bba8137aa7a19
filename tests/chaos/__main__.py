"""`make chaos SEED=n`: kill, pause and restart everything under load, then compare with the offline result.

Figures go to the terminal and to build/chaos-<seed>.json. Exit 1: something was lost, doubled or different.
"""

from __future__ import annotations

import argparse
import json
import logging
import shutil
import signal
import sys
import tempfile
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from tests.chaos.faults import ALL, KILLS, parse_faults
from tests.chaos.run import chaos
from tests.chaos.scale import SCALES
from tests.chaos.workers import REPOSITORY

BUILD = REPOSITORY / "build"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--scale", choices=SCALES, default="full", help="how much load, and how many kills")
    parser.add_argument("--short", action="store_const", const="short", dest="scale", help="as --scale short")
    parser.add_argument(
        "--faults", type=parse_faults, default=(KILLS,), metavar="A,B", help=f"{', '.join(ALL)}; or all [{KILLS}]"
    )
    parser.add_argument("--keep", action="store_true", help="keep the folder with all data and logs")
    given = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that every child is stopped on the way out
    sys.setswitchinterval(0.0005)  # the one who strikes must not wait for the one who observes
    folder = Path(tempfile.mkdtemp(prefix="chargeline-chaos-"))
    keep = True
    try:
        figures = chaos(SCALES[given.scale], given.seed, folder, given.faults)
        keep = given.keep or bool(figures["failures"])
    finally:
        if keep:
            print(f"data and logs: {folder}", file=sys.stderr)
        else:
            shutil.rmtree(folder)
    BUILD.mkdir(exist_ok=True)
    name = f"chaos-{given.seed}" if given.faults == (KILLS,) else f"chaos-{given.seed}-{'-'.join(given.faults)}"
    (BUILD / f"{name[:100]}.json").write_text(json.dumps(figures, indent=1) + "\n", "utf-8")
    _show(figures)
    return 1 if figures["failures"] else 0


def _show(figures: dict[str, Any]) -> None:
    console = Console()
    table = Table(title=f"chaos, seed {figures['seed']}")
    table.add_column("what")
    table.add_column("figure", justify="right")
    for name, value in figures.items():
        if isinstance(value, dict) and name != "compared":
            for inner, figure in value.items():
                shown = ", ".join(f"{k} {v}" for k, v in figure.items()) if isinstance(figure, dict) else str(figure)
                table.add_row(f"{name}: {inner}", shown)
        elif name not in ("compared", "failures"):
            table.add_row(name, f"{value:,}" if isinstance(value, int) else str(value))
    console.print(table)
    compared = Table("compared", "expected", "lost", "doubled", "different")
    for name, found in figures["compared"].items():
        compared.add_row(name, *(f"{found[each]:,}" for each in ("expected", "lost", "doubled", "different")))
    console.print(compared)
    for failure in figures["failures"]:
        console.print(f"FAILED: {failure}", style="red")


if __name__ == "__main__":
    sys.exit(main())
