"""A log read twice gives the same records; several files are one log; ticks come where they are missing."""

from __future__ import annotations

import gzip
import io
import json
import re
import sys
import tracemalloc
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest

from pipeline.edge.faults import parse_faults
from pipeline.edge.replayer import (
    FINAL_TICKS_US,
    HOUR_US,
    MINUTE_US,
    MOST_NAMED,
    UNREADABLE_KEY,
    Format,
    Record,
    log_records,
    open_log,
)
from pipeline.edge.simulator import FleetConfig, simulate
from pipeline.errors import InvalidMessage, WrongUsage
from pipeline.topics import LARGEST_RECORD

T0 = 1_772_438_400_000_000  # 2026-03-02T08:00:00Z


def heartbeat(station: str, second: int, **more: object) -> bytes:
    """A canonical event that was received `second` seconds after T0."""
    at_us = T0 + second * 1_000_000
    return json.dumps(
        {"type": "station_seen", "station_id": station, "event_time_us": at_us - 5, "received_time_us": at_us, **more}
    ).encode()


def frame(station: str, second: int, **more: object) -> bytes:
    at = f"2026-03-02T08:{second // 60:02d}:{second % 60:02d}Z"
    return json.dumps(
        {"station_id": station, "received_at": at, "direction": "cp->csms", "frame": [2, "1", "Heartbeat", {}], **more}
    ).encode()


def write(file: Path, *lines: bytes) -> Path:
    content = b"\n".join(lines) + b"\n"
    file.write_bytes(gzip.compress(content, mtime=0) if file.suffix == ".gz" else content)
    return file


def read(*files: Path, format: Format = "events") -> list[Record]:
    return list(open_log(files, format).records())


def ticks(records: list[Record]) -> list[int]:
    return [json.loads(value)["time_us"] - T0 for _, key, value in records if key is None]


def stations(records: list[Record]) -> list[bytes]:
    return [key for _, key, _ in records if key is not None]


def test_the_same_log_gives_the_same_bytes_zipped_or_not(tmp_path: Path) -> None:
    lines = [heartbeat("A", second) for second in (1, 70, 300)]
    plain, zipped = write(tmp_path / "a.ndjson", *lines), write(tmp_path / "b.ndjson.gz", *lines)
    assert read(plain) == read(plain) == read(zipped)
    assert read(plain) != read(write(tmp_path / "c.ndjson", *lines[:2]))


def test_a_record_without_a_clock_gets_one_and_stays_the_same_otherwise(tmp_path: Path) -> None:
    sent, framed, named = heartbeat("A", 1, other=[1.10]), frame("A", 2), heartbeat("A", 3, clock="sim-9")
    log = open_log([write(tmp_path / "a", sent)], "events")
    assert log.clock.startswith("replay-")
    expected = sent[:-1] + b',"clock":"%s"}' % log.clock.encode()
    assert [value for _, key, value in log.records() if key] == [expected]
    log = open_log([write(tmp_path / "a", framed)], "ocpp16", clock="mine")
    assert next(value for _, _, value in log.records()) == framed[:-1] + b',"clock":"mine"}'
    log = open_log([write(tmp_path / "a", named)], "events", clock="mine")
    assert next(value for _, _, value in log.records()) == named


def test_the_clock_of_real_time_is_replaced(tmp_path: Path) -> None:
    """A recording of live events is no longer live."""
    log = open_log([write(tmp_path / "a", heartbeat("A", 1, clock="live"))], "events")
    assert json.loads(next(log.records())[2])["clock"] == log.clock


