"""Two real charger logs of a day give exactly their transactions, whatever the network does to them.

The expected figures are those of the data's README (facts, not rows). Skips where the data is absent.
"""

from __future__ import annotations

import random
import secrets
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from pathlib import Path

import msgspec
import orjson
import pytest

from pipeline.agents.offline import OfflineSessions
from pipeline.domain.metering.conservation import difference
from pipeline.domain.pseudonyms import KEY_BYTES, PURPOSES, Keyring
from pipeline.domain.rating import Rating
from pipeline.edge.replayer import open_log

KEYS = Keyring({purpose: {"*": secrets.token_bytes(KEY_BYTES)} for purpose in PURPOSES})
LOGS = {
    "a": {
        "1199364": (1, 27_099, 34984009), "1199813": (1, 26_959, 35011108), "1200323": (1, 24_889, 35038067),
        "1201034": (1, 6_991, 35062956), "1201474": (1, 13_965, 35069947), "1201563": (1, 11_532, 35083912),
        "1201694": (1, 20_288, 35095444),
    },
    "b": {
        "1199523": (2, 12_430, 10586390), "1200549": (2, 7_690, 10598820), "1201405": (2, 0, 10606510),
        "1201416": (2, 24_110, 10606510), "1201480": (2, 31_520, 10630620), "1201615": (1, 20_510, 11047970),
    },
}  # fmt: skip
"""transaction id: connector, Wh, register at the start."""
Records = list[tuple[int, bytes | None, bytes]]


@pytest.fixture(params=sorted(LOGS))
def log(request: pytest.FixtureRequest, reference_file: Callable[[str], Path]) -> tuple[str, Path]:
    return request.param, reference_file(f"ocpp16/dc-fast-{request.param}.ndjson.gz")


def records(path: Path, final_ticks: bool = False) -> Records:
    return list(open_log([path], "ocpp16").records(final_ticks=final_ticks))


def assembled(history: Sequence[tuple[int, bytes | None, bytes]]) -> OfflineSessions:
    sessions = OfflineSessions(Rating(KEYS), KEYS)
    for _, key, value in history:
        sessions.feed(key, value)
    assert not sessions.refused
    return sessions


def transactions(sessions: OfflineSessions) -> dict[str, tuple[object, object, object]]:
    return {
        str(row["transaction_id"]): (row["connector_id"], row["energy_wh"], row["start_register_wh"])
        for row in sessions.rows()
        if row["status"] != "void"
    }


def in_order_of_arrival(events: Records, ticks: Records) -> Records:
    """Events as shuffled, and the ticks of the log where they belong by receive time of what came before."""
    merged: Records = []
    waiting = iter(ticks)
    tick = next(waiting, None)
    latest = 0
    for event in events:
        latest = max(latest, event[0])
        while tick is not None and tick[0] <= latest:
            merged.append(tick)
            tick = next(waiting, None)
        merged.append(event)
    return merged + ([tick] if tick else []) + list(waiting)


def test_each_transaction_has_its_energy(log: tuple[str, Path]) -> None:
    name, path = log
    sessions = assembled(records(path))
    assert transactions(sessions) == LOGS[name]
    assert all(row["complete"] and row["bill_state"] == "HELD" for row in sessions.rows())


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.verify
def test_arrival_shuffled_within_ten_minutes_changes_nothing(log: tuple[str, Path], seed: int) -> None:
    name, path = log
    chance = random.Random(seed)  # noqa: S311 - a shuffle, not a secret
    history = records(path, final_ticks=True)
    events: Records = [(at, key, value) for at, key, value in history if key is not None]
    events.sort(key=lambda record: record[0] + chance.randrange(600_000_000))
    ticks = [record for record in history if record[1] is None]
    shuffled = assembled(in_order_of_arrival(events, ticks))
    assert transactions(shuffled) == LOGS[name]
    for left, right in zip(facts(shuffled), facts(assembled(history)), strict=True):
        assert {k: (v, right[k]) for k, v in left.items() if v != right[k]} == {}


def facts(sessions: OfflineSessions) -> list[dict[str, object]]:
    """Everything that is billed or shown, without the number of revisions it took."""
    skipped = ("revision", "revision_reason")
    return [{k: v for k, v in row.items() if k not in skipped} for row in sessions.rows() if row["status"] != "void"]


@pytest.mark.verify
def test_each_frame_sent_twice_changes_nothing(log: tuple[str, Path]) -> None:
    name, path = log
    once = records(path)
    twice = [record for record in once for _ in range(2)]
    assert transactions(assembled(twice)) == LOGS[name]
    assert facts(assembled(twice)) == facts(assembled(once))


@pytest.mark.verify
def test_the_whole_log_replayed_again_changes_nothing(log: tuple[str, Path]) -> None:
    name, path = log
    once = records(path, final_ticks=True)
    again = assembled(once + once)
    assert facts(again) == facts(assembled(once))
    assert all(row["revision"] == 1 for row in again.rows())
    assert transactions(again) == LOGS[name]


