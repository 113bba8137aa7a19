"""Calls and answers find each other, in any order, once; versions are told apart; the state stays small."""

from __future__ import annotations

import msgspec
import pytest

from pipeline.domain.events import (
    ChargeEvent,
    SessionAuthorized,
    SessionConfirmed,
    SessionStarted,
    StationSeen,
    StatusReported,
)
from pipeline.domain.frames import OcppFrame
from pipeline.errors import InvalidMessage
from pipeline.wire.calls import KEEP_US, MOST_KEPT, Calls, deadline_us, expire
from pipeline.wire.meter_events import Decoder
from tests.wire.charger import KEYS, NOON, NOON_US, RECEIVED_US, STATION, answer, call, enveloped, events, interpreted

START = call("StartTransaction", {"connectorId": 1, "idTag": "04A1B2C3", "meterStart": 1200, "timestamp": NOON})
CONFIRMED = answer({"transactionId": 77, "idTagInfo": {"status": "Accepted", "parentIdTag": "P-1"}})
OTHER_ID = answer({"transactionId": 78, "idTagInfo": {"status": "Accepted"}})
KEY = KEYS.call_key(STATION, "cp->csms", "m-1")
NAME = KEYS.call_key(STATION, "cp->csms", f'["m-1",1,{NOON_US},1200,"04A1B2C3"]')
"""Of that start: its message id and its content."""
BOUND = SessionConfirmed(
    station_id=STATION,
    event_time_us=RECEIVED_US,
    received_time_us=RECEIVED_US,
    call=NAME,
    transaction_id=KEYS.transaction_key(STATION, "77"),
)


def after(*values: bytes) -> tuple[Calls, list[ChargeEvent]]:
    calls = Calls()
    return calls, [event for value in values for event in events(value, calls)]


def test_the_answer_gives_the_start_its_transaction_id() -> None:
    calls, found = after(START, CONFIRMED)
    started, confirmed = found
    assert isinstance(started, SessionStarted)
    assert started.call == NAME
    assert confirmed == BOUND
    assert (calls.answered, calls.surplus, calls.starts) == (1, 0, {})


def test_an_answer_that_comes_first_waits_for_its_call() -> None:
    calls, found = after(CONFIRMED, START)
    assert [type(event) for event in found] == [SessionStarted, SessionConfirmed]
    assert found[1] == BOUND
    assert (calls.answered, calls.early) == (1, {})


@pytest.mark.parametrize(
    "history",
    [
        (START, CONFIRMED, OTHER_ID),
        (CONFIRMED, OTHER_ID, START),
        (CONFIRMED, START, OTHER_ID, START),
        (START, START, CONFIRMED, OTHER_ID),
    ],
)
def test_the_first_answer_wins_and_later_ones_are_counted(history: tuple[bytes, ...]) -> None:
    calls, found = after(*history)
    confirmed = [event for event in found if isinstance(event, SessionConfirmed)]
    assert confirmed
    assert all(event == BOUND for event in confirmed)
    assert calls.surplus == 1


def test_a_repeated_start_takes_its_first_answer_again() -> None:
    """The repeat must not wait for an answer that nobody sends twice."""
    calls, found = after(START, CONFIRMED, START)
    assert [type(event) for event in found] == [SessionStarted, SessionConfirmed] * 2
    assert found[1] == found[3] == BOUND
    assert (calls.starts, calls.answered) == ({}, 1)


def test_a_start_that_was_not_accepted_says_so() -> None:
    _, found = after(START, answer({"transactionId": 77, "idTagInfo": {"status": "Invalid"}}))
    assert isinstance(found[1], SessionConfirmed)
    assert (found[1].accepted, found[1].transaction_id) == (False, KEYS.transaction_key(STATION, "77"))


@pytest.mark.parametrize("number", [0, -1, None])
def test_an_answer_that_names_no_transaction_confirms_without_id(number: int | None) -> None:
    _, found = after(START, answer({"transactionId": number}))
    assert isinstance(found[1], SessionConfirmed)
    assert found[1].transaction_id is None


def test_an_error_ends_the_call_and_confirms_nothing() -> None:
    error = enveloped([4, "m-1", "InternalError", "tag 04A1B2C3 unknown", {}], direction="csms->cp")
    calls, found = after(START, error)
    assert [type(event) for event in found] == [SessionStarted]
    assert (calls.errors, calls.answered, calls.starts) == (1, 1, {})


