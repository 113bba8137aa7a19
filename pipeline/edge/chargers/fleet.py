"""A fleet of virtual chargers as OCPP-J frames in their envelope, in the order in which they arrive."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from operator import itemgetter
from random import Random
from typing import Any, NamedTuple

import msgspec

from pipeline.domain.events import ClockTicked
from pipeline.edge.chargers import ocpp16, ocpp201
from pipeline.edge.chargers.quirks import Said, clash, parse_quirks, say
from pipeline.edge.chargers.registry import QUIRKS
from pipeline.edge.chargers.tape import Protocol, Tape
from pipeline.edge.chargers.truth import HOUR, MINUTE, SECOND, ChargingTruth, StationTruth, draw_station

Record = tuple[int, bytes | None, bytes]
"""As of edge/producer.py: due (us UTC), key (None: a clock tick), value."""
ANSWER_US = 30_000
FINAL_US = 26 * HOUR
"""So long after the last frame everything is closed, even sessions without a stop."""
WRITERS = {"ocpp1.6": ocpp16.write, "ocpp2.0.1": ocpp201.write}
_encode = msgspec.json.Encoder().encode


class Frame(NamedTuple):
    """`due_us`: its place in the log; `received_us`: when the central system had it; `value`: the envelope."""

    due_us: int
    received_us: int
    station_id: str
    value: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class ChargerFleetConfig:
    """`quirks`: as for parse_quirks, for all stations; or `all`: one or two for each, drawn."""

    protocol: Protocol
    quirks: str = "none"
    seed: int = 1
    stations: int = 60
    sessions: int = 3
    """Per connector."""
    start: datetime = datetime(2026, 3, 2, tzinfo=UTC)
    clock: str = ""
    """Named in each envelope; empty: not named."""

    def said(self) -> Iterator[Said]:
        """What each station sends. Raises WrongUsage for quirks that are not possible."""
        fixed = () if self.quirks == "all" else parse_quirks(self.quirks, self.protocol)
        for index in range(self.stations):
            names = self._drawn(index) if self.quirks == "all" else fixed
            yield say(self._station(index), self.protocol, names, self.seed)

    def truths(self) -> Iterator[ChargingTruth]:
        """What happens; it does not depend on any quirk."""
        for index in range(self.stations):
            yield from self._station(index).every_session

    def _station(self, index: int) -> StationTruth:
        begin_us = round(self.start.timestamp()) * SECOND
        text_ids = self.protocol == "ocpp2.0.1"
        return draw_station(self.seed, index, begin_us, sessions=self.sessions, text_ids=text_ids)

    def _drawn(self, index: int) -> tuple[str, ...]:
        random = Random(f"quirks/{self.seed}/{index}")  # noqa: S311 - a simulation, not a secret
        possible = [name for name, quirk in QUIRKS.items() if self.protocol in quirk.protocols]
        names = tuple(random.sample(possible, random.choice((1, 1, 2))))
        return names if clash(names) is None else names[:1]


def fleet_frames(stations: Iterable[Said], clock: str = "") -> list[Frame]:
    """All frames of a fleet by arrival, and in the order of stations where that is equal."""
    made = [frame for said in stations for frame in frames(said.tape, clock)]
    made.sort(key=itemgetter(0))
    return made


def frames(tape: Tape, clock: str = "") -> list[Frame]:
    """What a station and its central system send, in the order of the log."""
    made: list[Frame] = []
    write, last_us = WRITERS[tape.protocol], 0
    random = Random(f"frames/{tape.seed}/{tape.station.station_id}")  # noqa: S311 - a simulation, not a secret
    for call in sorted(tape.calls, key=lambda each: each.sent_us):
        action, payload, answer = write(tape, call)
        sent_us = last_us = max(call.sent_us, last_us + 1000)
        pair = [(sent_us, "cp->csms", [2, call.message_id, action, payload])]
        if tape.answers_logged and call.answered:
            pair.append((sent_us + ANSWER_US, "csms->cp", [3, call.message_id, answer]))
        for received_us, direction, frame in pair:
            due_us = received_us + (random.randrange(tape.shuffled_us) if tape.shuffled_us else 0)
            value = _envelope(tape, received_us, direction, frame, clock)
            made += [Frame(due_us, received_us, tape.station.station_id, value)] * (2 if tape.doubled else 1)
    made.sort(key=itemgetter(0))
    return made


def _envelope(tape: Tape, received_us: int, direction: str, frame: list[Any], clock: str) -> bytes:
    sent: dict[str, Any] = {
        "station_id": tape.station.station_id,
        "received_at": Tape.utc(received_us),
        "direction": direction,
        "protocol": tape.protocol,
        "frame": frame,
    }
    return _encode(sent | {"clock": clock} if clock else sent)


def deliveries(frames: Iterable[Frame], clock: str) -> Iterator[Record]:
    """The frames as records of `meter-events`, with ticks of their clock: each minute of arrival, then for 26 hours."""
    tick_us = 0
    for frame in frames:
        tick_us = tick_us or frame.due_us // MINUTE * MINUTE + MINUTE
        while tick_us <= frame.due_us:
            yield _tick(tick_us, clock)
            tick_us += MINUTE
        yield frame.due_us, frame.station_id.encode(), frame.value
    for at_us in range(tick_us, tick_us + FINAL_US, HOUR):
        yield _tick(at_us, clock)


def _tick(at_us: int, clock: str) -> Record:
    return at_us, None, _encode(ClockTicked(time_us=at_us, clock=clock))


def truth_line(truth: ChargingTruth) -> dict[str, Any]:
    """The truth with what follows from it: mWh, seconds, and mWh of each quarter of an hour UTC."""
    fields: dict[str, Any] = msgspec.to_builtins(truth)
    return fields | {
        "energy_wh": truth.energy_wh,
        "energy_mwh": truth.energy_mwh,
        "charging_s": truth.charging_us // SECOND,
        "idle_s": truth.idle_us // SECOND,
        "slots": truth.quarters(),
    }
