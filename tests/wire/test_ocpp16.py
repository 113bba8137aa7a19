"""Each OCPP 1.6 message of a station means the events that it should, with what is bad in it kept apart."""

from __future__ import annotations

import pytest

from pipeline.domain.events import (
    BAD_VALUE,
    MeterRead,
    SessionEnded,
    SessionStarted,
    StationSeen,
    StatusReported,
)
from pipeline.errors import InvalidMessage
from tests.wire.charger import KEYS, NOON, NOON_US, RECEIVED_US, STATION, call, events, interpreted

ENERGY = {"value": "1261"}


def start(**changed: object) -> bytes:
    payload = {"connectorId": 1, "idTag": "04A1B2C3", "meterStart": 1200, "timestamp": NOON, **changed}
    return call("StartTransaction", payload)


def stop(**changed: object) -> bytes:
    payload = {"transactionId": 77, "meterStop": 2500, "timestamp": NOON, **changed}
    return call("StopTransaction", payload)


def meter(*samples: object, timestamp: str = NOON, **changed: object) -> bytes:
    entries = [{"timestamp": timestamp, "sampledValue": list(samples)}]
    return call("MeterValues", {"connectorId": 1, "transactionId": 77, "meterValue": entries, **changed})


def reading(value: bytes) -> MeterRead:
    (read,) = events(value)
    assert isinstance(read, MeterRead)
    return read


def test_a_start_waits_for_its_transaction_id() -> None:
    (started,) = events(start())
    assert started == SessionStarted(
        station_id=STATION,
        event_time_us=NOON_US,
        received_time_us=RECEIVED_US,
        connector_id=1,
        register_wh=1200,
        token=KEYS.pseudonym("assembly", "", "04A1B2C3"),
        billing_token=KEYS.pseudonym("billing", "", "04A1B2C3"),
        analytics_token=KEYS.pseudonym("analytics", "", "04A1B2C3", "2026-03"),
        call=KEYS.call_key(STATION, "cp->csms", f'["m-1",1,{NOON_US},1200,"04A1B2C3"]'),
    )


@pytest.mark.parametrize("register", [-5, "much", None, "", 1e30, [], {}, True])
def test_a_start_with_an_unreadable_register_still_counts(register: object) -> None:
    meaning = interpreted(start(meterStart=register))
    (started,) = meaning.events
    assert isinstance(started, SessionStarted)
    assert started.register_wh is None
    assert [part.reason for part in meaning.quarantined] == ["BAD_VALUE"]


def test_a_register_with_decimals_is_rounded_half_up() -> None:
    (started,) = events(start(meterStart=1200.5))
    assert isinstance(started, SessionStarted)
    assert started.register_wh == 1201


def test_a_reservation_and_a_missing_zone_are_noted() -> None:
    (started,) = events(start(reservationId=4, timestamp="2026-03-02T12:00:00"))
    assert isinstance(started, SessionStarted)
    assert (started.reservation, started.codes, started.event_time_us) == (True, ("ZONE_ASSUMED",), NOON_US)


def only(kind: type[SessionStarted | SessionEnded], value: bytes, *reasons: str) -> SessionStarted | SessionEnded:
    """The one event of a message of which just these parts are refused."""
    meaning = interpreted(value)
    assert [part.reason for part in meaning.quarantined] == list(reasons)
    (event,) = meaning.events
    assert isinstance(event, kind)
    return event


@pytest.mark.parametrize(
    ("changed", "reasons"), [({"timestamp": None}, ()), ({"timestamp": "soon"}, ("BAD_TIMESTAMP",)),
                             ({"timestamp": 1772452800}, ("BAD_VALUE",))]
)  # fmt: skip
def test_a_start_or_stop_without_a_time_happened_when_it_was_received(
    changed: dict[str, object], reasons: tuple[str, ...]
) -> None:
    for event in (only(SessionStarted, start(**changed), *reasons), only(SessionEnded, stop(**changed), *reasons)):
        assert (event.event_time_us, event.codes) == (RECEIVED_US, ("TIME_ASSUMED",))
        assert event.register_wh is not None


@pytest.mark.parametrize("field", ["connectorId", "idTag", "timestamp", "meterStart"])
def test_no_single_missing_field_loses_a_start(field: str) -> None:
    payload = {"connectorId": 1, "idTag": "04A1B2C3", "meterStart": 1200, "timestamp": NOON}
    del payload[field]
    (started,) = interpreted(call("StartTransaction", payload)).events
    assert isinstance(started, SessionStarted)
    known = (started.connector_id is not None, started.token is not None, started.register_wh is not None)
    assert known == (field != "connectorId", field != "idTag", field != "meterStart")


