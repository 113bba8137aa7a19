"""A session of any length is billed right, and small: what is old is packed, and thinned where nothing shows it."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import pytest

from pipeline.domain.events import ClockTicked, MeterRead, SessionEnded, SessionStarted
from pipeline.domain.station import HOUR, MINUTE, STRIDE
from tests.long_sessions import Car, Stage
from tests.receipts import STARTED_US, TARIFF

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
Events = Iterable[SessionStarted | MeterRead | SessionEnded]


def bounded(monkeypatch: pytest.MonkeyPatch, whole: int) -> None:
    """The bounds of long sessions as if `whole` readings were many; the last ten minutes stay as they are."""
    monkeypatch.setattr("pipeline.domain.rating.folding.WHOLE", whole)
    monkeypatch.setattr("pipeline.domain.rating.folding.WHOLE_US", 10 * MINUTE)
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


@pytest.mark.parametrize("tariff", [TARIFF, TIERS, POWER], ids=["night", "tiers", "power"])
@pytest.mark.parametrize("car", CARS.values(), ids=CARS)
def test_a_folded_session_is_published_billed_and_accounted_as_the_whole_one(
    car: Car, tariff: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Byte for byte, unless late evidence comes into what is folded."""
    whole = told(car.events(), tariff)
    bounded(monkeypatch, 400)
    folded = told(car.events(), tariff, restart=True)
    assert folded.records == whole.records
    assert receipts(folded) == receipts(whole)
    (session,) = whole.sessions.values()
    assert session.energy_wh == car.register(car.stays_s) - car.register(0)