def test_directions_do_not_mix() -> None:
    """Both sides may use the same message id at the same time."""
    calls, found = after(START, call("Reset", {"type": "Soft"}, direction="csms->cp"))
    confirmed_by_station = events(answer({"transactionId": 77}, direction="cp->csms"), calls)
    assert [type(event) for event in found + confirmed_by_station] == [SessionStarted, StationSeen]
    assert (list(calls.starts), calls.others) == ([KEY], {})


def test_stations_do_not_mix() -> None:
    calls = Calls()
    interpreted(START, calls)
    assert events(answer({"transactionId": 77}, station_id="SIM-00008"), calls) == []


def test_what_the_central_system_says_is_no_sign_of_life() -> None:
    calls, found = after(call("RemoteStartTransaction", {"idTag": "04A1B2C3"}, direction="csms->cp"), CONFIRMED)
    assert found == []
    (seen,) = events(answer({"status": "Accepted"}, direction="cp->csms"), calls)
    assert isinstance(seen, StationSeen)
    assert seen.what == "answer"


@pytest.mark.parametrize("link", ["up", "down"])
def test_link_markers(link: str) -> None:
    (seen,) = events(enveloped(None, direction=None, link=link))
    assert isinstance(seen, StationSeen)
    assert (seen.what, seen.event_time_us) == (f"link_{link}", RECEIVED_US)


def test_events_follow_the_clock_of_their_frame() -> None:
    frame = call("Heartbeat", {}, clock="replay-1")
    assert [event.clock for event in events(frame)] == ["replay-1"]


def test_a_refused_frame_leaves_the_calls_as_they_were() -> None:
    calls, _ = after(START)
    before = msgspec.msgpack.encode(calls)
    for value in (
        answer({"transactionId": {"no": "number"}}),
        call("StartTransaction", [], "m-2"),
        call("Heartbeat", {}, "m-3", received_at="soon"),
        call("StopTransaction", {"transactionId": 1}, "m-4", protocol="ocpp1.5"),
        call("TransactionEvent", {"eventType": "Ended"}, "m-5"),
    ):
        with pytest.raises(InvalidMessage):
            interpreted(value, calls)
        assert msgspec.msgpack.encode(calls) == before
    assert events(CONFIRMED, calls) == [BOUND]


def test_what_waits_too_long_is_given_up_and_counted() -> None:
    calls, _ = after(START, call("Reset", {}, "m-2", direction="csms->cp"), answer({}, "m-9"))
    assert deadline_us(calls) == RECEIVED_US + KEEP_US
    expire(calls, RECEIVED_US + KEEP_US - 1)
    assert (calls.unanswered, calls.surplus) == (0, 0)
    expire(calls, RECEIVED_US + KEEP_US)
    assert (calls.unanswered, calls.surplus, deadline_us(calls)) == (2, 1, None)


def test_a_confirmation_is_forgotten_too() -> None:
    calls, _ = after(START, CONFIRMED)
    expire(calls, RECEIVED_US + KEEP_US)
    assert (calls.confirmed, calls.unanswered, calls.surplus) == ({}, 0, 0)


def test_slow_answers_are_counted() -> None:
    calls, _ = after(call("Heartbeat", {}), answer({}, received_at="2026-03-02T08:00:16Z"))
    assert (calls.slow, calls.answered) == (1, 1)


def test_the_state_stays_small_when_one_direction_is_not_logged() -> None:
    calls, _ = after(START, *(call("Heartbeat", {}, f"h-{number}") for number in range(MOST_KEPT + 10)))
    assert (len(calls.others), calls.unanswered) == (MOST_KEPT, 10)
    assert list(calls.starts) == [KEY], "heartbeats must not push out a start"
    calls, _ = after(*(answer({}, f"h-{number}") for number in range(MOST_KEPT + 10)))
    assert (len(calls.early), calls.surplus) == (MOST_KEPT, 10)


def test_the_state_survives_being_stored() -> None:
    calls, _ = after(START, answer({"transactionId": 5}, "m-2"), call("Reset", {}, "m-3", direction="csms->cp"))
    stored = msgspec.msgpack.decode(msgspec.msgpack.encode(calls), type=Calls)
    assert stored == calls
    assert events(CONFIRMED, stored) == [BOUND]