@pytest.mark.parametrize(
    ("field", "wrong"),
    [
        ("idTag", {"tag": "SECRET"}),
        ("idTag", ["SECRET"]),
        ("idTag", True),
        ("reservationId", "SECRET"),
        ("reservationId", 1.5),
        ("connectorId", "SECRET"),
        ("connectorId", -1),
        ("connectorId", 70_000),
        ("connectorId", "70000"),
        ("connectorId", 0),
        ("connectorId", {}),
    ],
)
def test_a_field_of_the_wrong_type_costs_itself(field: str, wrong: object) -> None:
    meaning = interpreted(start(**{field: wrong}))
    (started,) = meaning.events
    assert isinstance(started, SessionStarted)
    absent = {"idTag": started.token, "reservationId": started.reservation or None, "connectorId": started.connector_id}
    assert absent[field] is None
    assert started.register_wh == 1200
    (part,) = meaning.quarantined
    assert part.reason == "BAD_VALUE"
    assert "StartTransaction" in part.detail
    assert field in part.detail
    assert "SECRET" not in part.detail


def test_a_tag_that_is_a_number_and_a_connector_that_is_text_are_read() -> None:
    started = only(SessionStarted, start(idTag=123456, connectorId="2"))
    assert isinstance(started, SessionStarted)
    assert started.token == KEYS.pseudonym("assembly", "", "123456")
    assert started.connector_id == 2
    assert reading(meter(ENERGY, connectorId="2")).connector_id == 2


@pytest.mark.parametrize(("sent", "reserved"), [(4, True), (0, False), (-1, False), (None, False)])
def test_minus_one_and_zero_are_no_reservation(sent: object, reserved: bool) -> None:
    started = only(SessionStarted, start(reservationId=sent))
    assert isinstance(started, SessionStarted)
    assert started.reservation is reserved


@pytest.mark.parametrize("payload", [[], "text", 5, None])
def test_a_message_that_is_no_object_is_refused(payload: object) -> None:
    for action in ("StartTransaction", "StopTransaction", "MeterValues", "StatusNotification"):
        with pytest.raises(InvalidMessage, match=f"SCHEMA_VIOLATION: {action}"):
            interpreted(call(action, payload, protocol="ocpp1.6"))


def test_a_status_without_place_or_status_is_refused() -> None:
    for payload in ({"status": "Charging"}, {"connectorId": 1}, {"connectorId": 1, "status": 7}):
        with pytest.raises(InvalidMessage, match="SCHEMA_VIOLATION: StatusNotification"):
            interpreted(call("StatusNotification", payload))
    meaning = interpreted(call("StatusNotification", {"connectorId": "left", "status": "Charging"}))
    assert [part.reason for part in meaning.quarantined] == ["BAD_VALUE"]
    assert [type(event) for event in meaning.events] == [StationSeen]


def test_a_stop_ends_the_transaction_and_its_data_are_readings() -> None:
    data = [{"timestamp": "2026-03-02T11:59:00Z", "sampledValue": [{"value": "2.4", "unit": "kWh"}]}]
    read, ended = events(stop(transactionData=data, idTag="04a1b2c3", reason="EVDisconnected"))
    transaction = KEYS.transaction_key(STATION, "77")
    assert isinstance(read, MeterRead)
    assert (read.connector_id, read.transaction_id, read.register_wh) == (None, transaction, 2400)
    assert ended == SessionEnded(
        station_id=STATION,
        event_time_us=NOON_US,
        received_time_us=RECEIVED_US,
        transaction_id=transaction,
        register_wh=2500,
        reason="EVDisconnected",
        token=KEYS.pseudonym("assembly", "", "04A1B2C3"),
    )


def test_a_stop_without_tag_and_reason_is_local() -> None:
    (ended,) = events(stop())
    assert isinstance(ended, SessionEnded)
    assert (ended.reason, ended.token) == ("Local", None)


def test_a_reason_that_nobody_knows_becomes_other() -> None:
    """Free text may hold anything, so it does not pass."""
    (ended,) = events(stop(reason="driver 04A1B2C3 left"))
    assert isinstance(ended, SessionEnded)
    assert ended.reason == "Other"


