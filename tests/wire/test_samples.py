"""Which of the values of one instant make a reading, and that every other one is accounted for with its reason."""

from __future__ import annotations

from itertools import permutations

import msgspec
import pytest

from pipeline.domain.events import (
    BAD_VALUE,
    NOT_A_PHASE,
    OTHER_LOCATION,
    PHASE_BESIDE_TOTAL,
    SECOND_VALUE,
    SIGNED,
    MeterRead,
)
from pipeline.wire.meter_events import Decoder
from tests.wire.charger import KEYS, NOON, NOON_US, STATION, call, interpreted

POWER = {"measurand": "Power.Active.Import"}
BEGIN = {"context": "Transaction.Begin"}


def meter(*samples: object, protocol: str | None = None) -> bytes:
    entries = [{"timestamp": NOON, "sampledValue": list(samples)}]
    if protocol is None:
        return call("MeterValues", {"connectorId": 1, "transactionId": 77, "meterValue": entries})
    return call("MeterValues", {"evseId": 1, "meterValue": entries}, protocol=protocol)


def read(*samples: object, refused: tuple[str, ...] = (), protocol: str | None = None) -> MeterRead:
    """The one reading of these samples, of which just `refused` go to the dead letters."""
    meaning = interpreted(meter(*samples, protocol=protocol))
    assert tuple(part.reason for part in meaning.quarantined) == refused
    (event,) = meaning.events
    assert isinstance(event, MeterRead)
    return event


def phases(*values: tuple[str, str], **more: str) -> list[dict[str, str]]:
    return [{"phase": phase, "value": value, **more} for phase, value in values]


@pytest.mark.parametrize(
    ("sent", "register", "bits"),
    [
        ([("L1", "400.4"), ("L2", "400.4"), ("L3", "400.4")], 1201, 7),
        ([("L1-N", "400"), ("L2-N", "400"), ("L3-N", "400")], 1200, 7),
        ([("L1", "400")], 400, 1),
        ([("L2", "400")], 400, 2),
        ([("L3-N", "400")], 400, 4),
        ([("L1", "400"), ("L3", "500")], 900, 5),
        ([("L1", "400"), ("L2", "500")], 900, 3),
    ],
)
def test_without_a_total_the_register_is_the_sum_of_the_phases_that_exist(
    sent: list[tuple[str, str]], register: int, bits: int
) -> None:
    """Which they are is told: one phase may be a third of the energy, or all of it."""
    event = read(*phases(*sent))
    assert (event.register_wh, event.phases, event.from_phases) == (register, bits, bits == 7)
    assert event.left_out == ()


def test_phases_are_never_added_to_a_total() -> None:
    event = read(*phases(("L1", "400"), ("L2", "400"), ("L3", "410")), {"value": "1210"})
    assert (event.register_wh, event.phases, event.from_phases) == (1210, 0, False)
    assert event.left_out == ((PHASE_BESIDE_TOTAL, 3),)


@pytest.mark.parametrize(
    ("measurand", "field"),
    [
        ("Power.Active.Import", "power_w"),
        ("Energy.Active.Import.Interval", "interval_wh"),
        ("Power.Offered", "offered_w"),
    ],
)
def test_power_and_intervals_are_the_total_or_the_sum_of_what_exists(measurand: str, field: str) -> None:
    two = phases(("L1", "400"), ("L3", "410"), measurand=measurand)
    event = read(*two)
    assert (getattr(event, field), event.phases, event.left_out) == (810, 0, ())
    event = read(*two, {"value": "900", "measurand": measurand})
    assert (getattr(event, field), event.left_out) == (900, ((PHASE_BESIDE_TOTAL, 2),))


def test_a_neutral_or_a_pair_of_phases_is_no_part_of_a_sum() -> None:
    event = read({"value": "5"}, *phases(("N", "7"), ("L1-L2", "9"), ("L4", "1")))
    assert (event.register_wh, event.left_out) == (5, ((NOT_A_PHASE, 3),))
    event = read({"value": "50", "measurand": "SoC", "phase": "L1"}, {"value": "60", "measurand": "SoC"})
    assert (event.soc_percent, event.left_out) == (60, ((NOT_A_PHASE, 1),))


