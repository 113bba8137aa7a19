"""Each OCPP 2.0.1 message of a station means the events that it should."""

from __future__ import annotations

import msgspec
import pytest

from pipeline.domain.events import (
    MeterRead,
    SessionAuthorized,
    SessionEnded,
    SessionStarted,
    StationSeen,
    StatusReported,
)
from pipeline.errors import InvalidMessage
from tests.wire.charger import KEYS, NOON, NOON_US, RECEIVED_US, STATION, call, events, interpreted

TRANSACTION = KEYS.transaction_key(STATION, "t-1")
TOKEN = {"idToken": "04a1b2c3", "type": "ISO14443"}


def transaction_event(event_type: str, *samples: object, info: object = None, **changed: object) -> bytes:
    payload = {
        "eventType": event_type,
        "timestamp": NOON,
        "triggerReason": "MeterValuePeriodic",
        "seqNo": 4,
        "transactionInfo": {"transactionId": "t-1"} | (info if isinstance(info, dict) else {}),
        **changed,
    }
    if samples:
        payload["meterValue"] = [{"timestamp": NOON, "sampledValue": list(samples)}]
    return call("TransactionEvent", payload)


def test_started_knows_its_transaction_at_once() -> None:
    begin = {"value": 1200, "context": "Transaction.Begin"}
    started, read = events(transaction_event("Started", begin, evse={"id": 2, "connectorId": 1}, idToken=TOKEN))
    assert started == SessionStarted(
        station_id=STATION,
        event_time_us=NOON_US,
        received_time_us=RECEIVED_US,
        connector_id=2,
        transaction_id=TRANSACTION,
        register_wh=1200,
        token=KEYS.pseudonym("assembly", "ISO14443", "04A1B2C3"),
        billing_token=KEYS.pseudonym("billing", "ISO14443", "04A1B2C3"),
        analytics_token=KEYS.pseudonym("analytics", "ISO14443", "04A1B2C3", "2026-03"),
        seq_no=4,
    )
    assert isinstance(read, MeterRead)
    assert (read.register_wh, read.context, read.seq_no, read.connector_id) == (1200, "begin", 4, 2)


def test_started_may_lack_evse_token_and_register() -> None:
    """They come with a later event; absent is unknown, never connector 1 or register 0."""
    (started,) = events(transaction_event("Started"))
    assert isinstance(started, SessionStarted)
    assert (started.connector_id, started.token, started.register_wh) == (None, None, None)


def test_a_token_that_comes_later_is_its_own_event() -> None:
    authorized, read = events(transaction_event("Updated", {"value": 1300}, idToken=TOKEN))
    assert authorized == SessionAuthorized(
        station_id=STATION,
        event_time_us=NOON_US,
        received_time_us=RECEIVED_US,
        transaction_id=TRANSACTION,
        token=KEYS.pseudonym("assembly", "ISO14443", "04A1B2C3"),
        billing_token=KEYS.pseudonym("billing", "ISO14443", "04A1B2C3"),
        analytics_token=KEYS.pseudonym("analytics", "ISO14443", "04A1B2C3", "2026-03"),
    )
    assert isinstance(read, MeterRead)
    assert (read.connector_id, read.register_wh) == (None, 1300)


def test_a_token_that_comes_later_may_use_a_reservation() -> None:
    authorized, _ = events(transaction_event("Updated", {"value": 1300}, idToken=TOKEN, reservationId=7))
    assert isinstance(authorized, SessionAuthorized)
    assert authorized.reservation


def test_no_authorization_names_nobody() -> None:
    (started,) = events(transaction_event("Started", idToken={"idToken": "", "type": "NoAuthorization"}))
    assert isinstance(started, SessionStarted)
    assert (started.token, started.billing_token, started.analytics_token) == (None, None, None)


def test_updated_without_samples_still_has_its_sequence_number() -> None:
    (read,) = events(transaction_event("Updated"))
    assert isinstance(read, MeterRead)
    assert (read.seq_no, read.transaction_id, read.register_wh, read.state) == (4, TRANSACTION, None, None)