@pytest.mark.parametrize("part", [0.1, 0.35, 0.5, 0.77, 0.95])
@pytest.mark.verify
def test_a_log_cut_anywhere_and_continued_later_gives_the_same(
    log: tuple[str, Path], part: float, tmp_path: Path
) -> None:
    name, path = log
    whole = records(path)
    lines = [value for _, key, value in whole if key is not None]
    cut = int(len(lines) * part)
    first, second = tmp_path / "1.ndjson", tmp_path / "2.ndjson"
    first.write_bytes(b"\n".join(lines[:cut]))
    second.write_bytes(b"\n".join(lines[cut:]))
    together = assembled(list(open_log([first, second], "ocpp16").records(final_ticks=False)))
    assert transactions(together) == LOGS[name]
    assert facts(together) == facts(assembled(whole))


@pytest.mark.verify
def test_a_state_that_was_stored_and_read_back_goes_on_as_if_nothing_had_happened(log: tuple[str, Path]) -> None:
    name, path = log
    sessions = OfflineSessions(Rating(KEYS), KEYS)
    logic = sessions.stage._logic
    for number, (_, key, value) in enumerate(records(path)):
        if number % 97 == 0:
            for kept, state in list(sessions.stage.states.items()):
                sessions.stage.states[kept] = logic.load(kept, logic.dump(state), 1, state.archive)
        sessions.feed(key, value)
    assert transactions(sessions) == LOGS[name]


def test_interleaved_stations_equal_stations_alone(reference_file: Callable[[str], Path]) -> None:
    paths = [reference_file(f"ocpp16/dc-fast-{name}.ndjson.gz") for name in sorted(LOGS)]
    together = assembled(list(open_log(paths, "ocpp16").records(final_ticks=False)))
    assert transactions(together) == LOGS["a"] | LOGS["b"]


def test_no_identifier_of_the_log_leaves_in_an_output_or_stays_in_the_state(log: tuple[str, Path]) -> None:
    _, path = log
    identifiers = set(_identifiers(path))
    assert len(identifiers) > 10, "the search must have something to find"
    sessions = OfflineSessions(Rating(KEYS), KEYS)
    logic = sessions.stage._logic
    written = bytearray()
    for _, key, value in records(path, final_ticks=True):
        for output in sessions.stage.feed(key, value):
            written += output.key + (output.value or b"")
        for kept, state in sessions.stage.states.items():
            if key == kept and hash(value) % 50 == 0:
                written += logic.dump(state)
    for state in sessions.stage.states.values():
        written += logic.dump(state) + b"".join(value for _, value in state.archive.items())
    found = bytes(written)
    assert [True for identifier in identifiers if identifier.encode() in found] == []


def _identifiers(path: Path) -> Iterator[str]:
    """Tags, transaction ids and message ids of the log, whatever message they are in."""
    for _, key, value in records(path):
        frame = orjson.loads(value).get("frame") if key is not None else None
        if frame is None:
            continue
        yield str(frame[1])
        payload = frame[3] if frame[0] == 2 else frame[2]
        for name in ("idTag", "parentIdTag", "transactionId"):
            if isinstance(payload, dict) and len(str(payload.get(name, ""))) > 4:
                yield str(payload[name])


def test_times_are_those_of_the_log(reference_file: Callable[[str], Path]) -> None:
    sessions = assembled(records(reference_file("ocpp16/dc-fast-a.ndjson.gz")))
    first = next(sessions.rows())
    started, ended = (datetime.fromisoformat(str(first[name])) for name in ("started_at", "ended_at"))
    assert first["started_at"] == "2026-01-02T03:55:27.753000Z"
    assert round((ended - started).total_seconds()) == 2470
    slots = msgspec.convert(first["slots"], list[dict[str, int]])
    assert sum(slot["energy_wh"] for slot in slots) == 27_099
    assert len(slots) == 4


@pytest.mark.verify
def test_a_damaged_day_ends_no_worker_and_loses_no_event(log: tuple[str, Path]) -> None:
    """Every third frame is damaged somewhere; what is understood of the rest stays conserved and never impossible."""
    chance = random.Random(11)  # noqa: S311 - damage, not a secret
    sessions = OfflineSessions(Rating(KEYS), KEYS)
    for at, (_, key, value) in enumerate(records(log[1], final_ticks=True)):
        if key is not None and at % 3 == 0:
            place = chance.randrange(len(value))
            value = value[:place] + chance.randbytes(chance.randrange(3)) + value[place + chance.randrange(4) :]
        sessions.feed(key, value)
    assert sum(sessions.refused.values()) > 100
    for station in sessions.stage.states.values():
        accounted = station.used + station.duplicates + station.quarantined + station.outside + station.pending()
        assert station.received == accounted
        assert all(difference(connector) == 0 for connector in station.connectors.values())
    for row in sessions.rows():
        energy, quality = row["energy_wh"], row["quality"]
        assert energy is None or (isinstance(energy, int) and 0 <= energy < 100_000)
        assert energy is not None or quality