@pytest.mark.parametrize(
    ("sent", "hint"), [(-1, "unacknowledged"), ("-1", "unacknowledged"), (0, "zero"), (None, ""), ("", "")]
)
def test_ids_that_name_no_transaction_are_told_apart(sent: object, hint: str) -> None:
    """Problems 19, 20 and 21 need to know which it was."""
    read = reading(meter(ENERGY, transactionId=sent))
    assert (read.transaction_id, read.tx_hint) == (None, hint)


@pytest.mark.parametrize(
    "sent", [-16, -(2**31), 2**31, 2**63, 1e30, 1.5, "-16", "2147483648", "9" * 40, "-1.0"]
)  # fmt: skip
def test_a_number_that_no_central_system_gives_names_no_transaction(sent: object) -> None:
    read = reading(meter(ENERGY, transactionId=sent))
    assert (read.transaction_id, read.tx_hint) == (None, "unacknowledged")


@pytest.mark.parametrize(
    ("sent", "name"),
    [(1, "1"), (2**31 - 1, "2147483647"), ("77", "77"), (" 77 ", "77"), (77.0, "77"), ("77.0", "77"), ("abc", "abc")],
)
def test_ids_as_they_are_really_sent_are_one(sent: object, name: str) -> None:
    """Also text that is no number: it is somebody's id."""
    read = reading(meter(ENERGY, transactionId=sent))
    assert (read.transaction_id, read.tx_hint) == (KEYS.transaction_key(STATION, name), "")


@pytest.mark.parametrize(
    ("sent", "hint"), [(-1, "unacknowledged"), (0, "zero"), (None, "unacknowledged"), ("", "unacknowledged")]
)
def test_a_stop_that_names_no_transaction_says_so(sent: object, hint: str) -> None:
    (ended,) = events(stop(transactionId=sent))
    assert isinstance(ended, SessionEnded)
    assert (ended.transaction_id, ended.tx_hint, ended.register_wh) == (None, hint, 2500)


@pytest.mark.parametrize("field", ["transactionId", "meterStop", "timestamp", "transactionData", "reason", "idTag"])
def test_no_malformed_field_loses_a_stop(field: str) -> None:
    meaning = interpreted(stop(**{field: {"no": "such"}}))
    assert meaning.quarantined
    assert {part.reason for part in meaning.quarantined} == {"BAD_VALUE"}
    (ended,) = meaning.events
    assert isinstance(ended, SessionEnded)
    assert (ended.transaction_id is None) == (field == "transactionId")
    assert (ended.register_wh is None) == (field == "meterStop")


def test_malformed_transaction_data_cost_themselves() -> None:
    """Each entry and each sample: of five entries one is whole, one has lost a sample."""
    good = {"timestamp": NOON, "sampledValue": [ENERGY]}
    later = {"timestamp": "2026-03-02T12:01:00Z", "sampledValue": [7, {"value": "1300", "unit": 5}, {"value": "90"}]}
    other = {"timestamp": NOON, "sampledValue": [{"value": "230", "measurand": "Voltage", "unit": 5}]}
    data = [good, later, other, "entry", {"timestamp": NOON, "sampledValue": {"value": "9"}}]
    meaning = interpreted(stop(transactionData=data))
    first, second, ended = meaning.events
    assert isinstance(first, MeterRead)
    assert isinstance(second, MeterRead)
    assert isinstance(ended, SessionEnded)
    assert (first.register_wh, first.left_out) == (1261, ())
    assert (second.register_wh, second.left_out) == (90, ((BAD_VALUE, 2),))
    assert sorted(part.detail for part in meaning.quarantined) == [
        "StopTransaction: expected array at $.transactionData[4].sampledValue",
        "StopTransaction: expected object at $.transactionData[3]",
        "register_wh: not a number",
        "register_wh: not a number",
    ]


@pytest.mark.parametrize("field", ["unit", "phase", "location", "context", "format", "measurand"])
def test_a_sample_that_is_not_understood_completely_is_not_used(field: str) -> None:
    """Without its unit or its phase a number says something else."""
    meaning = interpreted(meter({"value": "1300", field: 5}, {"value": "50", "measurand": "SoC"}))
    reads = [event for event in meaning.events if isinstance(event, MeterRead)]
    assert [read.register_wh for read in reads] == [None] * len(reads)
    assert [read.left_out for read in reads if read.left_out] == [((BAD_VALUE, 1),)]
    assert [part.reason for part in meaning.quarantined] == ["BAD_VALUE"]


@pytest.mark.parametrize("sent", [None, "left", []])
def test_a_reading_without_a_connector_is_still_its_transactions(sent: object) -> None:
    (read,) = interpreted(meter(ENERGY, connectorId=sent)).events
    assert isinstance(read, MeterRead)
    assert (read.connector_id, read.transaction_id) == (None, KEYS.transaction_key(STATION, "77"))


