"""When cars come to a connector, how they charge, and what the connector says about it: one visit after another.

Energy is an integer of W x us, registers are Wh, times us UTC. The faults are in edge/faults.py; time and order of
arrival are in edge/simulator.py.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from random import Random
from zoneinfo import ZoneInfo

from pipeline.domain.events import ChargingState, MeterRead, SessionEnded, SessionStarted, StatusReported
from pipeline.edge.faults import HOUR, SECOND, Meter, SimulatedEvent, Visit
from pipeline.edge.fleet import Car, PowerType, SimulatedConnector, SimulatedStation, draw_car, driver_token

DRIVERS = 2_000
WATT_US_PER_WH = 3_600_000_000

TAPER: Mapping[PowerType, Sequence[int]] = {  # power by state of charge 0..100 %, in thousandths of the highest
    "AC": [1000 if soc < 92 else 1000 - (soc - 92) * 90 for soc in range(101)],
    "DC": [1000 if soc < 55 else max(80, 1000 - (soc - 55) * 21) for soc in range(101)],
}
# fmt: off
ARRIVALS: Mapping[PowerType, Sequence[Sequence[float]]] = {  # by local hour, on weekdays and at weekends; mean about 1
    "AC": (
        (.1, .1, .1, .1, .1, .3, .8, 2., 2.6, 1.6, 1., .9, 1., .9, .8, 1., 1.5, 2.4, 2.6, 1.8, 1.2, .6, .3, .2),
        (.2, .1, .1, .1, .1, .1, .3, .6, 1.2, 1.8, 2., 1.8, 1.5, 1.5, 1.6, 1.6, 1.5, 1.4, 1.3, 1.1, .8, .5, .4, .3),
    ),
    "DC": (
        (.2, .1, .1, .1, .2, .4, .9, 1.2, 1.2, 1.2, 1.4, 1.6, 1.6, 1.5, 1.5, 1.6, 1.8, 1.9, 1.6, 1.2, .9, .6, .4, .3),
        (.3, .2, .1, .1, .1, .2, .4, .7, 1.2, 1.7, 2.1, 2.2, 2., 1.9, 2., 2., 1.9, 1.6, 1.3, 1., .7, .5, .4, .3),
    ),
}
# fmt: on
BUSIEST = max(weight for days in ARRIVALS.values() for day in days for weight in day)


def arrivals(
    random: Random, power_type: PowerType, zone: ZoneInfo, start_us: int, end_us: int, per_day: float
) -> Iterator[int]:
    """Arrival times by local hour and weekday, thinned from a steady stream; whole milliseconds, in us UTC."""
    if per_day <= 0:
        return
    days = ARRIVALS[power_type]
    mean_us = 24 * HOUR / (per_day * BUSIEST)
    at_us = start_us
    while True:
        at_us += round(random.expovariate(1 / mean_us) / 1000) * 1000
        if at_us >= end_us:
            return
        local = datetime.fromtimestamp(at_us // SECOND, zone)
        if random.random() * BUSIEST < days[local.weekday() >= 5][local.hour]:
            yield at_us


def draw_visit(
    random: Random,
    seed: int,
    station: SimulatedStation,
    connector: SimulatedConnector,
    zone: ZoneInfo,
    start_us: int,
    number: int,
) -> Visit:
    """The `number`-th visit of a connector: a car of the population, from its state of charge to its target."""
    car, fast = draw_car(random), connector.power_type == "DC"
    soc = random.randrange(8, 65)
    target = random.randrange(max(soc + 5, 55), 92) if fast else random.randrange(max(soc + 5, 80), 101)
    peak_w, taper = _peak_w(connector, car), TAPER[connector.power_type]
    seconds = sum(car.battery_wh * 36_000 // (peak_w * taper[percent]) for percent in range(soc, target))
    charge_end_us = start_us + seconds * SECOND
    return Visit(
        station_id=station.station_id,
        connector_id=connector.connector_id,
        transaction_id=f"{station.station_id}-{connector.connector_id}-{number}",
        token=driver_token(seed, random.randrange(DRIVERS)),
        power_type=connector.power_type,
        max_power_w=connector.max_power_w,
        car=car,
        soc_percent=soc,
        start_us=start_us,
        charge_end_us=charge_end_us,
        end_us=charge_end_us + round(_idle_s(random, fast, charge_end_us, zone) * 1000) * 1000,
        reason="EVDisconnected" if random.random() < 0.5 else "Local",
    )


def _peak_w(connector: SimulatedConnector, car: Car) -> int:
    return min(connector.max_power_w, car.dc_w if connector.power_type == "DC" else car.ac_w)


def _idle_s(random: Random, fast: bool, charge_end_us: int, zone: ZoneInfo) -> float:
    """How long the car stays after charging: minutes at DC; at AC hours, or overnight until the local morning."""
    if fast:
        return random.uniform(5, 900) if random.random() < 0.6 else 3.0
    local = datetime.fromtimestamp(charge_end_us // SECOND, zone)
    if (local.hour >= 20 or local.hour < 5) and random.random() < 0.7:
        return (7 - local.hour) % 24 * 3600 + random.uniform(0, 3600)
    return random.uniform(5, 10_800)


def session_events(
    visit: Visit, meter: Meter, station: SimulatedStation, connector: SimulatedConnector, clock: str
) -> Iterator[SimulatedEvent]:
    """What the connector says about one visit, by time; after the visit its true energy is on `meter`."""
    events = _events(visit, meter, station, connector, clock)
    return _numbered(events) if station.numbered else events


def _numbered(events: Iterator[SimulatedEvent]) -> Iterator[SimulatedEvent]:
    seq_no = 0
    for event in events:
        if not isinstance(event, StatusReported):
            event.seq_no = seq_no
            seq_no += 1
        yield event


def _events(
    visit: Visit, meter: Meter, station: SimulatedStation, connector: SimulatedConnector, clock: str
) -> Iterator[SimulatedEvent]:
    station_id, connector_id, transaction_id = visit.station_id, visit.connector_id, visit.transaction_id
    shown_wh, interval_us = meter.shown_wh, station.interval_s * SECOND
    battery_wh, taper = visit.car.battery_wh, TAPER[visit.power_type]
    peak_w, states_soc = _peak_w(connector, visit.car), visit.power_type == "DC"

    def status(at_us: int, word: str) -> StatusReported:
        return StatusReported(
            station_id=station_id, event_time_us=at_us, clock=clock, connector_id=connector_id, status=word
        )

    def reading(at_us: int, register_wh: int, power_w: int, soc: int, state: ChargingState) -> MeterRead:
        return MeterRead(
            station_id=station_id, event_time_us=at_us, clock=clock, connector_id=connector_id,
            transaction_id=transaction_id, register_wh=register_wh, power_w=power_w,
            soc_percent=soc if states_soc else None, state=state,
        )  # fmt: skip

    yield status(visit.start_us - 20 * SECOND, "Preparing")
    yield SessionStarted(
        station_id=station_id,
        event_time_us=visit.start_us,
        clock=clock,
        connector_id=connector_id,
        transaction_id=transaction_id,
        register_wh=shown_wh,
        token=visit.token,
        token_type="ISO14443",  # noqa: S106 - the kind of tag, not a password
    )
    flowed, soc, power_w, last_us = 0, visit.soc_percent, peak_w * taper[visit.soc_percent] // 1000, visit.start_us
    if visit.charge_end_us > visit.start_us:
        yield status(visit.start_us + SECOND, "Charging")
    for at_us in range(visit.start_us + interval_us, visit.charge_end_us, interval_us):
        flowed += power_w * interval_us
        wh = flowed // WATT_US_PER_WH
        soc = min(100, visit.soc_percent + wh * 100 // battery_wh)
        yield reading(at_us, shown_wh + wh, power_w, soc, "charging")
        power_w, last_us = peak_w * taper[soc] // 1000, at_us
    wh = (flowed + power_w * (visit.charge_end_us - last_us)) // WATT_US_PER_WH
    meter.lifetime_wh += wh
    if visit.end_us - visit.charge_end_us >= interval_us:
        yield status(visit.charge_end_us, "SuspendedEV")
    for at_us in range(last_us + interval_us, visit.end_us, interval_us):
        yield reading(at_us, shown_wh + wh, 0, soc, "suspended_ev")
    yield SessionEnded(
        station_id=station_id,
        event_time_us=visit.end_us,
        clock=clock,
        connector_id=connector_id,
        transaction_id=transaction_id,
        register_wh=shown_wh + wh,
        reason=visit.reason,
    )
    yield status(visit.end_us + SECOND, "Finishing")
    yield status(visit.end_us + 30 * SECOND, "Available")
