"""What goes wrong in the field, as transformations of a simulated visit: one function a kind, switched by name.

A kind changes how the car behaves (BEHAVIOUR: visit -> visit), what is sent about it (EVIDENCE: events -> events), or
when it arrives (edge/simulator.py reads the Manner made here). A session has at most one of behaviour and evidence, and
any of delivery. Delivery kinds change no content: with only these, the set of events is that of a run without faults.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from random import Random

from pipeline.domain.events import MeterRead, SessionEnded, SessionStarted, StatusReported
from pipeline.edge.fleet import Car, PowerType
from pipeline.errors import WrongUsage

SimulatedEvent = SessionStarted | MeterRead | SessionEnded | StatusReported

SECOND = 1_000_000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
LARGEST_SKEW_US = 6 * HOUR
LONGEST_OFFLINE_US = 6 * HOUR


@dataclass(slots=True, kw_only=True)
class Visit:
    """One car at one connector, as it really is. Times are microseconds UTC; charging begins at `start_us`."""

    station_id: str
    connector_id: int
    transaction_id: str
    token: str
    power_type: PowerType
    max_power_w: int
    car: Car
    soc_percent: int
    start_us: int
    charge_end_us: int
    end_us: int
    reason: str


@dataclass(slots=True)
class Meter:
    """A connector's register: the true lifetime energy, and by how much the display differs from it."""

    lifetime_wh: int
    offset_wh: int = 0

    @property
    def shown_wh(self) -> int:
        return self.lifetime_wh + self.offset_wh


@dataclass(slots=True)
class Manner:
    """How the events of a session arrive. Offline: events in the window are queued and arrive at its end."""

    skew_us: int = 0
    offline_from_us: int = 0
    offline_until_us: int = 0
    repeat: float = 0.0
    """Share of the events that come twice."""
    delay: float = 0.0
    """Share of the readings that come up to 10 minutes late, after others."""

    @property
    def plain(self) -> bool:
        return not (self.skew_us or self.offline_until_us or self.repeat or self.delay)


@dataclass(frozen=True, slots=True)
class Kind:
    """`rate`: share of the sessions under `--faults all`. `damages`: part of the evidence is lost or wrong.

    Behaviour that is reported as it was (an abort, an overstay) and a delivery that loses nothing damage no evidence.
    """

    rate: float
    damages: bool
    meaning: str


KINDS: Mapping[str, Kind] = {
    "zero_energy_abort": Kind(0.03, False, "the session ends within a minute and without energy"),
    "overstay": Kind(0.02, False, "the car stays for hours after its charging ended"),
    "missing_start": Kind(0.005, True, "the start is never sent"),
    "missing_stop": Kind(0.01, True, "the stop is never sent"),
    "offline_gap": Kind(0.02, True, "readings of 10 to 40 minutes are lost; the register goes on"),
    "stuck_meter": Kind(0.01, True, "the register stands still although power flows"),
    "meter_jump": Kind(0.005, True, "the register jumps by more than can have flowed"),
    "meter_reset": Kind(0.005, True, "the register falls to zero and counts on"),
    "negative_energy": Kind(0.005, True, "the stop carries a register below that of the start"),
    "clock_skew": Kind(0.005, True, "the station's clock is off by minutes or hours"),
    "duplicates": Kind(0.05, False, "some events arrive twice"),
    "late": Kind(0.02, False, "the station is offline and sends its queue later"),
    "out_of_order": Kind(0.03, False, "some readings arrive up to 10 minutes after later ones"),
}
DELIVERY = ("duplicates", "late", "out_of_order")


def parse_faults(text: str) -> dict[str, float]:
    """`all`, `none`, or kinds with an optional rate, `late,missing_stop=0.2`, as kind -> share of the sessions."""
    if text == "none":
        return {}
    if text == "all":
        return {name: kind.rate for name, kind in KINDS.items()}
    mix: dict[str, float] = {}
    for part in text.split(","):
        name, _, rate = part.strip().partition("=")
        if name not in KINDS:
            raise WrongUsage(f"faults: {name!r} is no kind of fault; choose all, none or from {', '.join(KINDS)}")
        try:
            mix[name] = float(rate) if rate else KINDS[name].rate
        except ValueError:
            raise WrongUsage(f"faults: {part.strip()!r}: the rate must be a number from 0 to 1") from None
        if not 0 <= mix[name] <= 1:
            raise WrongUsage(f"faults: {part.strip()!r}: the rate must be a number from 0 to 1")
    if sum(rate for name, rate in mix.items() if name not in DELIVERY) > 1:
        raise WrongUsage("faults: the rates of kinds that exclude each other add up to more than 1")
    return mix


def draw(random: Random, mix: Mapping[str, float]) -> tuple[str | None, tuple[str, ...]]:
    """The kind that changes the content of the next session, if any, and the kinds that change its delivery."""
    share, content = random.random(), None
    for name, rate in mix.items():
        if name not in DELIVERY and content is None:
            share -= rate
            content = name if share < 0 else None
    return content, tuple(name for name in DELIVERY if random.random() < mix.get(name, 0.0))


# --- behaviour: visit -> what was changed, or "" when the kind does not fit this visit


def zero_energy_abort(visit: Visit, random: Random) -> str:
    visit.charge_end_us = visit.start_us
    visit.end_us = visit.start_us + random.randrange(5_000, 60_000) * 1000
    visit.reason = "Other"
    return "ended without energy"


def overstay(visit: Visit, random: Random) -> str:
    hours = random.uniform(3, 6) if visit.power_type == "DC" else random.uniform(12, 20)
    stay = round(hours * 3600) * SECOND
    visit.end_us = visit.charge_end_us + stay
    return f"idle for {stay // SECOND} s after charging"