def test_the_main_meter_is_connector_zero() -> None:
    assert reading(meter(ENERGY, connectorId=0, transactionId=None)).connector_id == 0


def test_an_energy_sample_needs_nothing_but_its_value() -> None:
    read = reading(meter(ENERGY))
    assert (read.register_wh, read.context, read.from_phases, read.codes) == (1261, "periodic", False, ())


def test_every_measurand_that_is_used() -> None:
    read = reading(
        meter(
            {"value": "35.0111", "measurand": "Energy.Active.Import.Register", "unit": "kWh"},
            {"value": "120", "measurand": "Energy.Active.Import.Interval", "unit": "Wh"},
            {"value": "49.9", "measurand": "Power.Active.Import", "unit": "kW"},
            {"value": "150000", "measurand": "Power.Offered", "unit": "W"},
            {"value": "82.5", "measurand": "SoC", "unit": "Percent", "location": "EV"},
            {"value": "hot", "measurand": "Temperature", "unit": "Celcius"},
            {"value": "?", "measurand": "Vendor.Secret"},
        )
    )
    assert (read.register_wh, read.interval_wh, read.power_w) == (35_011, 120, 49_900)
    assert (read.offered_w, read.soc_percent) == (150_000, 83)


@pytest.mark.parametrize(
    ("context", "known"),
    [
        ("Transaction.Begin", "begin"),
        ("Sample.Clock", "clock"),
        ("Interruption.End", "interruption"),
        ("Transaction.End", "end"),
        ("Trigger", "trigger"),
        ("Lunch", "other"),
    ],
)
def test_contexts(context: str, known: str) -> None:
    assert reading(meter({**ENERGY, "context": context})).context == known


def test_entries_of_one_instant_are_one_reading() -> None:
    """Some stations send an entry per value; entries without anything that is used make no reading (problem 28)."""
    entries = [
        {"timestamp": NOON, "sampledValue": [ENERGY]},
        {"timestamp": NOON, "sampledValue": [{"value": "50", "measurand": "SoC"}]},
        {"timestamp": "2026-03-02T12:00:00.002Z", "sampledValue": [{"value": "0.0", "measurand": "Voltage"}]},
        {"timestamp": "2026-03-02T12:00:30Z", "sampledValue": [{"value": "1300"}]},
    ]
    first, second = events(meter(meterValue=entries))
    assert isinstance(first, MeterRead)
    assert isinstance(second, MeterRead)
    assert (first.register_wh, first.soc_percent, second.register_wh) == (1261, 50, 1300)
    assert second.event_time_us - first.event_time_us == 30_000_000


def test_a_frame_with_nothing_that_is_used_still_shows_that_the_station_lives() -> None:
    (seen,) = events(meter({"value": "230", "measurand": "Voltage"}))
    assert seen == StationSeen(
        station_id=STATION, event_time_us=RECEIVED_US, received_time_us=RECEIVED_US, what="other"
    )


@pytest.mark.parametrize(
    ("total", "codes"), [("13200", ()), ("13400", ("PHASE_MISMATCH",)), ("9000", ("PHASE_MISMATCH",))]
)
def test_phases_that_differ_from_the_total_are_noted(total: str, codes: tuple[str, ...]) -> None:
    """More than 10 % of the larger (problem 31); here the phases add up to 12,000 W."""
    phases = [{"value": "4000", "measurand": "Power.Active.Import", "phase": p} for p in ("L1", "L2", "L3")]
    read = reading(meter(*phases, {"value": total, "measurand": "Power.Active.Import"}))
    assert (read.power_w, read.codes) == (int(total), codes)


def test_phases_and_total_of_an_idle_connector_may_differ_by_noise() -> None:
    phases = [{"value": "4", "measurand": "Power.Active.Import", "phase": p} for p in ("L1", "L2", "L3")]
    assert reading(meter(*phases, {"value": "0", "measurand": "Power.Active.Import"})).codes == ()


@pytest.mark.parametrize(
    "value", ["", "null", "NaN", "Infinity", "12,5", "0x10", "-4", "1e99", "9" * 30, "\uff11\uff12"]
)
def test_a_bad_value_costs_its_sample_and_not_its_batch(value: str) -> None:
    """Problem 32."""
    meaning = interpreted(meter({"value": value}, {"value": "50", "measurand": "SoC"}))
    (read,) = meaning.events
    assert isinstance(read, MeterRead)
    assert (read.register_wh, read.soc_percent) == (None, 50)
    (refused,) = meaning.quarantined
    assert refused.reason == "BAD_VALUE"
    assert value == "" or value not in refused.detail


