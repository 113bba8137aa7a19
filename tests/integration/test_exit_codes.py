"""What is not there or not readable: one sentence that says what to do, exit code 1 (failed) or 2 (wrong usage)."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.integration.stack import Done, chargeline

NOBODY = "127.0.0.1:1"
"""Where nothing listens."""


class Case(NamedTuple):
    arguments: list[str]
    code: int
    said: str
    """A part of the sentence."""


CASES = {
    "simulate, no broker": Case(["simulate", "--stations", "1", "--kafka", NOBODY], 1, "no Kafka broker answers"),
    "replay, no broker": Case(["replay", "good.ndjson", "--format", "events", "--kafka", NOBODY], 1, "no Kafka broker"),
    "topics, no broker": Case(["topics", "create", "--kafka", NOBODY], 1, "is CHARGELINE_KAFKA right?"),
    "dead letters, no broker": Case(["dead-letters", "list", "--kafka", NOBODY], 1, "is CHARGELINE_KAFKA right?"),
    "report, no ClickHouse": Case(["report", "--clickhouse-url", f"http://{NOBODY}"], 1, "CHARGELINE_CLICKHOUSE_URL"),
    "migrate, no ClickHouse": Case(["migrate", "--clickhouse-url", f"http://{NOBODY}"], 1, "CHARGELINE_CLICKHOUSE_URL"),
    "assemble, no file": Case(["assemble", "none.ndjson"], 2, "none.ndjson: cannot be read"),
    "assemble, a folder": Case(["assemble", "."], 2, ".: cannot be read"),
    "assemble, not gzip": Case(["assemble", "plain.ndjson.gz"], 2, "plain.ndjson.gz: cannot be read"),
    "assemble, cut gzip": Case(["assemble", "cut.ndjson.gz", "--format", "events"], 2, "cut.ndjson.gz: cannot be read"),
    "assemble, other format": Case(["assemble", "good.ndjson", "--strict"], 2, "good.ndjson:1: OTHER_FORMAT"),
    "replay, other format": Case(
        ["replay", "frames.ndjson", "--format", "events", "--strict"], 2, "frames.ndjson:1: OTHER_FORMAT"
    ),
    "assemble, no JSON": Case(
        ["assemble", "bad.ndjson", "--format", "events", "--strict"], 2, "bad.ndjson:2: MALFORMED_JSON"
    ),
    "assemble, no sites": Case(["assemble", "frames.ndjson", "--sites", "none.json"], 2, "none.json: cannot read the"),
    "assemble, bad sites": Case(["assemble", "frames.ndjson", "--sites", "bad.json"], 1, "bad.json"),
    "assemble, bad tariffs": Case(["assemble", "frames.ndjson", "--tariffs", "bad.json"], 1, "bad.json"),
    "worker, no keys": Case(["worker"], 2, "chargeline keys create FILE"),
    "keys, an existing file": Case(["keys", "create", "bad.json"], 2, "never replaced"),
}
EVENT = b'{"type":"meter_read","station_id":"S-1","event_time_us":1772436000000000,"connector_id":1,"register_wh":1}\n'
FRAME = {"station_id": "S-1", "received_at": "2026-03-02T08:00:00Z", "direction": "cp->csms"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("files")
    (folder / "good.ndjson").write_bytes(EVENT)
    (folder / "plain.ndjson.gz").write_bytes(EVENT)
    (folder / "cut.ndjson.gz").write_bytes(gzip.compress(EVENT * 1000)[:-20])
    (folder / "bad.ndjson").write_bytes(EVENT + b"nonsense\n")
    (folder / "bad.json").write_text('[{"site_id": 5}]')
    (folder / "frames.ndjson").write_text(json.dumps(FRAME | {"frame": [2, "m-1", "Heartbeat", {}]}) + "\n")
    return folder


@pytest.fixture(scope="module")
def calls(folder: Path) -> Iterator[dict[str, Future[Done]]]:
    """All at once: each waits for somebody who does not answer."""
    with ThreadPoolExecutor(4) as threads:
        yield {name: threads.submit(chargeline, *case.arguments, folder=folder) for name, case in CASES.items()}


@pytest.mark.parametrize("name", CASES)
def test_a_failure_is_one_sentence_and_an_exit_code(name: str, calls: dict[str, Future[Done]]) -> None:
    case, done = CASES[name], calls[name].result()
    assert done.returncode == case.code, done.stderr
    assert done.stdout == ""
    progress = ("simulating", "replaying", "checking", "assembling", "not signed:")
    (sentence,) = (line for line in done.stderr.splitlines() if not line.startswith(progress))
    assert case.said in sentence


def test_the_same_commands_succeed_on_good_files(folder: Path) -> None:
    for file, format in (("good.ndjson", "events"), ("frames.ndjson", "ocpp16")):
        done = chargeline("assemble", file, "--format", format, folder=folder)
        assert (done.returncode, done.stderr) == (0, "")