def test_no_identifier_stays_in_the_state_or_the_events() -> None:
    calls, found = after(
        call(
            "StartTransaction", {"connectorId": 1, "idTag": "SECRETTAG", "meterStart": 1, "timestamp": NOON}, "SECRETID"
        ),
        answer({"transactionId": 987654, "idTagInfo": {"status": "Accepted", "parentIdTag": "SECRETTAG"}}, "SECRETID"),
        answer({"transactionId": 987654}, "SECRETID2"),
        call("Authorize", {"idTag": "SECRETTAG"}, "SECRETID3"),
        call(
            "StopTransaction",
            {"transactionId": 987654, "meterStop": 2, "timestamp": NOON, "idTag": "SECRETTAG"},
            "SECRETID4",
        ),
    )
    written = msgspec.msgpack.encode(calls) + b"".join(msgspec.json.encode(event) for event in found)
    assert len(found) == 4
    assert b"SECRET" not in written
    assert b"987654" not in written


STATUS_16 = {"connectorId": 3, "status": "Charging", "errorCode": "NoError", "vendorId": "evseId"}
STATUS_201 = {"connectorId": 1, "evseId": 2, "connectorStatus": "Occupied", "timestamp": NOON}


@pytest.mark.parametrize("protocol", [None, "ocpp1.6", "ocpp1.6j", "OCPP1.6J", " ocpp1.6 "])
def test_version_16_is_recognised(protocol: str | None) -> None:
    (reported,) = events(call("StatusNotification", STATUS_16, protocol=protocol))
    assert isinstance(reported, StatusReported)
    assert (reported.connector_id, reported.status) == (3, "Charging")


@pytest.mark.parametrize("protocol", [None, "ocpp2.0.1", "ocpp2.1", "ocpp2.0", "OCPP2.0.1"])
def test_version_201_is_recognised(protocol: str | None) -> None:
    (reported,) = events(call("StatusNotification", STATUS_201, protocol=protocol))
    assert isinstance(reported, StatusReported)
    assert (reported.connector_id, reported.status) == (2, "Occupied")


def test_an_action_of_the_other_version_only_shows_life() -> None:
    """The envelope's word counts: a 2.0.1 station has no StartTransaction."""
    payload = {"connectorId": 1, "timestamp": NOON}
    (seen,) = events(call("StartTransaction", payload, protocol="ocpp2.0.1"))
    assert isinstance(seen, StationSeen)


def test_an_unknown_version_is_refused() -> None:
    with pytest.raises(InvalidMessage, match=r"UNSUPPORTED_VERSION: .* ocpp1\.6, ocpp2\.0\.1 or ocpp2\.1$"):
        interpreted(call("Heartbeat", {}, protocol="ocpp1.5"))


def test_a_frame_without_direction_is_refused() -> None:
    with pytest.raises(InvalidMessage, match="direction"):
        interpreted(call("Heartbeat", {}, direction=""))


def test_offline_commands_may_remember_the_ids() -> None:
    remembered: dict[str, str] = {}
    decoder, calls = Decoder(KEYS, remembered), Calls()
    for value in (CONFIRMED, START):
        frame = decoder.decode(value)
        assert isinstance(frame, OcppFrame)
        decoder.interpret(calls, frame)
    assert remembered == {KEYS.transaction_key(STATION, "77"): "77"}


def test_a_token_is_concealed_wherever_it_is_presented() -> None:
    info = {"eventType": "Updated", "timestamp": NOON, "seqNo": 1, "transactionInfo": {"transactionId": "t"}}
    found = events(call("TransactionEvent", {**info, "idToken": {"idToken": "SECRETTAG", "type": "Central"}}))
    assert isinstance(found[0], SessionAuthorized)
    assert all(b"SECRETTAG" not in msgspec.json.encode(event) for event in found)


def test_a_send_of_version_21_is_read_and_waits_for_no_answer() -> None:
    calls, found = after(enveloped([6, "m-1", "StatusNotification", STATUS_201], protocol="ocpp2.1"))
    (reported,) = found
    assert isinstance(reported, StatusReported)
    assert (reported.connector_id, calls) == (2, Calls())
    assert events(enveloped([6, "m-1", "Anything", {}], direction="csms->cp", protocol="ocpp2.1"), calls) == []


def test_an_answer_that_could_not_be_read_stays_an_answer() -> None:
    """CALLRESULTERROR of OCPP 2.1."""
    calls, _ = after(START, CONFIRMED)
    before = msgspec.msgpack.encode(calls)
    (seen,) = events(enveloped([5, "m-1", "FormatViolation", "", {}]), calls)
    assert isinstance(seen, StationSeen)
    assert events(enveloped([5, "m-1", "FormatViolation", "", {}], direction="csms->cp"), calls) == []
    assert msgspec.msgpack.encode(calls) == before
