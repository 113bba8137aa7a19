"""A seeded fleet as a stream of `meter-events` records: the same FleetConfig gives the same bytes, on any machine.

Every connector is a lane of its own with its own random numbers, lazily generated; lanes are merged minute by minute by
arrival, and a clock tick of the simulation's own clock ends each minute. `on_truth` gets one Truth per session: what
really happened. The cars and their charging are in edge/visits.py, the faults in edge/faults.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from heapq import heappop, heappush
from operator import itemgetter
from random import Random
from zoneinfo import ZoneInfo

import msgspec

from pipeline.domain.events import ClockTicked, MeterRead, StationSeen
from pipeline.edge import faults
from pipeline.edge.faults import HOUR, MINUTE, SECOND, Manner, Meter, SimulatedEvent, Visit
from pipeline.edge.fleet import SimulatedConnector, SimulatedSite, SimulatedStation, fleet
from pipeline.edge.visits import arrivals, draw_visit, session_events

Delivery = tuple[int, bytes | None, bytes]
"""When it arrives (us UTC), key (None: a clock tick, for every partition), value."""

TICK_US = MINUTE
HEARTBEAT_US = 30 * MINUTE
FINAL_TICKS_US = 25 * HOUR + faults.LARGEST_SKEW_US
"""The last tick is so far behind the last event that 24 h of silence close everything, skewed clocks included."""

DEFAULT_START = datetime(2026, 3, 2, tzinfo=UTC)
"""A Monday, so that days 26 to 28 hold the European change of time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetConfig:
    """`sessions`: mean arrivals per connector and day; cars that find it taken drive on. `faults`: see parse_faults."""

    seed: int = 1
    stations: int = 60
    sites: int = 6
    days: int = 1
    start: datetime = DEFAULT_START
    sessions: float = 4.0
    faults: Mapping[str, float] = field(default_factory=dict)

    @property
    def clock(self) -> str:
        return f"sim-{self.seed}"

    @property
    def start_us(self) -> int:
        return round(self.start.timestamp()) * SECOND

    @property
    def end_us(self) -> int:
        """No car arrives from then on; cars that are charging finish."""
        return self.start_us + self.days * 24 * HOUR


class Truth(msgspec.Struct, frozen=True, kw_only=True):
    """What really happened in one session, to score detection by. Holds no identifier of a driver."""

    station_id: str
    connector_id: int
    transaction_id: str
    clock: str
    site_id: str
    power_type: str
    energy_wh: int
    """Energy that truly flowed, in Wh."""
    start_us: int
    charge_end_us: int
    end_us: int
    kinds: tuple[str, ...]
    """Kinds of fault; empty: nothing is wrong with this session."""
    changed: tuple[str, ...]
    """What each fault changed, in words; times are microseconds UTC."""
    evidence_damaged: bool
    """Part of the evidence is lost or wrong, and a code must say so. The rest may still prove the energy."""


def ignore(truth: Truth) -> None:
    """For callers that do not score."""


def simulate(config: FleetConfig, on_truth: Callable[[Truth], None] = ignore) -> Iterator[Delivery]:
    """All records of the fleet by arrival, clock ticks included; the last ones close whatever is still open."""
    lanes: list[Iterator[Delivery]] = []
    for site in fleet(config.seed, config.stations, config.sites):
        for station in site.stations:
            lanes.append(_signs_of_life(config, station))
            lanes += [_Lane(config, site, station, each, on_truth).deliveries() for each in station.connectors]
    encode, now = msgspec.json.Encoder().encode, config.start_us
    for now, batch in _minutes(lanes, config.start_us):
        yield from batch
        yield now, None, encode(ClockTicked(time_us=now, clock=config.clock))
    for tick_us in range(now + HOUR, now + FINAL_TICKS_US + HOUR, HOUR):
        yield tick_us, None, encode(ClockTicked(time_us=tick_us, clock=config.clock))


def _minutes(lanes: Sequence[Iterator[Delivery]], start_us: int) -> Iterator[tuple[int, list[Delivery]]]:
    """The end of each minute and what arrives in it, in order; stable, so a lane keeps its own order in a tie."""
    never = (1 << 62, None, b"")
    heads = [next(lane, never) for lane in lanes]
    now = start_us
    while min(heads, default=never)[0] < never[0]:
        now += TICK_US
        batch: list[Delivery] = []
        for place, head in enumerate(heads):
            if head[0] < now:
                lane = lanes[place]
                while head[0] < now:
                    batch.append(head)
                    head = next(lane, never)
                heads[place] = head
        batch.sort(key=itemgetter(0))
        yield now, batch


def _signs_of_life(config: FleetConfig, station: SimulatedStation) -> Iterator[Delivery]:
    """A boot and rare heartbeats."""
    encode, key = msgspec.json.Encoder().encode, station.station_id.encode()
    for at_us in range(config.start_us + station.latency_us, config.end_us, HEARTBEAT_US):
        event = StationSeen(
            station_id=station.station_id,
            event_time_us=at_us,
            received_time_us=at_us + station.latency_us,
            clock=config.clock,
            what="boot" if at_us == config.start_us + station.latency_us else "heartbeat",
        )
        yield event.received_time_us, key, encode(event)