BEHAVIOUR: Mapping[str, Callable[[Visit, Random], str]] = {
    "zero_energy_abort": zero_energy_abort,
    "overstay": overstay,
}

# --- evidence: events -> events and what was changed, or None when the kind does not fit this visit

Events = Iterator[SimulatedEvent]
Change = tuple[Events, str]


def missing_start(events: Events, visit: Visit, meter: Meter, random: Random) -> Change | None:
    return (event for event in events if not isinstance(event, SessionStarted)), "start not sent"


def missing_stop(events: Events, visit: Visit, meter: Meter, random: Random) -> Change | None:
    """Every second time the status afterwards is lost too, so that only silence or the next start closes it."""
    silent = random.random() < 0.5

    def changed() -> Events:
        for event in events:
            lost = isinstance(event, SessionEnded) or (silent and event.event_time_us >= visit.end_us)
            if not lost:
                yield event

    return changed(), "stop and final status not sent" if silent else "stop not sent"


def offline_gap(events: Events, visit: Visit, meter: Meter, random: Random) -> Change | None:
    length = random.randrange(10, 40) * MINUTE
    room = visit.end_us - visit.start_us - length - 2 * MINUTE
    if room <= 0:
        return None
    begin = visit.start_us + MINUTE + random.randrange(room)

    def changed() -> Events:
        for event in events:
            if not (isinstance(event, MeterRead) and begin <= event.event_time_us < begin + length):
                yield event

    return changed(), f"no readings for {length // SECOND} s from {begin}"


def stuck_meter(events: Events, visit: Visit, meter: Meter, random: Random) -> Change | None:
    """Fits only if power flows for 15 minutes after it, so that it can be noticed."""
    room = visit.charge_end_us - visit.start_us - 15 * MINUTE
    if room <= 5 * MINUTE:
        return None
    begin = visit.start_us + random.randrange(MINUTE, room)
    before = meter.shown_wh

    def changed() -> Events:
        frozen = before
        for event in events:
            if isinstance(event, MeterRead | SessionEnded) and event.register_wh is not None:
                if event.event_time_us < begin:
                    frozen = event.register_wh
                if isinstance(event, SessionEnded):
                    meter.offset_wh -= event.register_wh - frozen
                event.register_wh = frozen
            yield event

    return changed(), f"register stands still from {begin}"


def meter_jump(events: Events, visit: Visit, meter: Meter, random: Random) -> Change | None:
    if visit.charge_end_us - visit.start_us < 5 * MINUTE:
        return None
    begin = visit.start_us + random.randrange(MINUTE, visit.charge_end_us - visit.start_us)
    hours = (visit.end_us - visit.start_us) / HOUR
    by = round(visit.max_power_w * (hours + 1) * random.uniform(2, 10))  # beyond the rating for the whole stay

    def changed() -> Events:
        for event in events:
            if isinstance(event, MeterRead | SessionEnded) and event.event_time_us >= begin:
                event.register_wh = (event.register_wh or 0) + by
            yield event
        meter.offset_wh += by

    return changed(), f"register + {by} Wh from {begin}"


def meter_reset(events: Events, visit: Visit, meter: Meter, random: Random) -> Change | None:
    if visit.charge_end_us - visit.start_us < 10 * MINUTE:
        return None
    begin = visit.start_us + random.randrange(2 * MINUTE, visit.charge_end_us - visit.start_us - 5 * MINUTE)

    def changed() -> Events:
        zero: int | None = None
        for event in events:
            if isinstance(event, MeterRead | SessionEnded) and event.event_time_us >= begin:
                register_wh = event.register_wh or 0
                zero = register_wh if zero is None else zero
                event.register_wh = register_wh - zero
            yield event
        meter.offset_wh -= zero or 0

    return changed(), f"register falls to 0 at {begin}"


def negative_energy(events: Events, visit: Visit, meter: Meter, random: Random) -> Change | None:
    below = random.randrange(1_000, 10_000)
    stop_wh = meter.shown_wh - below
    if stop_wh < 0:
        return None

    def changed() -> Events:
        for event in events:
            if isinstance(event, SessionEnded):
                event.register_wh = stop_wh
            yield event

    return changed(), f"stop register {below} Wh below the start"


EVIDENCE: Mapping[str, Callable[[Events, Visit, Meter, Random], Change | None]] = {
    "missing_start": missing_start,
    "missing_stop": missing_stop,
    "offline_gap": offline_gap,
    "stuck_meter": stuck_meter,
    "meter_jump": meter_jump,
    "meter_reset": meter_reset,
    "negative_energy": negative_energy,
}


def manner(content: str | None, kinds: tuple[str, ...], visit: Visit, random: Random) -> tuple[Manner, list[str]]:
    """How this visit's events arrive, and what was changed in words."""
    made, changes = Manner(), []
    if content == "clock_skew":
        made.skew_us = random.choice((-1, 1)) * random.randrange(10 * MINUTE, LARGEST_SKEW_US)
        changes.append(f"station clock off by {made.skew_us // SECOND} s")
    if "duplicates" in kinds:
        made.repeat = 0.1
        changes.append("10 % of the events repeated")
    if "late" in kinds:
        made.offline_from_us = visit.start_us + random.randrange(visit.end_us - visit.start_us)
        made.offline_until_us = made.offline_from_us + random.randrange(10 * MINUTE, LONGEST_OFFLINE_US)
        changes.append(f"offline from {made.offline_from_us} until {made.offline_until_us}")
    if "out_of_order" in kinds:
        made.delay = 0.1
        changes.append("10 % of the readings delayed by up to 600 s")
    return made, changes
