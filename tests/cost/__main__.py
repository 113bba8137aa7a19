"""`make cost BASE=REVISION`: CPU per event inside the process, this tree against another revision, over fixed logs.

Both run the same log in fresh processes that take turns, many pairs: what the machine does meanwhile hits both. Within
one run of `make bench` the rounds of one worker differ by a third.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from pipeline.cli.progress import progress
from tests.cost.compare import Cost, Refused, compare, unpack
from tests.cost.logs import EVENTS, FRAMES, write_logs

REPOSITORY = Path(__file__).parents[2]
STATIONS = 2_400


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.cost", description=__doc__)
    parser.add_argument("base", help="the revision to compare with: a commit, tag or branch")
    parser.add_argument("--pairs", type=int, default=15, help="runs of each (default 15)")
    parser.add_argument("--stations", type=int, default=STATIONS, help=f"size of the logs (default {STATIONS})")
    parser.add_argument("--json", action="store_true", dest="as_json")
    given = parser.parse_args(arguments)
    if given.pairs < 1 or given.stations < 2:
        parser.error("--pairs must be at least 1, --stations at least 2")
    try:
        with tempfile.TemporaryDirectory(prefix="chargeline-cost-") as temporary:
            folder = Path(temporary)
            commit = unpack(REPOSITORY, given.base, folder / "base")
            with progress("comparing", 2 * given.pairs, "pairs") as bar:
                bar.note("writing the logs")
                write_logs(folder, given.stations)

                def done(text: str) -> None:
                    bar.note(text)
                    bar.advance()

                costs = compare(folder / "base", REPOSITORY, folder, (EVENTS, FRAMES), given.pairs, done)
    except Refused as refused:
        print(f"cost: {refused}", file=sys.stderr)
        return 2
    if given.as_json:
        print(json.dumps({"base": commit, "pairs": given.pairs, "logs": [asdict(each) for each in costs]}, indent=1))
    else:
        print(f"this tree against {commit}, {given.pairs} pairs, CPU in us an event (median; quartiles; all):")
        print("\n".join(map(line, costs)))
    return 0


def line(cost: Cost) -> str:
    (lower, upper), (least, most) = cost.quartiles_us, cost.range_us
    text = (
        f"{cost.log:7} {cost.base_us:.2f} -> {cost.this_us:.2f}: {cost.difference_us:+.3f}"
        f" ({lower:+.3f} to {upper:+.3f}; {least:+.3f} to {most:+.3f}), x {cost.ratio:.4f}, {cost.events:,} events"
    )
    for what, (before, after) in (("outputs", cost.outputs), ("bytes of state", cost.state_bytes)):
        if before != after:
            text += f"; {what} {before:,} -> {after:,}"
    return text


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # as Ctrl-C: what is temporary is removed
    sys.exit(main())