def test_a_reading_of_which_nothing_is_used_still_tells_what_was_left_out() -> None:
    event = read(*phases(("N", "7"), ("L1-L2", "9")))
    assert (event.register_wh, event.left_out) == (None, ((NOT_A_PHASE, 2),))
    assert (event.event_time_us, event.transaction_id) == (NOON_US, KEYS.transaction_key(STATION, "77"))


def test_the_nearest_meter_counts_whatever_the_order() -> None:
    inlet, outlet = {"value": "1300", "location": "Inlet"}, {"value": "1261", "location": "Outlet"}
    for sent in ((inlet, outlet), (outlet, inlet)):
        event = read(*sent)
        assert (event.register_wh, event.left_out) == (1261, ((OTHER_LOCATION, 1),))
    assert read(inlet).register_wh == 1300


def test_phases_of_two_meters_are_not_added() -> None:
    outlet = phases(("L1", "400"), ("L2", "401"))
    inlet = phases(("L3", "9000"), location="Inlet")
    event = read(*inlet, *outlet)
    assert (event.register_wh, event.phases, event.left_out) == (801, 3, ((OTHER_LOCATION, 1),))


def test_a_total_elsewhere_counts_more_than_phases_at_the_outlet() -> None:
    event = read(*phases(("L1", "400"), ("L2", "401"), ("L3", "402")), {"value": "1200", "location": "Body"})
    assert (event.register_wh, event.phases, event.left_out) == (1200, 0, ((OTHER_LOCATION, 3),))


def test_an_unreadable_total_is_not_replaced_by_another_meter() -> None:
    """The register of another meter would be a jump in the session."""
    event = read({"value": "n/a"}, {"value": "77", "location": "Inlet"}, refused=("BAD_VALUE",))
    assert (event.register_wh, event.left_out) == (None, ((BAD_VALUE, 1), (OTHER_LOCATION, 1)))


def test_an_upstream_meter_is_never_the_sessions() -> None:
    """OCPP 2.1: other loads pass it, too."""
    event = read({"value": 5_000_000, "location": "Upstream"}, protocol="ocpp2.1")
    assert (event.register_wh, event.left_out) == (None, ((OTHER_LOCATION, 1),))


def test_signed_data_are_evidence_and_never_a_number() -> None:
    event = read({"value": "1261"}, {"value": "OCMF|{...}|7", "format": "SignedData"})
    assert (event.register_wh, event.codes, event.left_out) == (1261, ("SIGNED_EVIDENCE",), ((SIGNED, 1),))


@pytest.mark.parametrize("context", ["Sample.Periodic", "Transaction.End", "Trigger"])
def test_a_frozen_begin_value_beside_another_is_a_reading_of_its_own(context: str) -> None:
    """Context is a part of the key: no conflict, whichever comes first."""
    for order in permutations([{"value": "1200", **BEGIN}, {"value": "1500", "context": context}]):
        meaning = interpreted(meter(*order))
        assert meaning.quarantined == []
        found = {e.context: e.register_wh for e in meaning.events if isinstance(e, MeterRead)}
        assert found.pop("begin") == 1200
        assert list(found.values()) == [1500]


KWH = {"unit": "kWh"}


@pytest.mark.parametrize(
    ("first", "second", "kept"),
    [
        ({"value": "1261"}, {"value": "1261"}, 1261),
        ({"value": "12.34", **KWH}, {"value": "12344"}, 12344),
        ({"value": "12.34", **KWH}, {"value": "12331"}, 12331),
        ({"value": "12", **KWH}, {"value": "12.6", **KWH}, 12600),
        ({"value": "12.3", **KWH}, {"value": "12.34", **KWH}, 12340),
        ({"value": "1261.4"}, {"value": "1261"}, 1261),
    ],
)
def test_values_that_differ_by_less_than_the_coarser_one_can_say_are_one(
    first: dict[str, str], second: dict[str, str], kept: int
) -> None:
    """The finer is kept, whichever comes first."""
    for sent in ((first, second), (second, first)):
        event = read(*sent)
        assert (event.register_wh, event.left_out) == (kept, ())


