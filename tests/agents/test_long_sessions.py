"""A session of any length is billed right, and small: what is old is packed, and thinned where nothing shows it."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import msgspec
import pytest

from pipeline.domain.events import ClockTicked, MeterRead, SessionEnded, SessionStarted
from pipeline.domain.outputs import StrippedSession
from pipeline.domain.station import HOUR, MINUTE, SECOND, STRIDE
from pipeline.edge.chargers.quirks import protocols
from pipeline.edge.chargers.registry import QUIRKS
from tests.long_sessions import Car, Stage
from tests.receipts import STARTED_US, TARIFF
from tests.scored.quirks import assemble, station_said

HOURS = 6 * 3600
CAR = Car(stays_s=HOURS, every_s=5, charges_s=14_000, pauses_s=1_500)
CARS = {
    "plain": replace(CAR, pauses_s=0, charges_s=HOURS),
    "parked": replace(CAR, pauses_s=0, charges_s=9_000),
    "paused": CAR,
    "states": replace(CAR, with_state=True),
    "no-power": replace(CAR, with_power=False),
    "no-power-parked": replace(CAR, with_power=False, pauses_s=0, charges_s=9_000),
    "coarse": replace(CAR, step_wh=100, pauses_s=0),
    "coarse-no-power": replace(CAR, step_wh=100, with_power=False, pauses_s=0, charges_s=HOURS - 700),
    "kwh": replace(CAR, step_wh=1000, pauses_s=0, with_state=True),
    "slow": replace(CAR, watts=1_400, every_s=3),
    "every-minute": replace(CAR, every_s=60),
    "every-7-s": replace(CAR, every_s=7, seed=3),
}
TIERS = TARIFF | {
    "elements": [
        {
            "price_components": [{"type": "ENERGY", "price": 0.4, "vat": 19, "step_size": 1}],
            "restrictions": {"max_kwh": 7.3},
        },
        {
            "price_components": [{"type": "TIME", "price": 1.2, "vat": 19, "step_size": 1}],
            "restrictions": {"min_duration": 7_234},
        },
        {"price_components": [{"type": "ENERGY", "price": 0.5, "vat": 19, "step_size": 1}]},
        {"price_components": [{"type": "PARKING_TIME", "price": 3, "vat": 19, "step_size": 1}]},
    ]
}
POWER = TARIFF | {
    "elements": [
        {
            "price_components": [{"type": "ENERGY", "price": 0.4, "vat": 19, "step_size": 1}],
            "restrictions": {"max_power": 3.5},
        },
        {"price_components": [{"type": "ENERGY", "price": 0.5, "vat": 19, "step_size": 1}]},
    ]
}
UNPROVEN = {"meter_sticks", "stop_register_unreadable"}
Events = Iterable[SessionStarted | MeterRead | SessionEnded]


def bounded(monkeypatch: pytest.MonkeyPatch, whole: int) -> None:
    """The bounds of long sessions as if `whole` readings were many; the last ten minutes stay as they are."""
    monkeypatch.setattr("pipeline.domain.publishing.folding.WHOLE", whole)
    monkeypatch.setattr("pipeline.domain.publishing.folding.WHOLE_US", 10 * MINUTE)
    monkeypatch.setattr("pipeline.agents.records.LONG", whole * STRIDE)
    monkeypatch.setattr("pipeline.domain.station_codec.BLOCK", whole // 4)


def told(events: Events, tariff: object = TARIFF, *, restart: bool = False) -> Stage:
    """The stage after the events and all ticks; `restart`: its state was stored and read back every ten minutes."""
    stage = Stage(tariff=tariff)
    due = STARTED_US
    for event in events:
        stage.feed(event)
        last = event.event_time_us
        if restart and last > due:
            stage.restart()
            due = last + 10 * MINUTE
    for hour in range(1, 4):
        stage.feed(ClockTicked(time_us=last + hour * HOUR))
    return stage


def receipts(stage: Stage) -> list[dict[str, Any]]:
    """All that they say but the readings themselves, of which a folded session has fewer."""
    found = [json.loads(value) for value in stage.receipts]
    return [
        {name: value for name, value in each.items() if name not in ("times_us", "registers_wh", "powers_w", "hash")}
        for each in found
    ]


ALL_CARS = [pytest.param(car, TARIFF, id=f"night-{name}") for name, car in CARS.items()]
SOME_CARS = [
    pytest.param(CARS[name], tariff, id=f"{kind}-{name}")
    for kind, tariff in (("tiers", TIERS), ("power", POWER))
    for name in ("plain", "paused", "states", "coarse-no-power", "every-7-s")
]


@pytest.mark.parametrize(("car", "tariff"), [*ALL_CARS, *SOME_CARS])
def test_a_folded_session_is_published_billed_and_accounted_as_the_whole_one(
    car: Car, tariff: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Byte for byte, unless late evidence comes into what is folded."""
    whole = told(car.events(), tariff)
    bounded(monkeypatch, 400)
    folded = told(car.events(), tariff)
    assert told(car.events(), tariff, restart=True).receipts == folded.receipts
    assert folded.records == whole.records
    assert receipts(folded) == receipts(whole)
    (session,) = whole.sessions.values()
    assert session.energy_wh == car.register(car.stays_s) - car.register(0)