@pytest.mark.parametrize(
    ("sent", "state"),
    [
        ("Charging", "charging"),
        ("SuspendedEV", "suspended_ev"),
        ("SuspendedEVSE", "suspended_evse"),
        ("EVConnected", "idle"),
        ("Idle", "idle"),
        ("Dancing", None),
    ],
)
def test_charging_states(sent: str, state: str | None) -> None:
    (read,) = events(transaction_event("Updated", {"value": 1300}, info={"chargingState": sent}))
    assert isinstance(read, MeterRead)
    assert read.state == state


def test_the_state_holds_from_the_event_and_not_from_its_older_samples() -> None:
    entries = [{"timestamp": "2026-03-02T11:59:00Z", "sampledValue": [{"value": 1300}]}]
    older, now = events(transaction_event("Updated", info={"chargingState": "SuspendedEV"}, meterValue=entries))
    assert isinstance(older, MeterRead)
    assert isinstance(now, MeterRead)
    assert (older.state, older.register_wh) == (None, 1300)
    assert (now.state, now.register_wh, now.event_time_us) == ("suspended_ev", None, NOON_US)


def test_older_samples_alone_are_enough_to_carry_the_sequence_number() -> None:
    entries = [{"timestamp": "2026-03-02T11:59:00Z", "sampledValue": [{"value": 1300}]}]
    (older,) = events(transaction_event("Updated", meterValue=entries))
    assert isinstance(older, MeterRead)
    assert (older.seq_no, older.register_wh) == (4, 1300)


def test_ended_comes_after_its_readings() -> None:
    end = {"value": 2.5, "context": "Transaction.End", "unitOfMeasure": {"unit": "kWh"}}
    read, ended = events(transaction_event("Ended", end, info={"stoppedReason": "EVDisconnected"}))
    assert isinstance(read, MeterRead)
    assert ended == SessionEnded(
        station_id=STATION,
        event_time_us=NOON_US,
        received_time_us=RECEIVED_US,
        transaction_id=TRANSACTION,
        register_wh=2500,
        reason="EVDisconnected",
        seq_no=4,
    )


@pytest.mark.parametrize(("sent", "reason"), [(None, "Local"), ("StoppedByEV", "StoppedByEV"), ("Whim", "Other")])
def test_stop_reasons(sent: str | None, reason: str) -> None:
    (ended,) = events(transaction_event("Ended", info={"stoppedReason": sent}))
    assert isinstance(ended, SessionEnded)
    assert ended.reason == reason


@pytest.mark.parametrize(
    ("unit", "wh"),
    [
        (None, 12),
        ({}, 12),
        ({"unit": "Wh"}, 12),
        ({"unit": "Wh", "multiplier": 3}, 12_345),
        ({"unit": "kWh"}, 12_345),
        ({"unit": "kWh", "multiplier": -3}, 12),
        ({"multiplier": 2}, 1235),
    ],
)
def test_multiplier_and_unit(unit: object, wh: int) -> None:
    (read,) = events(transaction_event("Updated", {"value": 12.345, "unitOfMeasure": unit}))
    assert isinstance(read, MeterRead)
    assert read.register_wh == wh


@pytest.mark.parametrize("multiplier", [10, -10, 10**18])
def test_a_multiplier_out_of_range_is_a_bad_value(multiplier: int) -> None:
    sample = {"value": 12, "unitOfMeasure": {"unit": "Wh", "multiplier": multiplier}}
    assert [part.reason for part in interpreted(transaction_event("Updated", sample)).quarantined] == ["BAD_VALUE"]


def test_a_signed_value_is_evidence_beside_its_number() -> None:
    sample = {"value": 1300, "signedMeterValue": {"signedMeterData": "OCMF...", "signingMethod": "x"}}
    (read,) = events(transaction_event("Updated", sample))
    assert isinstance(read, MeterRead)
    assert (read.register_wh, read.codes) == (1300, ("SIGNED_EVIDENCE",))


@pytest.mark.parametrize(
    "changed",
    [
        {"eventType": "Paused"},
        {"eventType": None},
        {"transactionInfo": {}},
        {"transactionInfo": None},
        {"transactionInfo": {"transactionId": ""}},
        {"transactionInfo": {"transactionId": ["t-1"]}},
    ],
)
def test_an_event_without_its_place_in_the_transaction_is_refused(changed: dict[str, object]) -> None:
    with pytest.raises(InvalidMessage, match="SCHEMA_VIOLATION: TransactionEvent"):
        interpreted(transaction_event("Updated", **changed))