@pytest.mark.parametrize(
    "sample",
    [
        {"value": "5", "unit": "J"},
        {"value": "5", "unit": "W"},
        {"value": "101", "measurand": "SoC"},
        {"value": None},
        {"value": ["5"]},
        {},
    ],
)
def test_a_bad_unit_or_range_is_a_bad_value_too(sample: dict[str, object]) -> None:
    meaning = interpreted(meter(sample))
    assert [part.reason for part in meaning.quarantined] == ["BAD_VALUE"]
    (read,) = meaning.events
    assert isinstance(read, MeterRead)
    assert (read.register_wh, read.soc_percent, read.left_out) == (None, None, ((BAD_VALUE, 1),))


def test_a_number_where_the_standard_wants_text_is_read_exactly() -> None:
    assert reading(meter({"value": 1261.50})).register_wh == 1262


def test_values_never_pass_through_a_float() -> None:
    """2.675 kWh would be 2674.9999... as a float, and half of 1 Wh is rounded up."""
    assert reading(meter({"value": "2.6745", "unit": "kWh"})).register_wh == 2675
    assert reading(meter({"value": "99999999.9995", "unit": "kWh"})).register_wh == 100_000_000_000


def test_an_unreadable_time_costs_its_entry_only() -> None:
    entries = [{"timestamp": when, "sampledValue": [ENERGY]} for when in ("whenever", NOON)]
    meaning = interpreted(meter(meterValue=entries))
    assert [part.reason for part in meaning.quarantined] == ["BAD_TIMESTAMP"]
    lost, read = meaning.events
    assert isinstance(lost, MeterRead)
    assert isinstance(read, MeterRead)
    assert (lost.register_wh, lost.left_out, lost.event_time_us) == (None, ((BAD_VALUE, 1),), RECEIVED_US)
    assert (lost.codes, read.register_wh, read.codes) == ((), 1261, ())


def test_a_reading_without_zone_is_noted() -> None:
    assert reading(meter(ENERGY, timestamp="2026-03-02T12:00:00")).codes == ("ZONE_ASSUMED",)


def test_vendor_fields_are_skipped_wherever_they_are() -> None:
    plain = reading(meter(ENERGY))
    assert reading(meter({**ENERGY, "vendor": {"idTag": "04A1B2C3"}}, customData=["04A1B2C3"])) == plain


def test_a_status_is_a_hint_with_its_own_time() -> None:
    payload = {"connectorId": 2, "status": "Faulted", "errorCode": "GroundFailure", "timestamp": NOON, "info": "x"}
    (reported,) = events(call("StatusNotification", payload))
    assert reported == StatusReported(
        station_id=STATION,
        event_time_us=NOON_US,
        received_time_us=RECEIVED_US,
        connector_id=2,
        status="Faulted",
        error_code="GroundFailure",
    )


@pytest.mark.parametrize("timestamp", [None, "", "now"])
def test_a_status_without_time_happened_when_it_was_received(timestamp: str | None) -> None:
    (reported,) = events(call("StatusNotification", {"connectorId": 0, "status": "Nap", "timestamp": timestamp}))
    assert isinstance(reported, StatusReported)
    assert (reported.event_time_us, reported.status, reported.error_code) == (RECEIVED_US, "Other", "NoError")


def test_an_error_code_that_nobody_knows_becomes_other_error() -> None:
    payload = {"connectorId": 1, "status": "Charging", "errorCode": "err 04A1B2C3"}
    (reported,) = events(call("StatusNotification", payload))
    assert isinstance(reported, StatusReported)
    assert reported.error_code == "OtherError"


@pytest.mark.parametrize(
    ("action", "what"),
    [
        ("Heartbeat", "heartbeat"),
        ("Authorize", "authorize"),
        ("BootNotification", "boot"),
        ("DataTransfer", "other"),
        ("FirmwareStatusNotification", "other"),
        ("SomethingOfTheVendor", "other"),
    ],
)
def test_messages_that_only_show_life(action: str, what: str) -> None:
    (seen,) = events(call(action, {"idTag": "04A1B2C3", "iccid": "8949", "chargePointSerialNumber": "S-1"}))
    assert isinstance(seen, StationSeen)
    assert (seen.what, seen.event_time_us) == (what, RECEIVED_US)
