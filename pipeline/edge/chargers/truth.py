"""What really happens at virtual chargers: cars, power, energy, times and drivers, before anything is measured.

The rule of this file: physics only. It imports nothing of the pipeline, so that no rule of the pipeline gets into what
the pipeline is compared with. Power is piecewise linear; energy is integer mWh, times are us UTC.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from functools import cached_property
from random import Random
from typing import Literal

import msgspec

SECOND = 1_000_000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
QUARTER = 15 * MINUTE
WATT_US_PER_MWH = 3_600_000

Activity = Literal["charging", "idle", "evse_pause"]
"""`idle`: the car asks for no power. A pause of the station is not idle."""

AC_RATINGS_W = (3_700, 7_400, 11_000, 22_000)
DC_RATINGS_W = (50_000, 150_000)
LEAST_WH = 2_200
"""A session that charges takes at least so much, whatever its power: more than twice the coarsest resolution."""


class ChargingPeriod(msgspec.Struct, frozen=True, kw_only=True):
    """A part of a session with linear power and one activity."""

    from_us: int
    to_us: int
    from_w: int = 0
    to_w: int = 0
    activity: Activity

    def energy_mwh(self, at_us: int) -> int:
        """Energy of this period until `at_us`."""
        length = self.to_us - self.from_us
        passed = min(at_us - self.from_us, length)
        if passed <= 0:
            return 0
        return (self.from_w * passed + (self.to_w - self.from_w) * passed * passed // (2 * length)) // WATT_US_PER_MWH

    def power_w(self, at_us: int) -> int:
        return self.from_w + (self.to_w - self.from_w) * (at_us - self.from_us) // (self.to_us - self.from_us)


class ChargingTruth(msgspec.Struct, frozen=True, kw_only=True, dict=True):
    """One car at one connector. `periods` cover it without holes; `token` is that of a driver who does not exist."""

    station_id: str
    connector_id: int
    transaction_id: str
    """The id that a sound station and central system would use."""
    token: str
    power_type: Literal["AC", "DC"]
    start_us: int
    end_us: int
    lifetime_mwh: int
    """All energy that had ever passed the connector at the start: the true register."""
    periods: tuple[ChargingPeriod, ...] = msgspec.field(name="stretches")

    @cached_property
    def energy_mwh(self) -> int:
        return self.energy_until(self.end_us)

    @cached_property
    def energy_wh(self) -> int:
        """As measured by a meter without faults and with a resolution of 1 Wh: the difference of two registers."""
        return (self.lifetime_mwh + self.energy_mwh) // 1000 - self.lifetime_mwh // 1000

    @cached_property
    def idle_us(self) -> int:
        return sum(period.to_us - period.from_us for period in self.periods if period.activity == "idle")

    @property
    def charging_us(self) -> int:
        return self.end_us - self.start_us - self.idle_us

    def energy_until(self, at_us: int) -> int:
        """mWh from the start until `at_us`."""
        return sum(period.energy_mwh(at_us) for period in self.periods)

    def energy_between(self, from_us: int, to_us: int) -> int:
        return self.energy_until(to_us) - self.energy_until(from_us)

    def period_at(self, at_us: int) -> ChargingPeriod:
        return next((period for period in self.periods if at_us < period.to_us), self.periods[-1])

    def quarters(self) -> tuple[tuple[int, int], ...]:
        """(start us UTC, mWh) of each quarter of an hour; they add up to the energy exactly."""
        starts = range(self.start_us // QUARTER * QUARTER, self.end_us, QUARTER)
        return tuple((at, self.energy_between(max(at, self.start_us), min(at + QUARTER, self.end_us))) for at in starts)


@dataclass(frozen=True, slots=True)
class StationTruth:
    """A station and all that happens at it. `sessions` of each connector in order; they do not overlap."""

    station_id: str
    power_type: Literal["AC", "DC"]
    rating_w: int
    """The most that the wiring delivers; the site's documents may name another rating."""
    interval_us: int
    """Of its readings."""
    begin_us: int
    sessions: tuple[tuple[ChargingTruth, ...], ...]

    @property
    def every_session(self) -> list[ChargingTruth]:
        return [session for each in self.sessions for session in each]

    @property
    def end_us(self) -> int:
        return max(session.end_us for session in self.every_session)


