"""What the state costs in memory, in a process of its own: the same logic and the same partition as the stage's.

`python -m tests.bench.memory FOLDER STATIONS DAYS` reads the documents in FOLDER and prints one line of JSON:
RSS per 10,000 open sessions halfway through their readings, bytes of RSS and of the encoded record per closed session,
and RSS at and after the lateness horizon, when as many closed sessions are forgotten as are added.
"""

from __future__ import annotations

import gc
import json
import os
import sys
from collections.abc import Iterable
from itertools import islice
from pathlib import Path

from pipeline.agents.assembly import Assembly
from pipeline.cli.reference import keyring, rating
from pipeline.domain.station import Station
from pipeline.edge.uniform import Pace, bench_events
from pipeline.runtime.offline import Offline
from pipeline.settings import Settings
from pipeline.wire.meter_events import Decoder
from tests.bench.measure import rss_bytes

OPEN = 10_000
HORIZON_DAYS = 7
DAILY = Pace(readings=30, interval_s=60, pause_s=2 * 3600 + 28 * 60, closing_h=0)
"""Sessions of half an hour, eight a day."""
A_DAY = 8


def run(folder: Path, stations: int, days: int) -> dict[str, float]:
    settings = Settings(
        keys_file=folder / "keys.json", sites_file=folder / "sites.json", tariffs_file=folder / "tariffs.json"
    )
    keys = keyring(settings)
    rated = rating(settings, keys)
    stage: Offline[Station] = Offline(Assembly(rated, Decoder(keys)))
    a_day = stations * A_DAY * 32 + 24 * 60
    records = bench_events(stations, days * A_DAY, DAILY)
    levels: list[tuple[int, int, int]] = []
    for _ in range(days):
        _fed(stage, islice(records, a_day))
        gc.collect()
        kept = [value for state in stage.states.values() for _, value in state.archive.items()]
        levels.append((_rss(), len(kept), sum(map(len, kept))))
    gc.collect()
    before = _rss()  # after the closed ones: what was freed once would be used again and hide the growth
    half = Pace(interval_s=10, pause_s=3600, closing_h=0)
    opened = _fed(Offline(Assembly(rated, Decoder(keys))), islice(bench_events(OPEN, 1, half), OPEN * 31))
    per_open = _rss() - before
    assert len(opened.states) == OPEN
    (first, closed_first, _), (flat, closed, size) = levels[0], levels[HORIZON_DAYS]
    return {
        "memory_bytes_per_10000_open_sessions": per_open,
        "closed_sessions_kept": closed,
        "rss_bytes_per_closed_session": (flat - first) / max(1, closed - closed_first),
        "record_bytes_per_closed_session": size / max(1, closed),
        "rss_bytes_at_horizon": flat,
        "rss_bytes_at_end": levels[-1][0],
        "closed_sessions_at_end": levels[-1][1],
        "days": days,
    }


def _fed(stage: Offline[Station], records: Iterable[tuple[bytes | None, bytes]]) -> Offline[Station]:
    for key, value in records:
        for _ in stage.feed(key, value):
            pass
    return stage


def _rss() -> int:
    return rss_bytes(os.getpid())


if __name__ == "__main__":
    print(json.dumps(run(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))))