class _Lane:
    """One connector over the whole simulated time: visit after visit, each as events, each event as a delivery."""

    def __init__(
        self,
        config: FleetConfig,
        site: SimulatedSite,
        station: SimulatedStation,
        connector: SimulatedConnector,
        on_truth: Callable[[Truth], None],
    ) -> None:
        name = f"{config.seed}/{station.station_id}/{connector.connector_id}"
        self.config, self.site, self.station, self.connector, self.on_truth = config, site, station, connector, on_truth
        self.random = Random(name)  # noqa: S311 - a simulation, not a secret
        # Its own, so that faults of delivery leave the visits as they are.
        self.fault_random = Random(name + "/faults")  # noqa: S311 - a simulation, not a secret
        self.zone = ZoneInfo(site.time_zone)
        self.meter = Meter(lifetime_wh=self.random.randrange(100_000, 40_000_000))
        self.key = station.station_id.encode()
        self.encode = msgspec.json.Encoder().encode
        self.held: list[tuple[int, int, bytes]] = []
        """Repeated and delayed events: due time, a running number, value."""
        self.sent = 0
        self.last_due_us = 0

    def deliveries(self) -> Iterator[Delivery]:
        config, kind, number, free_us = self.config, self.connector.power_type, 0, 0
        per_day = config.sessions * (1.5 if kind == "DC" else 0.5)
        for arrival_us in arrivals(self.random, kind, self.zone, config.start_us, config.end_us, per_day):
            if arrival_us < free_us:
                continue  # taken: the driver goes elsewhere
            number += 1
            visit = draw_visit(self.random, config.seed, self.station, self.connector, self.zone, arrival_us, number)
            content, kinds = faults.draw(self.fault_random, self.config.faults)
            if content == "clock_skew":  # while a queue waits a wrong clock could not be distinguished from the outage
                content = content if self.last_due_us < visit.start_us - MINUTE else None
                kinds = tuple(kind for kind in kinds if kind != "late")
            before_wh = self.meter.lifetime_wh
            events, manner, applied, changes = self._with_faults(visit, content, kinds)
            yield from self._deliver(events, manner)
            self._report_truth(visit, self.meter.lifetime_wh - before_wh, applied, changes)
            free_us = visit.end_us + 3 * MINUTE
        while self.held:
            due_us, _, value = heappop(self.held)
            yield due_us, self.key, value

    def _with_faults(
        self, visit: Visit, content: str | None, kinds: tuple[str, ...]
    ) -> tuple[Iterator[SimulatedEvent], Manner, tuple[str, ...], list[str]]:
        """The visit's events, how they arrive, and the faults that fitted with what each changed."""
        changes: list[str] = []
        applied: list[str] = []
        if content is not None and content in faults.BEHAVIOUR:
            changes.append(faults.BEHAVIOUR[content](visit, self.fault_random))
            applied.append(content)
        events = session_events(visit, self.meter, self.station, self.connector, self.config.clock)
        if content is not None and content in faults.EVIDENCE:
            change = faults.EVIDENCE[content](events, visit, self.meter, self.fault_random)
            if change is not None:
                events = change[0]
                changes.append(change[1])
                applied.append(content)
        manner, words = faults.manner(content, kinds, visit, self.fault_random)
        applied += ["clock_skew"] if manner.skew_us else []
        return events, manner, (*applied, *kinds), changes + words

    def _deliver(self, events: Iterator[SimulatedEvent], manner: Manner) -> Iterator[Delivery]:
        key, encode, latency_us = self.key, self.encode, self.station.latency_us
        if manner.plain and not self.held:
            due_us = self.last_due_us
            for event in events:
                due_us = max(event.event_time_us + latency_us, due_us + 1)
                event.received_time_us = due_us
                yield due_us, key, encode(event)
            self.last_due_us = due_us
            return
        random = self.fault_random
        for event in events:
            due_us = event.event_time_us + latency_us
            if manner.offline_from_us <= due_us < manner.offline_until_us:
                due_us = manner.offline_until_us
            if due_us <= self.last_due_us:
                due_us = self.last_due_us + 20_000  # a queue is sent in order, 50 events a second
            while self.held and self.held[0][0] <= due_us:
                held_us, _, value = heappop(self.held)
                yield held_us, key, value
            event.event_time_us += manner.skew_us
            if manner.delay and isinstance(event, MeterRead) and random.random() < manner.delay:
                self._hold(event, due_us + random.randrange(SECOND, 10 * MINUTE))
                continue
            self.last_due_us = due_us
            event.received_time_us = due_us
            yield due_us, key, encode(event)
            if manner.repeat and random.random() < manner.repeat:
                self._hold(event, due_us + random.randrange(SECOND, 2 * MINUTE))

    def _hold(self, event: SimulatedEvent, due_us: int) -> None:
        event.received_time_us = due_us
        self.sent += 1
        heappush(self.held, (due_us, self.sent, self.encode(event)))

    def _report_truth(self, visit: Visit, energy_wh: int, kinds: tuple[str, ...], changes: Sequence[str]) -> None:
        self.on_truth(
            Truth(
                station_id=visit.station_id,
                connector_id=visit.connector_id,
                transaction_id=visit.transaction_id,
                clock=self.config.clock,
                site_id=self.site.site_id,
                power_type=visit.power_type,
                energy_wh=energy_wh,
                start_us=visit.start_us,
                charge_end_us=visit.charge_end_us,
                end_us=visit.end_us,
                kinds=kinds,
                changed=tuple(changes),
                evidence_damaged=any(faults.KINDS[kind].damages for kind in kinds),
            )
        )