class Lifetime:
    """The true register of one connector at any time, from its sessions."""

    def __init__(self, sessions: tuple[ChargingTruth, ...]) -> None:
        self._sessions = sessions
        self._starts = [session.start_us for session in sessions]

    def at(self, at_us: int) -> int:
        """mWh."""
        index = bisect_right(self._starts, at_us) - 1
        if index < 0:
            return self._sessions[0].lifetime_mwh
        session = self._sessions[index]
        return session.lifetime_mwh + session.energy_until(at_us)


def draw_station(
    seed: int, index: int, begin_us: int, *, connectors: int = 2, sessions: int = 3, text_ids: bool = False
) -> StationTruth:
    """Station `index` of a fleet, the same at each call. `text_ids`: the station makes ids (OCPP 2.0.1), else the
    central system counts."""
    random = Random(f"truth/{seed}/{index}")  # noqa: S311 - a simulation, not a secret
    station_id = f"QRK-{seed:04d}-{index:05d}"
    power_type: Literal["AC", "DC"] = "DC" if random.random() < 0.3 else "AC"
    rating_w = random.choice(DC_RATINGS_W if power_type == "DC" else AC_RATINGS_W)
    made: list[tuple[ChargingTruth, ...]] = []
    for connector_id in range(1, connectors + 1):
        at_us = begin_us + random.randrange(60, 1500) * SECOND
        lifetime_mwh = random.randrange(200_000_000, 40_000_000_000)
        each: list[ChargingTruth] = []
        # One car of the station is plugged in and never asks for power.
        empty = sessions - 2 if connector_id == connectors else -1
        for number in range(sessions):
            periods = _stays(random, at_us) if number == empty else _charges(random, at_us, power_type, rating_w)
            counted = 100_000 + index % 1000 * 100 + connector_id * 20 + number
            session = ChargingTruth(
                station_id=station_id,
                connector_id=connector_id,
                transaction_id=f"{station_id}-{counted:x}-{random.getrandbits(32):08x}" if text_ids else str(counted),
                token=f"{random.getrandbits(56) | 1 << 55:014X}",
                power_type=power_type,
                start_us=at_us,
                end_us=periods[-1].to_us,
                lifetime_mwh=lifetime_mwh,
                periods=periods,
            )
            each.append(session)
            lifetime_mwh += session.energy_mwh
            at_us = session.end_us + random.randrange(180, 2700) * SECOND
        made.append(tuple(each))
    interval_us = random.choice((60, 60, 120, 300)) * SECOND
    return StationTruth(station_id, power_type, rating_w, interval_us, begin_us, tuple(made))


def _stays(random: Random, at_us: int) -> tuple[ChargingPeriod, ...]:
    return (ChargingPeriod(from_us=at_us, to_us=at_us + random.randrange(200, 900) * SECOND, activity="idle"),)


def _charges(random: Random, at_us: int, power_type: str, rating_w: int) -> tuple[ChargingPeriod, ...]:
    """Waits, charges, pauses, tapers and stays: which of these happen, and for how long, is drawn."""
    power_w = rating_w * random.choice((60, 75, 90, 100, 100)) // 100
    least_s = LEAST_WH * 3600 // power_w
    main_s = max(random.randrange(900, 3000 if power_type == "DC" else 6000), least_s)
    parts: list[tuple[Activity, int, int, int]] = []
    if random.random() < 0.2:
        parts.append(("idle", random.randrange(120, 900), 0, 0))
    if random.random() < 0.35:
        pause: Activity = random.choice(("idle", "evse_pause"))
        parts += [
            ("charging", main_s // 2, power_w, power_w),
            (pause, random.randrange(240, 1200), 0, 0),
            ("charging", main_s - main_s // 2, power_w, power_w),
        ]
    else:
        parts.append(("charging", main_s, power_w, power_w))
    if random.random() < 0.6:
        parts.append(("charging", random.randrange(300, 1500), power_w, power_w // 5))
    if random.random() < 0.5:
        parts.append(("idle", random.randrange(300, 3600), 0, 0))
    periods = []
    for activity, lasts_s, from_w, to_w in parts:
        end_us = at_us + lasts_s * SECOND
        periods.append(ChargingPeriod(from_us=at_us, to_us=end_us, from_w=from_w, to_w=to_w, activity=activity))
        at_us = end_us
    return tuple(periods)
