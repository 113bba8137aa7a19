"""Long sessions told to the assembly reading by reading: `python -m tests.long_sessions [--days N] [--connectors N]`.

Prints what a station costs whose cars stay for days while it reports every second: state record, CPU, receipts, and
whether energy, money and `verify` are right. The tests use shorter ones.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from decimal import ROUND_HALF_UP, Decimal
from zoneinfo import ZoneInfo

import msgspec

from pipeline.agents.assembly import Assembly
from pipeline.agents.records import RECEIPTS, SESSIONS, UPDATES
from pipeline.domain.checking.receipts import check
from pipeline.domain.events import ClockTicked, MeterRead, SessionEnded, SessionStarted
from pipeline.domain.outputs import StrippedSession
from pipeline.domain.rating import Rating
from pipeline.domain.receipts import Receipt
from pipeline.domain.station import HOUR, SECOND, STRIDE, Station
from pipeline.runtime.offline import Offline
from pipeline.wire.meter_events import Decoder
from pipeline.wire.receipts import content_hash, decode_receipt, facts_of, signals_of, tariff_of
from pipeline.wire.sessions import decode_session
from pipeline.wire.sites import decode_sites
from pipeline.wire.tariffs import decode_tariffs
from tests.receipts import KEYRING, SITES, STARTED_US, TARIFF, TOKEN

RATED_W = 22_000
STATION = "CP-1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Car:
    """Charges for a while, pauses, charges again, and stays parked. Times in seconds; registers in whole `step_wh`."""

    connector: int = 1
    stays_s: int = 86_400
    every_s: int = 1
    charges_s: int = 28_800
    pauses_s: int = 3_600
    watts: int = 7_000
    step_wh: int = 1
    with_power: bool = True
    with_state: bool = False
    seed: int = 1

    def watts_at(self, second: int) -> int:
        half = self.charges_s // 2
        if second < half or half + self.pauses_s <= second < self.charges_s + self.pauses_s:
            return self.watts
        return 0

    def wh_at(self, second: int) -> int:
        half = self.charges_s // 2
        charged = min(second, half) + min(max(second - half - self.pauses_s, 0), self.charges_s - half)
        return self.watts * charged // 3600

    def register(self, second: int) -> int:
        return (100_000 * self.connector + self.wh_at(second)) // self.step_wh * self.step_wh

    def events(self) -> Iterator[SessionStarted | MeterRead | SessionEnded]:
        chance = random.Random(self.seed)  # noqa: S311  # a test repeats itself
        name = f"TX-{self.connector}"
        yield SessionStarted(
            station_id=STATION, event_time_us=STARTED_US, received_time_us=STARTED_US + 80_000,
            connector_id=self.connector, transaction_id=name, register_wh=self.register(0), token=TOKEN,
        )  # fmt: skip
        state = None
        for second in range(self.every_s, self.stays_s, self.every_s):
            at = STARTED_US + second * SECOND
            watts = self.watts_at(second)
            told = "charging" if watts else "suspended_ev"
            yield MeterRead(
                station_id=STATION, event_time_us=at, received_time_us=at + chance.randrange(40_000, 400_000),
                connector_id=self.connector, transaction_id=name, register_wh=self.register(second),
                power_w=max(watts + chance.randrange(-40, 40), 0) if self.with_power else None,
                state=told if self.with_state and told != state else None,  # type: ignore[arg-type]  # both are states
            )  # fmt: skip
            state = told
        at = STARTED_US + self.stays_s * SECOND
        yield SessionEnded(
            station_id=STATION, event_time_us=at, received_time_us=at + 90_000, transaction_id=name,
            register_wh=self.register(self.stays_s),
        )  # fmt: skip

    def payable(self) -> str:
        """What it has to pay under TARIFF, incl. VAT: worked out second by second, by nothing of ours."""
        night = day = 0
        for second in range(self.stays_s):
            hour = datetime.fromtimestamp(STARTED_US // SECOND + second, ZoneInfo("Europe/Berlin")).hour
            moved = self.register(second + 1) - self.register(second)
            if moved and (hour >= 22 or hour < 6):
                night += moved
            else:
                day += moved
        cost = Decimal("0.5") + (night * Decimal("0.29") + day * Decimal("0.49")) / 1000
        return str((cost * Decimal("1.19")).quantize(Decimal("0.01"), ROUND_HALF_UP))


class Stage:
    """The assembly in memory, and what came out of it."""

    def __init__(self, connectors: int = 1, tariff: object = TARIFF) -> None:
        site = SITES[0] | {
            "stations": [
                {
                    "station_id": STATION,
                    "connectors": [
                        {"connector_id": number + 1, "power_type": "AC", "max_power_w": RATED_W}
                        for number in range(connectors)
                    ],
                }
            ]
        }
        rating = Rating(
            KEYRING,
            decode_sites(json.dumps([site]).encode(), "sites"),
            decode_tariffs(json.dumps([tariff]).encode(), "tariffs"),
        )
        self.logic = Assembly(rating, Decoder(KEYRING))
        self.offline = Offline(self.logic)
        self.updates = 0
        self.smallest = 1 << 62
        self.sessions: dict[str, StrippedSession] = {}
        self.records: list[bytes] = []
        self.receipts: list[bytes] = []

    @property
    def station(self) -> Station:
        return self.offline.states[STATION.encode()]

    def restart(self) -> None:
        """The state goes through its record, as after a crash."""
        key, station = STATION.encode(), self.station
        body = self.logic.dump(station)
        self.offline.states[key] = again = self.logic.load(key, body, self.logic.codec_version, station.archive)
        assert self.logic.dump(again) == body
        self.smallest = min(self.smallest, *(len(each.readings) // STRIDE for each in again.sessions.values()), 1 << 62)

    def feed(self, event: object) -> None:
        key = None if isinstance(event, ClockTicked) else STATION.encode()
        for output in self.offline.feed(key, msgspec.json.encode(event)):
            if output.topic == UPDATES:
                self.updates += 1
            elif output.topic == SESSIONS and output.value is not None:
                self.records.append(output.value)
                session = decode_session(output.value)
                self.sessions[session.session_id] = session
            elif output.topic == RECEIPTS and output.value is not None:
                self.receipts.append(output.value)

    def verdicts(self) -> list[str]:
        """What `chargeline verify` says of each receipt."""
        found: list[str] = []
        for value in self.receipts:
            receipt = decode_receipt(value, "receipts")
            assert isinstance(receipt, Receipt)
            made_with = facts_of(receipt), tariff_of(receipt), signals_of(receipt)
            found.append(check(receipt, content_hash(value), *made_with).verdict)
        return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--days", type=float, default=7)
    parser.add_argument("--connectors", type=int, default=4)
    options = parser.parse_args()
    stays_s = int(options.days * 86_400)
    cars = [
        Car(
            connector=number + 1,
            stays_s=stays_s,
            with_state=True,
            charges_s=int(stays_s * 0.6),
            watts=7_000 + 1000 * number,
            seed=number,
        )
        for number in range(options.connectors)
    ]
    stage = Stage(options.connectors)
    fed, largest, began = 0, 0, time.process_time()
    first = 0.0
    for events in zip(*(car.events() for car in cars), strict=True):
        for event in events:
            stage.feed(event)
        fed += len(events)
        if fed % (60_000 * len(cars)) < len(cars):
            largest = max(largest, len(stage.logic.dump(stage.station)))
            took = time.process_time() - began
            first = first or took / fed
            print(
                f"{fed:>9,} events, {took / fed * 1e6:6.1f} us each, state {largest:,} bytes, {stage.updates:,} updates"
            )
    for hour in range(3):
        stage.feed(ClockTicked(time_us=STARTED_US + stays_s * SECOND + hour * HOUR))
    for car, session in zip(cars, sorted(stage.sessions.values(), key=lambda each: each.connector_id), strict=True):
        expected = car.register(stays_s) - car.register(0)
        print(
            f"connector {session.connector_id}: {session.energy_wh:,} Wh of {expected:,}, {session.payable_incl_vat} "
            f"{session.currency} of {car.payable()}, {session.evidence}, {session.bill_state} {session.quality}"
        )
    for value, verdict in zip(stage.receipts, stage.verdicts(), strict=True):
        print(f"receipt of {len(value):,} bytes, verify says {verdict}")
    print(f"session records of up to {max(map(len, stage.records)):,} bytes, state of up to {largest:,} bytes")


if __name__ == "__main__":
    main()