def test_files_are_merged_by_receive_time_and_keep_their_own_order(tmp_path: Path) -> None:
    one = write(tmp_path / "one.ndjson", heartbeat("A1", 10), heartbeat("A2", 5), heartbeat("A3", 30))
    two = write(tmp_path / "two.ndjson.gz", heartbeat("B1", 7), heartbeat("B2", 20))
    records = read(one, two)
    assert stations(records) == [b"B1", b"A1", b"A2", b"B2", b"A3"]
    assert [(due_us - T0) // 1_000_000 for due_us, key, _ in records if key] == [7, 10, 10, 20, 30]


def test_frames_are_merged_by_the_time_of_their_envelope(tmp_path: Path) -> None:
    one, two = write(tmp_path / "one", frame("A", 10), frame("A", 30)), write(tmp_path / "two", frame("B", 20))
    assert stations(read(one, two, format="ocpp16")) == [b"A", b"B", b"A"]


def test_a_tick_a_minute_and_hourly_ticks_for_a_day_after_the_end(tmp_path: Path) -> None:
    records = read(write(tmp_path / "a", heartbeat("A", 1), heartbeat("A", 59), heartbeat("A", 200)))
    assert ticks(records)[:4] == [MINUTE_US, 2 * MINUTE_US, 3 * MINUTE_US, 4 * MINUTE_US]
    assert stations(records[:2]) == [b"A", b"A"]
    assert ticks(records)[-1] >= 200_000_000 + FINAL_TICKS_US
    assert {later - earlier for earlier, later in zip(ticks(records)[3:], ticks(records)[4:], strict=False)} == {
        HOUR_US
    }
    assert all(before[0] <= after[0] for before, after in pairwise(records))


def test_the_end_can_be_left_open(tmp_path: Path) -> None:
    log = open_log([write(tmp_path / "a", heartbeat("A", 1), heartbeat("A", 61))], "events")
    assert ticks(list(log.records(final_ticks=False))) == [MINUTE_US]


def test_a_hole_of_decades_is_crossed_in_few_steps(tmp_path: Path) -> None:
    unset = json.dumps({"type": "station_seen", "station_id": "A", "event_time_us": 1}).encode()
    assert len(read(write(tmp_path / "a", unset, heartbeat("A", 1)))) < 30_000


def test_a_clock_whose_ticks_are_in_the_log_gets_no_others(tmp_path: Path) -> None:
    config = FleetConfig(stations=2, sites=1, sessions=2, faults=parse_faults("all"))
    simulated = list(simulate(config))
    replayed = read(write(tmp_path / "sim.ndjson", *(value for _, _, value in simulated)))
    assert [(key, value) for _, key, value in replayed] == [(key, value) for _, key, value in simulated]


def test_offline_commands_see_what_is_replayed(tmp_path: Path) -> None:
    file = write(tmp_path / "a", frame("A", 10), frame("A", 30))
    assert list(log_records([file], "ocpp16")) == [(key, value) for _, key, value in read(file, format="ocpp16")]


def test_standard_input_is_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(heartbeat("A", 1) + b"\n\n" + heartbeat("B", 2))))
    assert stations(read(Path("-"))) == [b"A", b"B"]


BAD: list[tuple[bytes, Format, str]] = [
    (b"{", "events", "not JSON"),
    (b"\xff\xfe", "ocpp16", "not JSON|not UTF-8"),
    (b"[]", "events", "SCHEMA_VIOLATION"),
    (b'{"type":"station_seen"}', "events", "station_id is missing"),
    (b'{"type":"meter","station_id":"04A1B2C3","event_time_us":1}', "events", "type must be one of"),
    (frame("A", 1), "events", "an OCPP frame"),
    (heartbeat("A", 1), "ocpp16", "a canonical event"),
    (frame("A", 1, received_at="yesterday"), "ocpp16", "received_at"),
    (frame("A", 1, direction="up"), "ocpp16", "direction"),
    (frame("A", 1, link="up"), "ocpp16", "exactly one of frame and link"),
    (frame("A", 1, frame={"2": "Heartbeat"}), "ocpp16", "SCHEMA_VIOLATION.*frame"),
    (frame("A", 1, frame="[2]"), "ocpp16", "SCHEMA_VIOLATION.*frame"),
    (frame("A", 1, frame=[2, "1"]), "ocpp16", "SCHEMA_VIOLATION"),
    (frame("A", 1)[:-20], "ocpp16", "not JSON"),
    (b"\x00" * 40, "events", "not JSON"),
    (frame("\xe4", 1).replace(b"\\u00e4", b"\xe4"), "ocpp16", "not JSON|UTF-8"),
]


@pytest.mark.parametrize(("bad", "format", "said"), BAD)
def test_a_bad_line_is_named_and_costs_only_itself(bad: bytes, format: Format, said: str, tmp_path: Path) -> None:
    good = [frame("A", 1), frame("A", 2)] if format == "ocpp16" else [heartbeat("A", 1), heartbeat("A", 2)]
    file = write(tmp_path / "log.ndjson", good[0], b"", bad, good[1])
    log = open_log([file], format)
    assert (log.lines, log.bad, log.left_out) == (3, 1, 1)
    (named,) = log.named
    assert named.startswith(f"{file}:3: ")
    assert re.search(said, named)
    assert "04A1B2C3" not in named
    clean = open_log([write(tmp_path / "clean.ndjson", *good)], format, clock=log.clock)
    assert list(log.records()) == list(clean.records())


@pytest.mark.parametrize(("bad", "format", "said"), BAD)
def test_a_bad_line_can_be_refused_before_anything_is_sent(
    bad: bytes, format: Format, said: str, tmp_path: Path
) -> None:
    good = frame("A", 1) if format == "ocpp16" else heartbeat("A", 1)
    file = write(tmp_path / "log.ndjson", good, b"", bad)
    with pytest.raises(WrongUsage, match=said) as caught:
        open_log([file], format, bad_lines="refuse")
    assert f"{file}:3: " in str(caught.value)
    assert "04A1B2C3" not in str(caught.value)


