"""Two real charger logs decode completely, and frames damaged in any way are understood or refused.

The figures are those of the data's README (facts, not rows); the tests skip where the data is absent.
"""

from __future__ import annotations

import contextlib
import gzip
import json
import random
from collections import Counter
from collections.abc import Callable, Iterable
from itertools import chain
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.domain.events import ChargeEvent, MeterRead, SessionConfirmed, SessionEnded, SessionStarted
from pipeline.domain.frames import OcppFrame
from pipeline.errors import InvalidMessage
from pipeline.wire.meter_events import Decoder
from pipeline.wire.ocpp import Calls, expire
from pipeline.wire.timestamps import micros
from tests.wire.charger import KEYS

TEN_MINUTES = 600_000_000
EXAMPLES = Path(__file__).parents[2] / "schemas" / "examples" / "meter-events" / "v1"
FIGURES: dict[str, dict[str, int]] = {
    "a": {
        "lines": 5716, "answered": 2855, "surplus": 0, "unanswered": 0, "errors": 0,
        "SessionStarted": 7, "SessionConfirmed": 7, "SessionEnded": 7, "StatusReported": 54, "MeterRead": 427,
        "heartbeat": 2329, "boot": 2, "authorize": 8, "link_up": 3, "link_down": 3,
    },
    "b": {
        "lines": 6503, "answered": 3220, "surplus": 13, "unanswered": 13, "errors": 5,
        "SessionStarted": 6, "SessionConfirmed": 6, "SessionEnded": 6, "StatusReported": 44, "MeterRead": 2 * 234 + 18,
        "heartbeat": 2881, "boot": 11, "authorize": 5, "link_up": 16, "link_down": 16,
    },
}  # fmt: skip
"""On B energy and power of a frame are a few ms apart; its readings are counted per distinct millisecond below."""


@pytest.fixture(params=sorted(FIGURES))
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


class Lines(list[bytes]):
    """The lines of a log, which a failing test must not show."""

    def __repr__(self) -> str:
        return f"<{len(self)} lines>"


@pytest.fixture
def lines(name: str, reference_file: Callable[[str], Path]) -> Lines:
    return Lines(gzip.decompress(reference_file(f"ocpp16/dc-fast-{name}.ndjson.gz").read_bytes()).splitlines())


def understood(lines: Iterable[bytes]) -> tuple[Calls, list[ChargeEvent]]:
    """Of lines of which nothing may be refused."""
    decoder, calls, events = Decoder(KEYS), Calls(), list[ChargeEvent]()
    for line in lines:
        frame = decoder.decode(line)
        assert isinstance(frame, OcppFrame)
        meaning = decoder.interpret(calls, frame)
        assert meaning.quarantined == []
        events += meaning.events
    return calls, events


def figures(calls: Calls, events: Iterable[ChargeEvent]) -> dict[str, int]:
    expire(calls, 1 << 60)
    counted = Counter(getattr(event, "what", type(event).__name__) for event in events)
    pairs = {name: getattr(calls, name) for name in ("answered", "surplus", "unanswered", "errors")}
    return pairs | counted


def test_every_frame_of_a_real_day_is_understood(name: str, lines: Lines) -> None:
    calls, events = understood(lines)
    found = {"lines": len(lines)} | figures(calls, events)
    expected = FIGURES[name]
    if name == "b":
        reads = [event for event in events if isinstance(event, MeterRead)]
        with_energy = [read for read in reads if read.register_wh is not None]
        assert len(with_energy) == 234 + 6, "one per frame and one per transactionData"
        assert len({(read.event_time_us, read.context) for read in reads}) == len(reads)
        expected = expected | {"MeterRead": len(reads)}
    assert {key: found.get(key) for key in expected} == expected


@pytest.mark.parametrize("seed", range(3))
def test_shuffled_frames_pair_all_the_same(name: str, lines: Lines, seed: int) -> None:
    """Within ten minutes, calls and their answers included: every start finds the id that it found in order."""
    chance = random.Random(seed)  # noqa: S311 - a shuffle, not a secret
    arrivals = [(micros(json.loads(line)["received_at"])[0] + chance.randrange(TEN_MINUTES), line) for line in lines]
    calls, events = understood(line for _, line in sorted(arrivals))
    found = figures(calls, events)
    in_order = understood(lines)[1]
    assert found["surplus"] == FIGURES[name]["surplus"]
    assert pairs(events) == pairs(in_order)
    assert sorted(map(msgspec.json.encode, events)) == sorted(map(msgspec.json.encode, in_order))


def test_a_log_sent_twice_confirms_each_start_as_before(lines: Lines) -> None:
    once = understood(lines)[1]
    twice = understood(line for line in lines for _ in range(2))[1]
    again = understood(chain(lines, lines))[1]
    assert pairs(once) == pairs(twice) == pairs(again)
    assert len(pairs(once)) == sum(isinstance(event, SessionStarted) for event in once)


def pairs(events: Iterable[ChargeEvent]) -> set[tuple[str, str | None]]:
    return {(event.call, event.transaction_id) for event in events if isinstance(event, SessionConfirmed)}


