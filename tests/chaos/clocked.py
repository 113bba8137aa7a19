"""A worker whose clock steps: `python clocked.py FILE worker ...` adds the seconds that FILE holds to the wall clock.

Only what our code reads through `time`; the broker and librdkafka have clocks of their own, as other machines do. The
package is that of the working directory, so a worker of another release has this clock as well.
"""

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

EVERY_NS = 50_000_000
"""Between two looks at FILE, by the monotonic clock."""


def step(file: Path) -> None:
    """Replaces time.time and time.time_ns of this process."""
    real: Callable[[], int] = time.time_ns
    looked_ns, ahead_ns = 0, 0

    def time_ns() -> int:
        nonlocal looked_ns, ahead_ns
        if time.monotonic_ns() - looked_ns > EVERY_NS:
            looked_ns, ahead_ns = time.monotonic_ns(), round(float(file.read_text("ascii") or 0) * 1_000_000_000)
        return real() + ahead_ns

    time.time_ns = time_ns
    time.time = lambda: time_ns() / 1_000_000_000


if __name__ == "__main__":
    step(Path(sys.argv[1]))
    sys.path[0] = os.getcwd()  # instead of the folder of this file
    from pipeline.cli import main

    main(sys.argv[2:])