def test_bad_lines_can_be_sent_as_they_are_under_the_key_of_their_station(tmp_path: Path) -> None:
    lines = [b"{nonsense", heartbeat("A", 1), b'{"type":"odd","station_id":"B"}', heartbeat("A", 2)]
    log = open_log([write(tmp_path / "a", *lines)], "events", bad_lines="send")
    records = [record for record in log.records() if record[1] is not None]
    assert (log.bad, log.left_out) == (2, 0)
    assert [key for _, key, _ in records] == [UNREADABLE_KEY, b"A", b"B", b"A"]
    assert [records[0][2], records[2][2]] == [lines[0], lines[2]]
    assert len(list(log.records())) < 100  # a line without a time does not begin the log in 1970


@pytest.mark.parametrize("pad", [LARGEST_RECORD - 80, LARGEST_RECORD, LARGEST_RECORD + 5_000, 3 * LARGEST_RECORD])
def test_what_no_record_can_hold_is_left_out_even_where_bad_lines_are_sent(pad: int, tmp_path: Path) -> None:
    """Whatever its length, and also in blanks: the next line has its own number."""
    for filling in ("x", " "):
        lines = [heartbeat("A", 1, pad=filling * pad), b"{", heartbeat("A", 2)]
        log = open_log([write(tmp_path / "a", *lines)], "events", bad_lines="send")
        assert [name.partition("a:")[2][:11] for name in log.named] == ["1: TOO_LONG", "2: MALFORME"]
        assert (log.lines, log.left_out) == (3, 1)
        assert stations(list(log.records())) == [UNREADABLE_KEY, b"A"]


def test_many_bad_lines_are_counted_and_the_first_ones_named(tmp_path: Path) -> None:
    log = open_log([write(tmp_path / "a", *[b"{"] * (MOST_NAMED + 7), heartbeat("A", 1))], "events")
    assert (log.bad, len(log.named)) == (MOST_NAMED + 7, MOST_NAMED)
    assert stations(list(log.records())) == [b"A"]


def test_a_text_that_is_not_utf8_does_not_cost_the_reading_beside_it(tmp_path: Path) -> None:
    """The stream uses such a frame if nobody reads that text, so the offline commands do; but it is named."""
    status = frame("A", 2).replace(b"{}", b'{"info":"\xe4"}')
    log = open_log([write(tmp_path / "a", frame("A", 1), status)], "ocpp16")
    assert (log.bad, log.left_out) == (1, 0)
    assert "a:2: not UTF-8 at byte" in log.named[0]
    assert len(stations(list(log.records()))) == 2
    with pytest.raises(WrongUsage, match="a:2: not UTF-8"):
        open_log([tmp_path / "a"], "ocpp16", bad_lines="refuse")


def test_a_file_that_changes_after_its_check_is_told(tmp_path: Path) -> None:
    file = write(tmp_path / "a", heartbeat("A", 1), heartbeat("A", 2))
    log = open_log([file], "events")
    write(file, heartbeat("A", 1), b"{")
    with pytest.raises(InvalidMessage, match=r"a:2: .*did the file change"):
        list(log.records())


@pytest.mark.parametrize("content", [None, b"not zipped", gzip.compress(heartbeat("A", 1))[:-9]])
def test_an_unreadable_file_is_named(content: bytes | None, tmp_path: Path) -> None:
    file = tmp_path / "log.ndjson.gz"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(WrongUsage, match=r"log\.ndjson\.gz: cannot be read"):
        open_log([file], "events")


def test_real_logs_of_two_stations_are_one_log(reference_file: Callable[[str], Path]) -> None:
    files = [reference_file(f"ocpp16/dc-fast-{name}.ndjson.gz") for name in "ab"]
    log = open_log(files, "ocpp16")
    assert (log.lines, log.bad) == (5_716 + 6_503, 0)
    records = list(log.records())
    assert [stations(records).count(key) for key in (b"CP-A", b"CP-B")] == [5_716, 6_503]
    assert all(before[0] <= after[0] for before, after in pairwise(records))
    assert len(ticks(records)) == 24 * 60 - 1 + 26


def test_a_line_without_end_in_a_compressed_file_is_read_in_pieces(tmp_path: Path) -> None:
    """100 MB that are 440 kB as a file: refused, and never in memory as a whole."""
    file = tmp_path / "long.ndjson.gz"
    with gzip.open(file, "wb", compresslevel=1) as out:
        for _ in range(100):
            out.write(b"x" * 1_000_000)
        out.write(b"\n")
    tracemalloc.start()
    log = open_log([file], "events")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert log.named == [f"{file}:1: TOO_LONG: longer than the {LARGEST_RECORD:,} bytes of a record"]
    assert peak < 30_000_000