@pytest.mark.parametrize(
    ("changed", "reasons"),
    [
        ({"seqNo": None}, []),
        ({"seqNo": -1}, ["BAD_VALUE"]),
        ({"seqNo": "4"}, ["BAD_VALUE"]),
        ({"evse": {"id": -1}}, ["BAD_VALUE"]),
        ({"evse": 1}, ["BAD_VALUE"]),
        ({"evse": {}}, ["BAD_VALUE"]),
        ({"evse": {"id": "left"}}, ["BAD_VALUE"]),
        ({"timestamp": None}, []),
        ({"timestamp": "soon"}, ["BAD_TIMESTAMP"]),
        ({"idToken": "04A1B2C3"}, ["BAD_VALUE"]),
        ({"reservationId": "4"}, ["BAD_VALUE"]),
        ({"meterValue": {}}, ["BAD_VALUE"]),
        ({"transactionInfo": {"transactionId": "t-1", "chargingState": 5}}, ["BAD_VALUE"]),
    ],
)
def test_a_missing_or_malformed_field_costs_itself(changed: dict[str, object], reasons: list[str]) -> None:
    for event_type, kind in (("Started", SessionStarted), ("Ended", SessionEnded)):
        meaning = interpreted(transaction_event(event_type, **{"evse": {"id": 2}, "idToken": TOKEN, **changed}))
        assert [part.reason for part in meaning.quarantined] == reasons
        (event,) = meaning.events
        assert isinstance(event, kind)
        assert event.transaction_id == TRANSACTION
        assert (event.seq_no is None) == ("seqNo" in changed)
        assert (event.connector_id is None) == ("evse" in changed)
        assert (event.token is None) == ("idToken" in changed)
        timed = "timestamp" not in changed
        assert (event.event_time_us, event.codes) == ((NOON_US, ()) if timed else (RECEIVED_US, ("TIME_ASSUMED",)))


def test_numbers_and_texts_where_the_standard_has_the_other_are_read() -> None:
    info = {"transactionInfo": {"transactionId": 5}, "evse": {"id": "2"}, "idToken": {**TOKEN, "idToken": 123}}
    (started,) = events(transaction_event("Started", **info))
    assert isinstance(started, SessionStarted)
    assert (started.transaction_id, started.connector_id) == (KEYS.transaction_key(STATION, "5"), 2)
    assert started.token == KEYS.pseudonym("assembly", "ISO14443", "123")


@pytest.mark.parametrize(("sent", "reserved"), [(4, True), (0, False), (-1, False), (None, False)])
def test_minus_one_and_zero_are_no_reservation(sent: object, reserved: bool) -> None:
    (started,) = events(transaction_event("Started", reservationId=sent))
    assert isinstance(started, SessionStarted)
    assert started.reservation is reserved


PERIODIC = {"value": 1500, "context": "Sample.Periodic"}
BEGIN = {"value": 1200, "context": "Transaction.Begin"}
END = {"value": 1900, "context": "Transaction.End"}
TRIGGER = {"value": 3, "context": "Trigger"}


@pytest.mark.parametrize(
    ("event_type", "samples", "register"),
    [
        ("Started", (BEGIN, PERIODIC), 1200),
        ("Started", (PERIODIC, BEGIN), 1200),
        ("Started", (PERIODIC,), 1500),
        ("Started", (TRIGGER,), 3),
        ("Started", (END,), None),
        ("Ended", (PERIODIC, END), 1900),
        ("Ended", (BEGIN, PERIODIC), 1500),
        ("Ended", (PERIODIC,), 1500),
        ("Ended", (BEGIN,), None),
    ],
)
def test_start_and_end_take_the_marked_register_or_the_one_of_their_own_time(
    event_type: str, samples: tuple[object, ...], register: int | None
) -> None:
    found = events(transaction_event(event_type, *samples))
    (event,) = [each for each in found if isinstance(each, SessionStarted | SessionEnded)]
    assert event.register_wh == register


