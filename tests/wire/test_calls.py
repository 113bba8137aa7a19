"""Message ids restart, calls are sent again, links come and go: an answer belongs to the call that it answers."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import permutations
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.domain.events import ChargeEvent, SessionConfirmed, SessionStarted
from pipeline.wire.calls import KEEP_US, MOST_KEPT, MOST_LINKS, Calls, deadline_us, expire
from tests.wire.charger import KEYS, RECEIVED_US, STATION, answer, call, enveloped, events

TICK = 5
"""Seconds between two of the numbered moments of a test."""


def moment(number: float) -> str:
    return (datetime(2026, 3, 2, 8, tzinfo=UTC) + timedelta(seconds=number * TICK)).isoformat()


def start(at: int, tag: str = "A", message_id: str = "1", **changed: object) -> bytes:
    """A start of driver `tag`, received at this moment."""
    payload = {"connectorId": 1, "idTag": tag, "meterStart": 1200, "timestamp": "2026-03-02T08:00:00Z", **changed}
    return call("StartTransaction", payload, message_id, received_at=moment(at))


def confirmed(at: float, transaction: int, message_id: str = "1") -> bytes:
    return answer(
        {"transactionId": transaction, "idTagInfo": {"status": "Accepted"}}, message_id, received_at=moment(at)
    )


def other(at: int, action: str = "Heartbeat", message_id: str = "1") -> bytes:
    return call(action, {}, message_id, received_at=moment(at))


def acknowledged(at: float, message_id: str = "1") -> bytes:
    return answer({"currentTime": "2026-03-02T08:00:00Z"}, message_id, received_at=moment(at))


def link(at: float, state: str) -> bytes:
    return enveloped(None, direction=None, link=state, received_at=moment(at))


def after(*values: bytes) -> tuple[Calls, list[ChargeEvent]]:
    calls = Calls()
    return calls, [event for value in values for event in events(value, calls)]


def pairs(*values: bytes) -> set[tuple[str, str]]:
    """Which start was confirmed with which transaction: the tag and the number."""
    tags = {KEYS.pseudonym("assembly", "", tag): tag for tag in "ABC"}
    numbers = {KEYS.transaction_key(STATION, str(number)): str(number) for number in range(70, 90)}
    _, found = after(*values)
    starts = {e.call: tags[e.token or ""] for e in found if isinstance(e, SessionStarted)}
    return {(starts[e.call], numbers[e.transaction_id or ""]) for e in found if isinstance(e, SessionConfirmed)}


BOTH = {("A", "77"), ("B", "78")}


@pytest.mark.parametrize(
    "between",
    [
        (),
        (link(4, "down"), link(5, "up")),
        (link(5, "up"),),
        (link(4, "down"),),
        (other(5, "BootNotification", "0"),),
        (other(5, "BootNotification"), acknowledged(6)),
    ],
)
def test_a_start_under_an_id_that_was_used_before_is_another_one(between: tuple[bytes, ...]) -> None:
    assert pairs(start(1, "A"), confirmed(2, 77), *between, start(8, "B"), confirmed(9, 78)) == BOTH
    assert pairs(start(1, "A"), *between, start(8, "B"), confirmed(9, 78)) == {("B", "78")}
    assert pairs(start(1, "A"), confirmed(2, 77), *between, start(8, "B")) == {("A", "77")}


@pytest.mark.parametrize(
    "changed", [{"connectorId": 2}, {"meterStart": 1201}, {"timestamp": "2026-03-02T08:00:01Z"}, {"idTag": "B"}]
)
def test_connector_register_time_and_tag_tell_one_start_from_another(changed: dict[str, Any]) -> None:
    _, found = after(start(1), confirmed(2, 77), start(3, **changed), start(4), start(5, **changed))
    names = [event.call for event in found if isinstance(event, SessionStarted)]
    assert names[0] == names[2] != names[1] == names[3]


def test_a_start_without_a_time_is_known_by_the_rest() -> None:
    """Its time is the one of receipt, which is another when it is sent again."""
    _, found = after(start(1, timestamp=None), start(3, timestamp=None), start(4, "B", timestamp=None))
    first, again, another = (event.call for event in found if isinstance(event, SessionStarted))
    assert first == again != another


def test_doubled_frames_and_a_doubled_log_with_restarted_ids_give_the_same_pairs() -> None:
    log = (start(1, "A"), confirmed(2, 77), link(3, "up"), start(4, "B"), confirmed(5, 78), other(6), acknowledged(7))
    assert pairs(*log) == pairs(*(value for value in log for _ in range(2))) == pairs(*log, *log) == BOTH


def test_another_call_under_the_id_of_an_open_start_ends_it() -> None:
    """Its answer says nothing about the start."""
    calls, found = after(start(1), other(4), acknowledged(5), acknowledged(5), confirmed(6, 77))
    assert not [event for event in found if isinstance(event, SessionConfirmed)]
    assert (calls.starts, calls.unanswered, calls.answered) == ({}, 1, 1)
    assert pairs(other(1), start(4), confirmed(5, 77)) == {("A", "77")}
    calls, _ = after(other(1), start(4), confirmed(5, 77))
    assert (calls.others, calls.unanswered, calls.answered) == ({}, 1, 1)


def test_an_answer_of_another_kind_does_not_confirm_a_start() -> None:
    """Some central systems answer two calls under the id of the second."""
    calls, found = after(start(1), acknowledged(2), confirmed(3, 77))
    assert [event.transaction_id for event in found if isinstance(event, SessionConfirmed)] == [
        KEYS.transaction_key(STATION, "77")
    ]
    assert (calls.surplus, calls.answered) == (1, 1)
    assert pairs(acknowledged(2), start(1), confirmed(3, 77)) == {("A", "77")}


def test_the_answer_to_a_start_whose_id_was_used_again_confirms_nobody() -> None:
    """It may be logged late; the start that has the id now is another one."""
    calls, found = after(start(1, "A"), start(4, "B"), confirmed(2, 77))
    assert not [event for event in found if isinstance(event, SessionConfirmed)]
    assert (calls.unanswered, list(calls.starts.values())) == (1, [RECEIVED_US + 3 * TICK * 1_000_000])


def test_of_two_early_answers_the_one_that_was_received_first_counts() -> None:
    assert pairs(confirmed(5, 78), confirmed(2, 77), start(1)) == {("A", "77")}


def test_an_answer_that_was_received_before_the_call_is_not_its_answer() -> None:
    assert pairs(confirmed(1, 77), start(2)) == set()
    assert pairs(start(2), confirmed(1, 77)) == set()
    assert pairs(confirmed(1, 77), start(2), confirmed(3, 78)) == {("A", "78")}
    assert pairs(start(2), confirmed(1, 77), confirmed(3, 78)) == {("A", "78")}


@pytest.mark.parametrize("state", ["up", "down"])
def test_a_link_marker_ends_the_calls_before_it(state: str) -> None:
    assert pairs(start(1), link(2, state), confirmed(3, 77)) == set()
    assert pairs(confirmed(3, 77), link(2, state), start(1)) == set()
    assert pairs(link(2, state), start(3), confirmed(4, 77)) == {("A", "77")}


def test_the_late_end_of_an_older_connection_ends_nothing() -> None:
    """The station is back before its old connection is known to be dead."""
    log = (link(0, "up"), link(2, "up"), start(3), link(4, "down"), confirmed(5, 77))
    assert pairs(*log) == {("A", "77")}
    assert pairs(*log, link(6, "down"), start(7, "B"), link(8, "up"), confirmed(9, 78)) == {("A", "77")}


def test_pairs_do_not_depend_on_the_order_in_the_log() -> None:
    """Times of receipt decide; link markers that come late or early change nothing."""
    log = (start(1, "A"), confirmed(2, 77), link(3, "down"), link(4, "up"), start(5, "B", "2"), confirmed(6, 78, "2"))
    assert {frozenset(pairs(*order)) for order in permutations(log)} == {frozenset(BOTH)}


def test_a_start_that_is_sent_again_on_a_new_connection_waits_for_its_answer_there() -> None:
    log = (start(1), link(2, "down"), link(3, "up"), start(4), confirmed(5, 77))
    assert {frozenset(pairs(*order)) for order in permutations(log)} == {frozenset({("A", "77")})}


def test_a_start_that_is_sent_again_may_get_another_id() -> None:
    """The station did not hear the first answer; it will use the second."""
    log = (start(1), confirmed(2, 77), start(4), confirmed(5, 78))
    for divided in (log, (*log[:2], link(3, "up"), *log[2:])):
        assert pairs(*divided) == {("A", "77"), ("A", "78")}
    for order in permutations(log):
        assert ("A", "78") in pairs(*order), "whatever the order, the one in use is known"


def test_an_error_on_another_connection_ends_no_call() -> None:
    error = enveloped([4, "1", "InternalError", "", {}], direction="csms->cp", received_at=moment(5))
    calls, _ = after(start(1), link(3, "up"), error)
    assert (calls.errors, calls.answered, len(calls.starts)) == (1, 0, 1)


def test_older_records_are_read_and_their_open_start_is_confirmed_by_its_key() -> None:
    """Before this version a record had nine fields, and a start was known by the key of its call."""
    key = KEYS.call_key(STATION, "cp->csms", "1")
    record = msgspec.msgpack.encode([{key: RECEIVED_US - 5_000_000}, {}, {}, {"x": [RECEIVED_US, "t"]}, 1, 2, 3, 4, 5])
    calls = msgspec.msgpack.decode(record, type=Calls)
    (found,) = events(confirmed(1, 77), calls)
    assert isinstance(found, SessionConfirmed)
    assert (found.call, found.transaction_id) == (key, KEYS.transaction_key(STATION, "77"))
    assert (calls.answered, calls.slow, calls.early["x"].of_start) == (2, 5, True)


def test_the_state_survives_being_stored_with_its_links_and_names() -> None:
    calls, _ = after(link(0, "up"), start(1), confirmed(2, 77), link(3, "down"), start(4, "B"), link(5, "up"))
    stored = msgspec.msgpack.decode(msgspec.msgpack.encode(calls), type=Calls)
    assert stored == calls
    assert len(stored.links) == 3
    assert len(stored.names) == 1


def test_names_and_links_are_forgotten_and_stay_few() -> None:
    calls, _ = after(link(0, "up"), link(1, "down"), link(2, "up"), start(3), confirmed(4, 77))
    expire(calls, RECEIVED_US + KEEP_US + 3600 * 1_000_000)
    assert (calls.names, calls.confirmed, deadline_us(calls)) == ({}, {}, None)
    assert len(calls.links) == 1, "the last one tells whether a connection is open"
    calls, _ = after(link(0, "up"), link(1, "down"), link(2, "up"), link(900, "up"), link(902, "down"))
    expire(calls, RECEIVED_US + KEEP_US + 3600 * 1_000_000)
    assert len(calls.links) == 3
    assert len(events(start(901), calls) + events(confirmed(903, 77), calls)) == 2, "the end was of an older connection"
    calls, _ = after(*(link(number, "up") for number in range(MOST_LINKS + 9)))
    assert len(calls.links) == MOST_LINKS
    starts = (start(2 * n, message_id=str(n)) for n in range(3 * MOST_KEPT))
    answers = (confirmed(2 * n + 1, 77, str(n)) for n in range(3 * MOST_KEPT))
    calls, _ = after(*(value for pair in zip(starts, answers, strict=True) for value in pair))
    assert (len(calls.names), len(calls.confirmed)) == (2 * MOST_KEPT, MOST_KEPT)


# --- laws ------------------------------------------------------------------------------------------------------------

MOMENTS, IDS = st.integers(min_value=0, max_value=40), st.sampled_from(["1", "2"])
ANSWERED, LINKED = MOMENTS.map(lambda at: at + 0.25), MOMENTS.map(lambda at: at + 0.5)
"""No answer and no link marker at the very moment of a call: which of the two was first would be a guess."""
FRAMES = st.one_of(
    st.builds(start, MOMENTS, st.sampled_from("ABC"), IDS),
    st.builds(confirmed, ANSWERED, st.integers(min_value=70, max_value=80), IDS),
    st.builds(other, MOMENTS, st.just("Heartbeat"), IDS),
    st.builds(acknowledged, ANSWERED, IDS),
    st.builds(link, LINKED, st.sampled_from(["up", "down"])),
)


@given(st.lists(FRAMES, max_size=12))
def test_whatever_happens_an_answer_confirms_a_start_that_was_received_before_it_on_its_connection(
    log: list[bytes],
) -> None:
    calls, found = after(*log)
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(calls), type=Calls) == calls
    sent = [msgspec.json.decode(value) for value in log]
    ups = [datetime.fromisoformat(each["received_at"]).timestamp() for each in sent if each.get("link") == "up"]
    in_order = log == sorted(log, key=received)  # a marker that is logged late cannot divide what was paired before it
    begun: dict[str | None, list[float]] = {}
    for event in found:
        at = event.received_time_us / 1_000_000
        if isinstance(event, SessionStarted):
            begun.setdefault(event.call, []).append(at)
        elif isinstance(event, SessionConfirmed):
            calls_before = [called for called in begun[event.call] if called <= at]
            assert calls_before
            assert not in_order or any(not any(called < up <= at for up in ups) for called in calls_before)


def received(value: bytes) -> str:
    return str(msgspec.json.decode(value)["received_at"])


@given(st.lists(FRAMES, max_size=12).map(lambda log: sorted(log, key=received)))
def test_doubled_frames_give_the_same_pairs(log: list[bytes]) -> None:
    assert pairs(*log) == pairs(*(value for value in log for _ in range(2)))


@given(st.data())
def test_any_order_of_a_log_with_unique_ids_gives_the_same_pairs(data: st.DataObject) -> None:
    log = []
    for number, tag in enumerate(data.draw(st.lists(st.sampled_from("ABC"), max_size=4, unique=True))):
        at = data.draw(MOMENTS)
        log += [start(at, tag, f"s-{number}"), confirmed(at + data.draw(ANSWERED), 70 + number, f"s-{number}")]
    log += [value for n, at in enumerate(data.draw(st.lists(MOMENTS, max_size=3)))
            for value in (other(at, message_id=f"h-{n}"), acknowledged(at + 1, f"h-{n}"))]  # fmt: skip
    log += data.draw(st.lists(st.builds(link, LINKED, st.just("up")), max_size=2))
    in_order = pairs(*sorted(log, key=received))
    shuffled = data.draw(st.permutations(log))
    links_first = sorted(shuffled, key=lambda value: b'"link"' not in value)
    assert pairs(*links_first) == in_order