def test_a_day_at_1_hz_is_right_to_the_wh_and_the_cent_and_stays_small() -> None:
    """The seven days on four connectors: `python -m tests.long_sessions`."""
    car = Car(stays_s=86_400, charges_s=50_000, with_state=True)
    stage, largest = Stage(), 0
    for number, event in enumerate(car.events()):
        stage.feed(event)
        if number % 10_000 == 9_999:
            largest = max(largest, len(stage.logic.dump(stage.station)))
            assert stage.updates == number // 60
    for hour in range(1, 4):
        stage.feed(ClockTicked(time_us=STARTED_US + 86_400 * SECOND + hour * HOUR))
    (session,) = stage.sessions.values()
    assert (session.energy_wh, session.payable_incl_vat) == (car.register(86_400) - car.register(0), car.payable())
    assert (session.evidence, session.bill_state, session.quality) == ("complete", "FINAL", ())
    assert stage.verdicts() == ["OK"]
    assert largest < 150_000  # as it came: 4.1 MB
    assert len(stage.receipts[0]) < 300_000
    assert len(json.loads(stage.receipts[0])["times_us"]) < 10_000


def with_late(car: Car, minute: float, register_wh: int) -> Events:
    """A reading of this minute comes when the car leaves."""
    events = list(car.events())
    at = STARTED_US + int(minute * MINUTE)
    late = replace_event(
        events[1], event_time_us=at, received_time_us=events[-2].event_time_us, register_wh=register_wh
    )
    return [*events[:-1], late, events[-1]]


@pytest.mark.parametrize(
    ("minute", "register", "evidence", "left_out"),
    [
        (65.1, 7_596, "complete", {"LATE_READING_UNUSED": 2}),
        (65.1, 9_000, "estimated", {"LATE_READING_UNUSED": 2}),
        (65, 7_583, "complete", {"SECOND_VALUE": 1}),  # a reading of just that time was kept, with another power
    ],
)
def test_late_evidence_of_a_folded_stretch_is_accounted_for(
    minute: float, register: int, evidence: str, left_out: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is not used; if it says what is not between the readings that are kept, the session is not complete."""
    bounded(monkeypatch, 400)
    car = CARS["plain"]
    stage = told(with_late(car, minute, 100_000 + register))
    (session,) = stage.sessions.values()
    assert (session.evidence, session.energy_wh) == (evidence, car.wh_at(HOURS))
    account = json.loads(stage.receipts[-1])["account"]
    assert {each["reason"]: each["count"] for each in account["left_out"]} == left_out
    assert ("EVIDENCE_THINNED" in session.quality) is (evidence == "estimated")


@pytest.mark.parametrize("field", ["power_w", "interval_wh"])
def test_evidence_of_which_each_value_counts_is_kept_up_to_a_bound(field: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Power alone, and intervals: thinned, they would tell another energy, so they are kept, or it is said."""

    def events() -> Events:
        for event in replace(CAR, every_s=5, watts=7_200).events():
            if isinstance(event, MeterRead):
                watts = event.power_w if field == "power_w" else None
                every = 10 if event.register_wh is not None and CAR.watts_at(second_of(event)) else 0
                yield replace_event(
                    event, register_wh=None, power_w=watts, interval_wh=every if field == "interval_wh" else None
                )
            else:
                yield replace_event(event, register_wh=None) if isinstance(event, SessionEnded) else event

    whole = told(events())
    bounded(monkeypatch, 400)
    kept = told(events())
    assert kept.records == whole.records
    monkeypatch.setattr("pipeline.domain.publishing.folding.MOST_READINGS", 1000)
    (thinned,) = told(events()).sessions.values()
    (session,) = whole.sessions.values()
    assert "EVIDENCE_THINNED" in thinned.quality
    assert thinned.evidence == "estimated"
    assert session.energy_wh is not None
    assert thinned.energy_wh is not None
    if field == "interval_wh":
        assert thinned.energy_wh == session.energy_wh  # what is thinned is added to what stays
    assert abs(thinned.energy_wh - session.energy_wh) * 100 <= session.energy_wh


@pytest.mark.parametrize("name", QUIRKS)
def test_a_charger_with_a_quirk_is_folded_without_a_trace(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its readings are a minute apart, so here they are thinned to one in two minutes.

    Where energy is not proven, its upper bound may be wider by what flows between two of these.
    """
    said = station_said([name], protocols((name,))[0], 1)
    whole = assemble(said).records
    bounded(monkeypatch, 40)
    monkeypatch.setattr("pipeline.domain.metering.thinning.EVERY", 2 * MINUTE)
    folded = assemble(said).records
    assert whole
    assert [without_bounds(each) for _, each in folded] == [without_bounds(each) for _, each in whole]
    for (_, one), (_, other) in zip(folded, whole, strict=True):
        assert (one.energy_high_wh or 0) - (other.energy_high_wh or 0) in range(1_000)
        assert one.unobserved_s - other.unobserved_s in range(121)
        assert name in UNPROVEN or one == other


def without_bounds(record: StrippedSession) -> StrippedSession:
    return replace_event(record, energy_high_wh=0, unobserved_s=0, content_hash="")  # type: ignore[no-any-return]


def replace_event(event: Any, **fields: object) -> Any:
    return msgspec.structs.replace(event, **fields)


def second_of(event: MeterRead) -> int:
    return (event.event_time_us - STARTED_US) // SECOND
