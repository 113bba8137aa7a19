"""`python -m tests.hostile`: hostile records, and exceptions at every line; prints seeds and faults, exit 1 if any."""

from __future__ import annotations

import logging
import sys
import time
from collections import Counter
from random import Random

import click

from pipeline.cli.output import echo
from tests.hostile.injection import Line, inject, scene
from tests.hostile.run import attack


@click.command()
@click.option("--seed", default=1, show_default=True, help="The first one; each further run takes the next.")
@click.option("--records", default=100_000, show_default=True, help="Hostile ones, honest ones come in addition.")
@click.option("--each", default=12_000, show_default=True, help="So many of them in one run of a day.")
@click.option("--lines", default=0, show_default=True, help="Exceptions at so many lines, drawn; -1: at all of them.")
@click.option("--scenes", default=2, show_default=True, help="Stations whose lines are tried, from --seed on.")
def main(seed: int, records: int, each: int, lines: int, scenes: int) -> None:
    """Attack the real Partition, checkpoints and restores; produce and broker are lists."""
    logging.disable(logging.CRITICAL)
    faults = _attacks(seed, records, each) + (_injections(seed, lines, scenes) if lines else 0)
    sys.exit(1 if faults else 0)


def _attacks(seed: int, records: int, each: int) -> int:
    done = faults = 0
    slowest_s = 0.0
    refused: Counter[str] = Counter()
    errors: Counter[str] = Counter()
    while done < records:
        began = time.monotonic()
        found = attack(seed, each)
        done += found.hostile
        faults += len(found.faults)
        slowest_s = max(slowest_s, found.slowest_s)
        refused.update(found.refused)
        errors.update(found.errors)
        echo(
            f"seed {seed}: {found.hostile:,} hostile of {found.records:,} records, {found.outputs:,} honest outputs, "
            f"{found.refused['INTERNAL_ERROR']} internal errors, {found.set_aside} set aside, slowest batch "
            f"{found.slowest_s:.2f} s CPU, {time.monotonic() - began:.0f} s"
        )
        for fault in found.faults:
            echo(f"  FAULT {fault}")
        seed += 1
    reasons = ", ".join(f"{count:,} {reason}" for reason, count in refused.most_common())
    echo(f"{done:,} hostile records, {faults} faults, slowest batch {slowest_s:.2f} s CPU; refused: {reasons}")
    for where, count in errors.most_common():
        echo(f"  {count} {where}")
    return faults


def _injections(seed: int, lines: int, scenes: int) -> int:
    faults = done = 0
    known: set[Line] = set()
    for number in range(seed, seed + scenes):
        found = scene(number)
        chosen = sorted(found.lines.keys() - known)
        known |= found.lines.keys()
        if 0 <= lines < len(chosen):
            chosen = Random(f"lines/{number}").sample(chosen, lines)  # noqa: S311 - a test, not a secret
        echo(f"seed {number}: {found.victim} reaches {len(found.lines)} lines; exceptions at {len(chosen)} new ones")
        for _, wrong in inject(found, chosen):
            done += wrong is not None
            for fault in wrong or ():
                faults += 1
                echo(f"  FAULT seed {number}: {fault}")
    echo(f"exceptions at {done} lines, {faults} faults")
    return faults


if __name__ == "__main__":
    main()
