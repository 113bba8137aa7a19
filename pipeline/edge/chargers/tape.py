"""What a station sends: a tape of calls in terms of both protocols, made sound here and then changed by quirks.

The rule of this file: firmware without any quirk. A call knows when something really happened (`at_us`) and when the
frame arrives (`sent_us`); the writers of the protocols turn the former into a time of the station's clock.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from random import Random
from typing import Literal
from zoneinfo import ZoneInfo

from pipeline.edge.chargers.truth import MINUTE, SECOND, ChargingTruth, Lifetime, StationTruth

Protocol = Literal["ocpp1.6", "ocpp2.0.1"]
Kind = Literal["boot", "heartbeat", "authorize", "status", "activity", "start", "sample", "stop"]
"""`activity`: the charging state changed (1.6: a StatusNotification, 2.0.1: an Updated)."""

REGISTER, INTERVAL, POWER = "Energy.Active.Import.Register", "Energy.Active.Import.Interval", "Power.Active.Import"
BEGIN, PERIODIC, END = "Transaction.Begin", "Sample.Periodic", "Transaction.End"
HEARTBEAT_US = 15 * MINUTE
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
STATES = {"charging": "Charging", "idle": "SuspendedEV", "evse_pause": "SuspendedEVSE"}


@dataclass(slots=True)
class Sample:
    measurand: str
    value: int | Decimal | str
    unit: str = "Wh"
    context: str = PERIODIC
    phase: str = ""
    location: str = ""


@dataclass(slots=True)
class Entry:
    """One meterValue: samples of one instant."""

    at_us: int
    samples: list[Sample]


@dataclass(slots=True, kw_only=True)
class Call:
    """One call of the station and its answer. None: the field is not sent."""

    kind: Kind
    at_us: int
    connector_id: int = 0
    session: ChargingTruth | None = None
    sent_us: int = 0
    message_id: str = ""
    stamped: bool = True
    status: str = ""
    state: str = ""
    register_wh: int | str | None = None
    """OCPP 1.6 meterStart, meterStop; a text is sent as it is."""
    entries: list[Entry] = field(default_factory=list)
    transaction: str | None = None
    token: str | None = None
    reason: str = ""
    seq_no: int = 0
    names_evse: bool = True
    queued: bool = False
    """It happened while the link was down."""
    in_transaction: bool = True
    """OCPP 2.0.1: False sends readings as MeterValues."""
    answered: bool = True
    given: str = ""
    """The transaction id of the answer to a start."""


class Meter:
    """What the meter of a connector shows. Quirks set its fields before the tape is made; mWh where not named."""

    def __init__(self, sessions: tuple[ChargingTruth, ...]) -> None:
        self.sessions = sessions
        self.lifetime = Lifetime(sessions)
        self.step_wh = 1
        self.beat_us = 0
        """The register is refreshed at each full multiple, and where a session begins or ends; 0: always."""
        self.modulus_wh = 0
        """The register wraps here; 0: never."""
        self.shifts: list[tuple[int, int]] = [(0, 0)]
        """(from us, added): another meter, a reset, another count at the beginning."""
        self.frozen: list[tuple[int, int]] = []
        """(from us, to us): the register stands still although energy flows."""
        self._fresh = sorted(at for session in sessions for at in (session.start_us, session.end_us))

    def refreshed_us(self, at_us: int) -> int:
        """When the register that is shown at `at_us` was last refreshed."""
        if not self.beat_us:
            return at_us
        index = bisect_right(self._fresh, at_us)
        return max(at_us // self.beat_us * self.beat_us, self._fresh[index - 1] if index else 0)

    def flowed(self, at_us: int) -> int:
        """mWh that the meter has noticed since it was made; never falls."""
        at_us = self.refreshed_us(at_us)
        lost = sum(
            self.lifetime.at(min(at_us, until)) - self.lifetime.at(since)
            for since, until in self.frozen
            if at_us > since
        )
        return self.lifetime.at(at_us) - lost

    def counted(self, at_us: int) -> int:
        """mWh on the meter's own scale, without its end."""
        return self.flowed(at_us) + self._shift_at(at_us)

    def shown_wh(self, at_us: int) -> int:
        whole = self.counted(at_us) // 1000
        return (whole % self.modulus_wh if self.modulus_wh else whole) // self.step_wh * self.step_wh

    def restart(self, at_us: int, from_wh: int) -> None:
        """The meter counts from `from_wh` since `at_us`."""
        self.shifts.append((at_us, from_wh * 1000 - self.flowed(at_us)))
        self.shifts.sort()

    def _shift_at(self, at_us: int) -> int:
        return next(added for since, added in reversed(self.shifts) if since <= self.refreshed_us(at_us))