def test_a_multiplier_makes_a_value_coarser() -> None:
    hundreds = {"value": 12, "unitOfMeasure": {"unit": "Wh", "multiplier": 2}}
    assert read(hundreds, {"value": 1270}, protocol="ocpp2.0.1").register_wh == 1270
    event = read(hundreds, {"value": 1300}, protocol="ocpp2.0.1", refused=("ID_CONFLICT",))
    assert (event.register_wh, event.left_out) == (1200, ((SECOND_VALUE, 1),))


@pytest.mark.parametrize(
    ("first", "second", "kept"),
    [
        ({"value": "1261"}, {"value": "1262"}, 1261),
        ({"value": "12.34", **KWH}, {"value": "12350"}, 12340),
        ({"value": "12350"}, {"value": "12.34", **KWH}, 12350),
        ({"value": "12.340", **KWH}, {"value": "12341"}, 12340),
    ],
)
def test_two_registers_of_one_key_are_a_conflict(first: dict[str, str], second: dict[str, str], kept: int) -> None:
    event = read(first, second, refused=("ID_CONFLICT",))
    assert (event.register_wh, event.left_out) == (kept, ((SECOND_VALUE, 1),))


def test_a_second_sensor_for_anything_but_energy_is_counted_only() -> None:
    event = read({"value": "400", **POWER}, {"value": "700", **POWER})
    assert (event.power_w, event.left_out) == (400, ((SECOND_VALUE, 1),))


def test_a_conflict_in_one_phase_is_one_too() -> None:
    event = read(*phases(("L1", "400"), ("L1", "500"), ("L2", "3")), refused=("ID_CONFLICT",))
    assert (event.register_wh, event.phases, event.left_out) == (403, 3, ((SECOND_VALUE, 1),))


def test_what_was_left_out_does_not_depend_on_the_order_of_the_samples() -> None:
    samples = [{"value": "5"}, *phases(("L1", "2"), ("N", "7")), {"value": "x"}, {"value": "6", "location": "EV"}]
    told = {read(*order, refused=("BAD_VALUE",)).left_out for order in permutations(samples)}
    assert told == {((BAD_VALUE, 1), (NOT_A_PHASE, 1), (OTHER_LOCATION, 1), (PHASE_BESIDE_TOTAL, 1))}


def test_what_is_left_out_is_ours_to_tell() -> None:
    sent = {"type": "meter_read", "station_id": STATION, "event_time_us": 1, "left_out": [["FORGED", 3]]}
    event = Decoder(KEYS).decode(msgspec.json.encode(sent))
    assert isinstance(event, MeterRead)
    assert event.left_out == ()


def test_one_instant_is_one_reading_however_its_time_is_written() -> None:
    times = (NOON, "2026-03-02T12:00:00.000Z", "2026-03-02T13:00:00+01:00")
    samples = ({"value": "5"}, {"value": "7", **POWER}, {"value": "50", "measurand": "SoC"})
    entries = [{"timestamp": at, "sampledValue": [sample]} for at, sample in zip(times, samples, strict=True)]
    (event,) = interpreted(call("MeterValues", {"connectorId": 1, "meterValue": entries})).events
    assert isinstance(event, MeterRead)
    assert (event.event_time_us, event.register_wh, event.power_w, event.soc_percent) == (NOON_US, 5, 7, 50)


@pytest.mark.parametrize("protocol", ["ocpp2.0.1", "ocpp2.1"])
def test_what_a_car_shows_or_asks_for_is_no_energy(protocol: str) -> None:
    """OCPP 2.1; nor is it a fault."""
    shown = [
        {"value": 9000, "measurand": "EnergyRequest.Target", "unitOfMeasure": {"unit": "Wh"}},
        {"value": 81, "measurand": "Display.PresentSOC", "unitOfMeasure": {"unit": "Percent"}},
        {"value": 1800, "measurand": "Display.RemainingTimeToTargetSOC"},
    ]
    event = read({"value": 5}, *shown, protocol=protocol)
    assert event == read({"value": 5}, protocol=protocol)


def test_the_new_name_of_offered_power_is_known() -> None:
    assert read({"value": 22000, "measurand": "Power.Import.Offered"}, protocol="ocpp2.1").offered_w == 22000
