"""Simulated fleets through the whole assembly, record by record: what truly happened beside what was emitted.

One fleet after the other, so memory holds one fleet of two weeks (about 2,000 sessions): longer than the lateness
horizon, so sessions are archived and forgotten as in a year. Nothing of the pipeline is replaced; the only thing that
is listened to inside is which transaction a session id belongs to, because outputs cannot tell it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from pipeline.agents.assembly import Assembly
from pipeline.agents.records import SESSIONS
from pipeline.domain.metering.conservation import difference
from pipeline.domain.outputs import Evidence
from pipeline.domain.pseudonyms import KEY_BYTES, PURPOSES, Keyring
from pipeline.domain.rating import Rating
from pipeline.domain.station import Session, Station
from pipeline.edge.faults import parse_faults
from pipeline.edge.fleet import fleet_documents
from pipeline.edge.simulator import FleetConfig, Truth, simulate
from pipeline.runtime.offline import Offline
from pipeline.wire.meter_events import Decoder
from pipeline.wire.sessions import decode_session
from pipeline.wire.sites import decode_sites
from pipeline.wire.tariffs import decode_tariffs
from tests.invariants import Heard

STATIONS, DAYS = 24, 14


@dataclass(slots=True)
class Emitted:
    """The latest revision of a session, the parts that are scored."""

    station_id: str
    connector_id: int
    started_at_us: int | None
    ended_at_us: int | None
    energy_wh: int | None
    estimated_wh: int
    evidence: Evidence
    quality: tuple[str, ...]


@dataclass(slots=True)
class Scored:
    """One fleet at its end. `truths` and `emitted` by transaction id; `unbalanced` in words, with all that
    tests/invariants.py objects to."""

    seed: int
    events: int = 0
    connectors: int = 0
    truths: dict[str, Truth] = field(default_factory=dict)
    emitted: dict[str, Emitted] = field(default_factory=dict)
    unbalanced: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    """Transactions that two sessions claim."""


class _ListeningRating(Rating):
    """Notes the transaction of each session id that it makes."""

    transactions: dict[str, str]

    def session_id(self, station: Station, session: Session) -> str:
        made = super().session_id(station, session)
        self.transactions[made] = session.transaction
        return made


def fleet_config(seed: int, faults: str = "all", stations: int = STATIONS, days: int = DAYS) -> FleetConfig:
    return FleetConfig(seed=seed, stations=stations, sites=4, days=days, faults=parse_faults(faults))


def run(config: FleetConfig, on_events: Callable[[int], None] = lambda _: None) -> Scored:
    """Generates and assembles a fleet. `on_events` hears of every thousand records."""
    scored = Scored(config.seed)
    ids: dict[str, str] = {}
    rating, keyring = _rating(config)
    stage: Offline[Station] = Offline(Assembly(rating, Decoder(keyring, ids)))
    latest: dict[str, Emitted] = {}
    heard = Heard()

    def remember(truth: Truth) -> None:
        scored.truths[truth.transaction_id] = truth

    for _, key, value in simulate(config, remember):
        scored.events += key is not None
        for output in stage.feed(key, value):
            heard.output(output)
            if output.topic == SESSIONS and output.value is not None:
                record = decode_session(output.value)
                if record.status == "void":
                    del latest[record.session_id]
                    continue
                latest[record.session_id] = Emitted(
                    record.station_id, record.connector_id, record.started_at_us, record.ended_at_us,
                    record.energy_wh, record.estimated_wh, record.evidence, record.quality,
                )  # fmt: skip
        if scored.events % 1000 == 0 and key is not None:
            on_events(1000)
    for session_id, emitted in latest.items():
        transaction = ids[rating.transactions[session_id]]
        if transaction in scored.emitted:
            scored.doubled.append(transaction)
        scored.emitted[transaction] = emitted
    scored.unbalanced = list(_unbalanced(stage, scored))
    scored.unbalanced += [f"{check}: {text}" for check, text in heard.verdict()]
    return scored


def _rating(config: FleetConfig) -> tuple[_ListeningRating, Keyring]:
    sites, tariffs = fleet_documents(config.seed, config.stations, config.sites)
    keyring = Keyring({purpose: {"*": bytes(KEY_BYTES)} for purpose in PURPOSES})
    rating = _ListeningRating(
        keyring,
        decode_sites(json.dumps(sites).encode(), "sites"),
        decode_tariffs(json.dumps(tariffs).encode(), "tariffs"),
    )
    rating.transactions = {}
    return rating, keyring


def _unbalanced(stage: Offline[Station], scored: Scored) -> Iterator[str]:
    """Ledgers against the meter, against what was emitted, and the events against what became of them."""
    proven: dict[tuple[str, int], int] = {}
    for emitted in scored.emitted.values():
        if emitted.energy_wh is not None:
            stuck = emitted.estimated_wh if "METER_STUCK" in emitted.quality else 0  # no register moved for it
            place = (emitted.station_id, emitted.connector_id)
            proven[place] = proven.get(place, 0) + emitted.energy_wh - stuck
    received = 0
    for station in stage.states.values():
        received += station.received
        accounted = station.used + station.duplicates + station.quarantined + station.outside + station.pending()
        if accounted != station.received:
            yield f"{station.station_id}: {station.received} events received, {accounted} accounted for"
        for connector in station.connectors.values():
            place = (station.station_id, connector.connector_id)
            scored.connectors += 1
            if difference(connector):
                yield f"{place[0]}/{place[1]}: the ledger differs by {difference(connector)} Wh"
            if connector.attributed_wh != proven.get(place, 0):
                yield (
                    f"{place[0]}/{place[1]}: {connector.attributed_wh} Wh in the ledger, "
                    f"{proven.get(place, 0)} Wh in its sessions"
                )
    if received != scored.events:
        yield f"{scored.events} events sent, {received} received"