class Tape:
    """Everything that one station sends, and how it is delivered. `record` fills it."""

    def __init__(self, station: StationTruth, protocol: Protocol, seed: int) -> None:
        self.station, self.protocol, self.seed = station, protocol, seed
        self.stated_w = station.rating_w
        """The rating that the site's documents name."""
        self.interval_us = station.interval_us
        self.meters = {each[0].connector_id: Meter(each) for each in station.sessions}
        self.calls: list[Call] = []
        self.offsets: list[tuple[int, int]] = [(0, 0)]
        """(from true us, added by the station's clock)."""
        self.zone: ZoneInfo | None = None
        """Stamps are the wall clock of this zone; None: UTC with `Z`."""
        self.names_zone = False
        self.answers_logged = True
        self.doubled = False
        self.shuffled_us = 0
        """Frames arrive up to so much later than they were received, in any order."""
        self.random = Random(f"tape/{seed}/{station.station_id}")  # noqa: S311 - a simulation, not a secret
        self._ids = 1000

    @property
    def text_ids(self) -> bool:
        return self.protocol == "ocpp2.0.1"

    def new_id(self) -> str:
        self._ids += 1
        return str(self._ids)

    def clock_us(self, at_us: int) -> int:
        """What the station's clock shows at the true `at_us`, as UTC."""
        return at_us + sum(added for since, added in self.offsets if since <= at_us)

    def stamp(self, at_us: int) -> str:
        """The station's clock at the true `at_us`, as this station writes it."""
        shown_us = self.clock_us(at_us)
        if self.zone is None:
            return self.utc(shown_us)
        moment = (EPOCH + timedelta(microseconds=shown_us)).astimezone(self.zone)
        return moment.isoformat() if self.names_zone else moment.replace(tzinfo=None).isoformat()

    @staticmethod
    def utc(at_us: int) -> str:
        return (EPOCH + timedelta(microseconds=at_us)).isoformat().removesuffix("+00:00") + "Z"

    def of(self, *kinds: Kind) -> list[Call]:
        return [call for call in self.calls if call.kind in kinds]

    def samples(self, measurand: str, *kinds: Kind) -> Iterator[tuple[Call, Entry, Sample]]:
        """Samples of `measurand` in calls of these kinds (default: all), with where they stand."""
        for call in self.calls:
            if not kinds or call.kind in kinds:
                for entry in call.entries:
                    for sample in entry.samples:
                        if sample.measurand == measurand:
                            yield call, entry, sample

    def add(self, call: Call) -> Call:
        """Adds a call of the station; without `sent_us` it is sent soon after `at_us`."""
        call.message_id = call.message_id or self.new_id()
        call.sent_us = call.sent_us or call.at_us + self.latency_us()
        self.calls.append(call)
        return call

    def number(self) -> None:
        """Numbers the events of each transaction again: quirks that a station knows about leave no gap."""
        numbers: dict[int, int] = {}
        for call in self.of("start", "activity", "sample", "stop"):
            if call.in_transaction:
                call.seq_no = numbers.get(id(call.session), 0)
                numbers[id(call.session)] = call.seq_no + 1

    def latency_us(self) -> int:
        return self.random.randrange(50_000, 400_000)


def record(tape: Tape) -> None:
    """What a sound station sends about everything that happens at it, in order, with a boot and heartbeats."""
    station = tape.station
    calls = [Call(kind="boot", at_us=station.begin_us)]
    last_us = station.end_us + 3 * 3600 * SECOND
    calls += [Call(kind="heartbeat", at_us=at) for at in range(station.begin_us + MINUTE, last_us, HEARTBEAT_US)]
    for sessions in station.sessions:
        for session in sessions:
            calls += _session(tape, session, tape.meters[session.connector_id])
    calls.sort(key=lambda call: call.at_us)
    sent_us = 0
    for call in calls:
        sent_us = call.sent_us = max(call.at_us + tape.latency_us(), sent_us + 1000)
        call.message_id = tape.new_id()
    tape.calls = calls
    tape.number()


def _session(tape: Tape, session: ChargingTruth, meter: Meter) -> Iterator[Call]:
    place, old = session.connector_id, tape.protocol == "ocpp1.6"
    name = session.transaction_id

    def said(kind: Kind, at_us: int, context: str = "") -> Call:
        call = Call(kind=kind, at_us=at_us, connector_id=place, session=session, transaction=name)
        if context:
            register = Sample(REGISTER, meter.shown_wh(at_us), context=context)
            power_w = session.period_at(at_us).power_w(at_us) if context == PERIODIC else 0
            power = [Sample(POWER, power_w, "W")] if context == PERIODIC else []
            call.entries.append(Entry(at_us, [register, *power]))
        return call

    def status(at_us: int, word: str) -> Call:
        return Call(kind="status", at_us=at_us, connector_id=place, session=session, status=word)

    yield status(session.start_us - 25 * SECOND, "Preparing" if old else "Occupied")
    yield Call(kind="authorize", at_us=session.start_us - 8 * SECOND, session=session, token=session.token)
    start = said("start", session.start_us, "" if old else BEGIN)
    start.register_wh, start.token, start.given = meter.shown_wh(session.start_us), session.token, name
    yield start
    for period, before in zip(session.periods, (None, *session.periods), strict=False):
        if before is None or before.activity != period.activity:
            activity = said("activity", period.from_us + SECOND)
            activity.state = STATES[period.activity]
            yield activity
    for at_us in range(session.start_us + tape.interval_us, session.end_us - SECOND, tape.interval_us):
        sample = said("sample", at_us, PERIODIC)
        sample.state = STATES[session.period_at(at_us).activity]
        yield sample
    stop = said("stop", session.end_us, "" if old else END)
    stop.register_wh, stop.reason = meter.shown_wh(session.end_us), "EVDisconnected"
    if session.start_us // SECOND % 2:
        stop.token, stop.reason = session.token, "Local"
    if old:
        yield status(session.end_us, "Finishing")
    yield stop
    yield status(session.end_us + 15 * SECOND, "Available")