def test_starts_ends_and_readings_name_the_same_transactions(lines: Lines) -> None:
    events = understood(lines)[1]
    confirmed = {transaction for _, transaction in pairs(events)}
    assert {event.transaction_id for event in events if isinstance(event, SessionEnded)} == confirmed
    assert {event.transaction_id for event in events if isinstance(event, MeterRead)} <= confirmed


def test_no_identifier_of_a_real_day_is_in_an_event_or_the_state(lines: Lines) -> None:
    decoder, calls, written = Decoder(KEYS), Calls(), bytearray()
    identifiers: set[bytes] = set()
    for line in lines:
        frame = decoder.decode(line)
        assert isinstance(frame, OcppFrame)
        identifiers.update(_identifiers(json.loads(line).get("frame")))
        for event in decoder.interpret(calls, frame).events:
            written += msgspec.json.encode(event)
        written += msgspec.msgpack.encode(calls) if len(calls.early) + len(calls.starts) else b""
    written += msgspec.msgpack.encode(calls)
    found = bytes(written)
    searched = [each for each in identifiers if len(each) < 30]
    assert len(searched) > 10, "the search must have something to find"
    assert sum(identifier in found for identifier in searched) == 0
    # Message ids in one pass, by a first part that has a dash: thousands of searches of megabytes would take minutes.
    starts = {each[:13] for each in identifiers if len(each) >= 30}
    assert len(starts) > 2000, "the search must have something to find"
    assert sum(found[at : at + 13] in starts for at in range(len(found) - 13)) == 0


def _identifiers(frame: list[object] | None) -> Iterable[bytes]:
    """Tags, transaction ids and message ids, whatever message they are in."""
    if frame is None:
        return
    yield str(frame[1]).encode()
    payload = frame[3] if frame[0] == 2 else frame[2]
    for field in ("idTag", "parentIdTag", "transactionId"):
        if isinstance(payload, dict) and len(str(payload.get(field, ""))) > 4:
            yield str(payload[field]).encode()


# --- damage ----------------------------------------------------------------------------------------------------------

FRAMES = sorted(path.read_bytes() for path in EXAMPLES.glob("ocpp*.json"))
WILD = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=6), st.just([]), st.just({}),
    st.sampled_from(["-1", "NaN", "2026-03-02", "0001-01-01T00:00:00", "1e99", "L1", "kWh", "Transaction.End", "\x00"]),
)  # fmt: skip


def test_there_are_frames_to_damage() -> None:
    assert len(FRAMES) > 10


def survives(value: bytes) -> None:
    """Understood or refused; a refusal leaves the open calls as they were."""
    decoder, calls = Decoder(KEYS), Calls()
    with contextlib.suppress(InvalidMessage):
        frame = decoder.decode(value)
        if isinstance(frame, OcppFrame):
            before = msgspec.msgpack.encode(calls)
            try:
                meaning = decoder.interpret(calls, frame)
            except InvalidMessage:
                assert msgspec.msgpack.encode(calls) == before
                raise
            for event in meaning.events:
                assert msgspec.json.decode(msgspec.json.encode(event), type=type(event)) == event


@given(st.sampled_from(FRAMES), st.data())
def test_frames_with_any_value_anywhere_are_understood_or_refused(frame: bytes, data: st.DataObject) -> None:
    """One to three leaves of a well-formed frame are replaced, removed or repeated."""
    document = json.loads(frame)
    for _ in range(data.draw(st.integers(min_value=1, max_value=3))):
        places = list(_places(document))
        holder, key = data.draw(st.sampled_from(places))
        match data.draw(st.sampled_from(["replace", "remove", "repeat"])):
            case "replace":
                holder[key] = data.draw(WILD)
            case "remove":
                del holder[key]
            case "repeat" if isinstance(holder, list):
                holder.insert(key, holder[key])
        if not document:
            break
    survives(json.dumps(document).encode())


def _places(value: object) -> Iterable[tuple[Any, Any]]:
    """Every (container, key) of a document."""
    if isinstance(value, dict | list):
        for key, inner in list(value.items() if isinstance(value, dict) else enumerate(value)):
            yield value, key
            yield from _places(inner)


@given(st.sampled_from(FRAMES), st.integers(min_value=0), st.binary(max_size=4), st.integers(min_value=0, max_value=4))
def test_frames_with_any_bytes_anywhere_are_understood_or_refused(
    frame: bytes, at: int, inserted: bytes, cut: int
) -> None:
    at %= len(frame)
    survives(frame[:at] + inserted + frame[at + cut :])


def test_damaged_frames_of_a_real_day_are_understood_or_refused(lines: Lines) -> None:
    """Seeded: the same damage in every run."""
    chance = random.Random(7)  # noqa: S311 - damage, not a secret
    for line in chance.sample(lines, 600):
        at = chance.randrange(len(line))
        survives(line[:at] + chance.randbytes(chance.randrange(3)) + line[at + chance.randrange(4) :])
