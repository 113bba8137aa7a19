"""Live updates put together from a template are the bytes of the general way."""

from __future__ import annotations

import json

import pytest

from pipeline.agents.assembly import Assembly
from pipeline.agents.records import UPDATES
from pipeline.domain.rating import Rating
from pipeline.edge.chargers import documents
from pipeline.edge.chargers.fleet import deliveries, frames
from pipeline.edge.fleet import fleet_documents
from pipeline.edge.simulator import FleetConfig, simulate
from pipeline.runtime.offline import Offline
from pipeline.wire.meter_events import Decoder
from pipeline.wire.sessions import decode_update
from pipeline.wire.sites import decode_sites
from pipeline.wire.tariffs import decode_tariffs
from tests.agents.test_assembly_laws import FLEET, KEYS
from tests.scored.quirks import CLOCK, station_said


def updates() -> list[bytes]:
    sites, tariffs = fleet_documents(FLEET.seed, FLEET.stations, FLEET.sites)
    rating = Rating(
        KEYS, decode_sites(json.dumps(sites).encode(), "sites"), decode_tariffs(json.dumps(tariffs).encode(), "tariffs")
    )
    stage = Offline(Assembly(rating, Decoder(KEYS)))
    config = FleetConfig(seed=FLEET.seed, stations=FLEET.stations, sites=FLEET.sites, sessions=2.0, faults=FLEET.faults)
    return [
        output.value
        for _, key, value in simulate(config)
        for output in stage.feed(key, value)
        if output.topic == UPDATES and output.value is not None
    ]


def updates_of_moved_readings() -> list[bytes]:
    """Of a charger whose readings wait for the id of their session: its running bill is folded again with each."""
    said = station_said(("loses_start_answer",), "ocpp1.6", 11)
    sites = decode_sites(json.dumps([documents.site([said.tape])]).encode(), "sites")
    tariffs = decode_tariffs(json.dumps([documents.tariff()]).encode(), "tariffs")
    stage = Offline(Assembly(Rating(KEYS, sites, tariffs), Decoder(KEYS)))
    return [
        output.value
        for _, key, value in deliveries(frames(said.tape, CLOCK), CLOCK)
        for output in stage.feed(key, value)
        if output.topic == UPDATES and output.value is not None
    ]


def test_the_running_cost_of_a_session_whose_readings_are_moved_is_that_of_its_latest_reading(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    quick = updates_of_moved_readings()
    monkeypatch.setattr("pipeline.agents.records.LiveTemplate", lambda update: None)
    assert quick == updates_of_moved_readings()
    assert len(quick) > 100


def test_the_template_writes_what_the_encoder_writes(monkeypatch: pytest.MonkeyPatch) -> None:
    quick = updates()
    monkeypatch.setattr("pipeline.agents.records.LiveTemplate", lambda update: None)
    general = updates()
    assert quick == general
    assert len(quick) > 1000
    assert decode_update(quick[-1]).session_id