def test_a_register_of_another_time_is_not_the_start() -> None:
    entries = [{"timestamp": "2026-03-02T11:59:00Z", "sampledValue": [{"value": 1300}]}]
    started, older = events(transaction_event("Started", meterValue=entries))
    assert isinstance(started, SessionStarted)
    assert isinstance(older, MeterRead)
    assert (started.register_wh, older.register_wh) == (None, 1300)


def test_one_phase_alone_is_no_register_of_start_or_end() -> None:
    """Nothing here says whether it stands for the total; the reading tells which phase it is."""
    started, read = events(transaction_event("Started", {**BEGIN, "phase": "L1"}))
    assert isinstance(started, SessionStarted)
    assert isinstance(read, MeterRead)
    assert (started.register_wh, read.register_wh, read.phases, read.context) == (None, 1200, 1, "begin")
    started, read = events(transaction_event("Started", *({**BEGIN, "phase": f"L{n}"} for n in (1, 2, 3))))
    assert isinstance(started, SessionStarted)
    assert started.register_wh == 3600


def test_the_state_belongs_to_the_reading_of_now_and_not_to_a_frozen_begin() -> None:
    begin, now = events(transaction_event("Updated", BEGIN, PERIODIC, info={"chargingState": "Charging"}))
    assert isinstance(begin, MeterRead)
    assert isinstance(now, MeterRead)
    assert (begin.context, begin.state, now.context, now.state) == ("begin", None, "periodic", "charging")


def test_a_transaction_event_of_version_21_is_read_with_all_that_is_new_in_it() -> None:
    new = {
        "triggerReason": "TxResumed",
        "costDetails": {"totalCost": {"currency": "EUR", "typeOfCost": "NormalCost"}, "totalUsage": {"energy": 3}},
        "preconditioningStatus": "Ready",
        "evseSleep": False,
    }
    info = {
        "chargingState": "Charging",
        "operationMode": "ChargingOnly",
        "tariffId": "T-1",
        "transactionLimit": {"maxCost": 30, "maxEnergy": 20000},
    }
    shown = {"value": 80, "measurand": "Display.TargetSOC", "unitOfMeasure": {"unit": "Percent"}}
    value = transaction_event("Updated", {"value": 1300}, shown, info=info, **new)
    frame = msgspec.json.encode(msgspec.json.decode(value) | {"protocol": "ocpp2.1"})
    assert events(frame) == events(transaction_event("Updated", {"value": 1300}, info={"chargingState": "Charging"}))


def test_meter_values_are_outside_transactions() -> None:
    payload = {"evseId": 0, "meterValue": [{"timestamp": NOON, "sampledValue": [{"value": 9}]}]}
    (read,) = events(call("MeterValues", payload))
    assert isinstance(read, MeterRead)
    assert (read.connector_id, read.transaction_id, read.tx_hint, read.register_wh) == (0, None, "", 9)


def test_a_status_names_its_evse() -> None:
    payload = {"timestamp": NOON, "connectorStatus": "Occupied", "evseId": 2, "connectorId": 1}
    (reported,) = events(call("StatusNotification", payload))
    assert isinstance(reported, StatusReported)
    assert (reported.connector_id, reported.status, reported.event_time_us) == (2, "Occupied", NOON_US)


def test_notify_event_reports_availability_and_nothing_else() -> None:
    available = {"timestamp": NOON, "actualValue": "Faulted", "variable": {"name": "AvailabilityState"}}
    data = [
        {**available, "component": {"name": "EVSE", "evse": {"id": 2}}},
        {**available, "component": {"name": "ChargingStation"}},
        {"timestamp": NOON, "actualValue": "41", "variable": {"name": "Temperature"}, "component": {"name": "EVSE"}},
    ]
    on_evse, on_station = events(call("NotifyEvent", {"seqNo": 0, "generatedAt": NOON, "eventData": data}))
    assert isinstance(on_evse, StatusReported)
    assert isinstance(on_station, StatusReported)
    assert (on_evse.connector_id, on_station.connector_id, on_evse.status) == (2, 0, "Faulted")


def test_notify_event_without_availability_shows_life() -> None:
    (seen,) = events(call("NotifyEvent", {"seqNo": 0, "eventData": []}))
    assert isinstance(seen, StationSeen)
    assert seen.what == "other"
