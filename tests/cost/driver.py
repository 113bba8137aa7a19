"""CPU of one tree over a fixed log, in a process of its own: `python -P driver.py FOLDER LOG`, PYTHONPATH = the tree.

Does what a worker does with a record, less Kafka: decode, assemble, make outputs, now and then write the state down.
Each line on stdin lets it do one chunk of the log; it answers with the CPU ns of that, after the last one with totals.
Runs against older trees too, so it is one file and knows only what they have.
"""

from __future__ import annotations

import gc
import json
import sys
import time
from pathlib import Path

import pipeline
from pipeline.agents.assembly import Assembly
from pipeline.domain.pseudonyms import KEY_BYTES, PURPOSES, Keyring
from pipeline.domain.rating import Rating
from pipeline.runtime.offline import Offline
from pipeline.wire.meter_events import Decoder
from pipeline.wire.sites import decode_sites
from pipeline.wire.tariffs import decode_tariffs

CHUNK = 1_000
"""Records; a worker collects what is young at every checkpoint, here after every chunk."""
WRITE_EVERY = 41
"""Events of a station between two of its state records: 10,000 stations and 40,000 events a second, written in 10 s. A
prime, so that it is not always the same kind of record."""


def main(folder: Path, log: str) -> None:
    keyring = Keyring({purpose: {"*": bytes(KEY_BYTES)} for purpose in PURPOSES})
    sites = decode_sites((folder / "sites.json").read_bytes(), "sites")
    tariffs = decode_tariffs((folder / "tariffs.json").read_bytes(), "tariffs")
    logic = Assembly(Rating(keyring, sites, tariffs), Decoder(keyring))
    stage = Offline(logic)
    feed, states = stage.feed, stage.states
    with (folder / log).open("rb") as lines:
        records = [(key or None, value) for key, _, value in (line.rstrip(b"\n").partition(b"\t") for line in lines)]
    gc.collect()
    gc.freeze()
    gc.disable()
    outputs = written = 0
    chunks = [records[first : first + CHUNK] for first in range(0, len(records), CHUNK)]
    tree = Path(pipeline.__file__).resolve().parents[1]
    say({"tree": str(tree), "events": len(records), "chunks": len(chunks)})
    for chunk in chunks:
        sys.stdin.readline()
        began = time.process_time_ns()
        for number, (key, value) in enumerate(chunk, 1):
            for _ in feed(key, value):
                outputs += 1
            if key is not None and not number % WRITE_EVERY:
                state = states[key]
                logic.tally(state)
                written += len(logic.dump(state))
        gc.collect(0)
        say(time.process_time_ns() - began)
    say({"outputs": outputs, "state": written})


def say(what: object) -> None:
    print(json.dumps(what), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
