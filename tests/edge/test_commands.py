"""`chargeline simulate` and `chargeline replay` as one calls them."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
from confluent_kafka.admin import AdminClient

from pipeline.cli import run
from pipeline.cli.declared import declared_topics
from pipeline.cli.topics import create_topics


@pytest.fixture
def with_topics(kafka: str, monkeypatch: pytest.MonkeyPatch) -> str:
    create_topics(AdminClient({"bootstrap.servers": kafka}), declared_topics())
    monkeypatch.setenv("CHARGELINE_KAFKA", kafka)
    return kafka


SMALL = ["--stations", "4", "--sites", "2", "--sessions", "2"]


def test_a_simulation_into_a_file_is_repeatable_and_labelled(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    digests = set()
    for name in ("one", "two"):
        folder = tmp_path / name
        arguments = ["--out", f"{folder}.ndjson", "--truth", f"{folder}.truth", "--documents", str(folder), "--json"]
        assert run(["simulate", *SMALL, *arguments]) == 0
        files = [Path(f"{folder}.ndjson"), Path(f"{folder}.truth"), folder / "sites.json", folder / "tariffs.json"]
        digests.add(tuple(hashlib.sha256(file.read_bytes()).hexdigest() for file in files))
    assert len(digests) == 1
    report = json.loads(capsys.readouterr().out.splitlines()[-1])
    lines = (tmp_path / "two.ndjson").read_bytes().splitlines()
    assert report["acknowledged"] == report["events"] + report["ticks"] == len(lines)
    started = {json.loads(line)["transaction_id"] for line in lines if b'"session_started"' in line}
    truths = [json.loads(line) for line in (tmp_path / "two.truth").read_bytes().splitlines()]
    assert {truth["transaction_id"] for truth in truths if "missing_start" not in truth["kinds"]} == started


@pytest.mark.parametrize("protocol", ["ocpp16", "ocpp201"])
def test_virtual_chargers_write_a_log_that_can_be_assembled(
    protocol: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    digests = set()
    log, truth, folder = tmp_path / "log.ndjson", tmp_path / "truth.ndjson", tmp_path / "documents"
    chargers = ["simulate", "--protocol", protocol, "--stations", "3", "--sessions", "2", "--out", str(log), "--json"]
    for quirks in ("none", "all", "all"):
        assert run([*chargers, "--quirks", quirks, "--truth", str(truth), "--documents", str(folder)]) == 0
        digests.add((hashlib.sha256(log.read_bytes()).hexdigest(), hashlib.sha256(truth.read_bytes()).hexdigest()))
    assert len(digests) == 2, "the same options, the same bytes; quirks change them"
    assert len({told for _, told in digests}) == 1, "and never what happened"
    report = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert report["events"] == report["acknowledged"] == len(log.read_bytes().splitlines()) > 100
    assert run([*chargers, "--quirks", "no_power"]) == 0
    capsys.readouterr()
    documents = ["--sites", str(folder / "sites.json"), "--tariffs", str(folder / "tariffs.json")]
    assert run(["assemble", str(log), *documents, "--final-ticks"]) == 0
    rows = {row["transaction_id"]: row for row in map(json.loads, capsys.readouterr().out.splitlines())}
    truths = [json.loads(line) for line in truth.read_bytes().splitlines()]
    assert len(rows) == len(truths) == 12
    for told in truths:
        row = rows[told["transaction_id"]]
        assert (row["energy_wh"], row["bill_state"]) == (told["energy_wh"], "FINAL")
        assert abs(row["idle_s"] - told["idle_s"]) < 5


def test_frames_of_virtual_chargers_reach_the_broker_with_a_clock_of_their_own(
    with_topics: str, capsys: pytest.CaptureFixture[str]
) -> None:
    chargers = ["simulate", "--protocol", "ocpp16", "--stations", "2", "--sessions", "2", "--json"]
    assert run([*chargers, "--quirks", "frames_doubled"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["clock"] == "sim-1"
    assert report["ticks"] > 100
    assert report["acknowledged"] == report["events"] + 8 * report["ticks"]


def test_a_simulation_and_its_replay_reach_the_broker(
    with_topics: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "sim.ndjson"
    assert run(["simulate", *SMALL, "--json"]) == 0
    assert run(["simulate", *SMALL, "--out", str(out)]) == 0
    assert run(["replay", str(out), "--format", "events", "--json"]) == 0
    first, _, replayed = capsys.readouterr().out.splitlines()
    simulated, again = json.loads(first), json.loads(replayed)
    assert simulated["acknowledged"] == simulated["events"] + 8 * simulated["ticks"]
    assert [again[name] for name in ("events", "ticks", "acknowledged", "failed")] == [
        simulated[name] for name in ("events", "ticks", "acknowledged", "failed")
    ]


def test_a_bad_line_does_not_keep_the_others_from_the_broker(
    with_topics: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, damaged = tmp_path / "sim.ndjson", tmp_path / "damaged.ndjson"
    assert run(["simulate", *SMALL, "--out", str(out), "--json"]) == 0
    lines = out.read_bytes().splitlines()
    damaged.write_bytes(b"\n".join([*lines[:5], b'{"type":', *lines[5:], b"\xff"]))
    sent = {}
    for options, code in (([], 1), (["--skip-bad"], 0), (["--strict"], 2)):
        capsys.readouterr()
        assert run(["replay", str(damaged), "--format", "events", "--json", *options]) == code
        said = capsys.readouterr()
        assert f"{damaged}:6: " in said.err
        sent["".join(options)] = json.loads(said.out)["events"] if said.out else 0
    events = sum(b'"clock_ticked"' not in line for line in lines)
    assert sent == {"": events, "--skip-bad": events + 2, "--strict": 0}


def test_prices_that_contradict_published_ones_are_refused(
    with_topics: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    slot: dict[str, object] = {
        "series": "two-auctions",
        "start": "2031-03-02T08:00:00Z",
        "unit": "MWh",
        "currency": "EUR",
    }
    files: dict[str, dict[str, object]] = {
        "hour": {"minutes": 60, "price": 95},
        "quarter": {"minutes": 15, "price": 80, "start": "2031-03-02T08:30:00Z"},
    }
    for name, more in files.items():
        (tmp_path / name).write_text(json.dumps(slot | more))
    assert run(["prices", "publish", str(tmp_path / "hour")]) == 0
    assert run(["prices", "publish", str(tmp_path / "quarter")]) == 2
    assert "2031-03-02T08:30:00Z 15 min r1 80" in capsys.readouterr().err
    (tmp_path / "quarter").write_text(json.dumps(slot | files["quarter"] | {"revision": 2}))
    assert run(["prices", "publish", str(tmp_path / "quarter")]) == 0


def test_a_limit_stops_events_and_not_time(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    reports = []
    for limit in ([], ["--limit", "100"]):
        assert run(["simulate", *SMALL, "--out", str(tmp_path / "x"), "--json", *limit]) == 0
        reports.append(json.loads(capsys.readouterr().out))
    assert reports[0]["events"] > 100 == reports[1]["events"]
    assert reports[0]["ticks"] == reports[1]["ticks"]


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["simulate", "--faults", "gremlins", "--out", "x"], 2, "'gremlins' is no kind of fault"),
        (["simulate", "--quirks", "all", "--out", "x"], 2, "--quirks: events have faults"),
        (["simulate", "--protocol", "ocpp16", "--faults", "all", "--out", "x"], 2, "--faults: chargers have quirks"),
        (["simulate", "--protocol", "ocpp16", "--quirks", "gremlins", "--out", "x"], 2, "'gremlins' is no quirk"),
        (["simulate", "--out", "no/such/folder/x"], 2, "cannot be written"),
        (["replay", "none.ndjson", "--format", "events"], 2, "none.ndjson: cannot be read"),
        (["replay", "none.ndjson"], 2, "--format"),
        (["replay", "bad.ndjson", "--format", "ocpp16"], 1, "bad.ndjson:1: "),
    ],
)
def test_a_mistake_is_one_sentence(
    arguments: list[str],
    code: int,
    said: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("bad.ndjson").write_text("nonsense\n")
    assert run(arguments) == code
    assert said in capsys.readouterr().err
