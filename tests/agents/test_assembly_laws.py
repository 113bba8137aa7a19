"""Laws of the whole assembly on a simulated fleet with every fault: what may not matter does not matter."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator

import pytest

from pipeline.agents.assembly import Assembly
from pipeline.agents.offline import OfflineSessions
from pipeline.domain.metering.conservation import difference
from pipeline.domain.pseudonyms import KEY_BYTES, PURPOSES, Keyring
from pipeline.domain.rating import Rating
from pipeline.edge.faults import parse_faults
from pipeline.edge.fleet import fleet_documents
from pipeline.edge.simulator import FleetConfig, simulate
from pipeline.metrics import Meters
from pipeline.wire.meter_events import Decoder
from pipeline.wire.sites import decode_sites
from pipeline.wire.tariffs import decode_tariffs

KEYS = Keyring({purpose: {"*": secrets.token_bytes(KEY_BYTES)} for purpose in PURPOSES})
FLEET = FleetConfig(
    seed=7, stations=60, sites=4, faults=parse_faults("all") | {"clock_skew": 0.05, "missing_stop": 0.05, "late": 0.05}
)


@pytest.fixture(scope="module")
def rating() -> Rating:
    sites, tariffs = fleet_documents(FLEET.seed, FLEET.stations, FLEET.sites)
    return Rating(
        KEYS, decode_sites(json.dumps(sites).encode(), "sites"), decode_tariffs(json.dumps(tariffs).encode(), "tariffs")
    )


@pytest.fixture(scope="module")
def history() -> list[tuple[bytes | None, bytes]]:
    return [(key, value) for _, key, value in simulate(FLEET)]


@pytest.fixture(scope="module")
def assembled(rating: Rating, history: list[tuple[bytes | None, bytes]]) -> OfflineSessions:
    return run(rating, history)


def run(rating: Rating, history: list[tuple[bytes | None, bytes]]) -> OfflineSessions:
    sessions = OfflineSessions(rating, KEYS)
    for key, value in history:
        sessions.feed(key, value)
    assert not sessions.refused
    return sessions


def facts(sessions: OfflineSessions) -> dict[object, dict[str, object]]:
    skipped = ("revision", "revision_reason")
    return {row["session_id"]: {k: v for k, v in row.items() if k not in skipped} for row in sessions.rows()}


def test_the_bill_of_the_running_fold_is_the_bill_of_the_readings(
    rating: Rating,
    history: list[tuple[bytes | None, bytes]],
    assembled: OfflineSessions,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("pipeline.domain.rating.running_bill", lambda *_: None)
    refolded = run(rating, history)
    assert facts(refolded) == facts(assembled)


def test_every_connector_conserves_energy(assembled: OfflineSessions) -> None:
    connectors = list(each_connector(assembled))
    assert len(connectors) > 60
    assert [place for place, wrong, _ in connectors if wrong] == []
    assert sum(attributed for _, _, attributed in connectors) > 1_000_000


def each_connector(sessions: OfflineSessions) -> Iterator[tuple[tuple[str, int], int, int]]:
    for station in sessions.stage.states.values():
        for connector in station.connectors.values():
            yield (station.station_id, connector.connector_id), difference(connector), connector.attributed_wh


def test_every_event_is_accounted_for(assembled: OfflineSessions, history: list[tuple[bytes | None, bytes]]) -> None:
    stations = list(assembled.stage.states.values())
    assert sum(station.received for station in stations) == sum(key is not None for key, _ in history)
    for s in stations:
        assert s.received == s.used + s.duplicates + s.quarantined + s.outside + s.pending(), s.station_id


def test_storing_and_reading_back_every_state_at_any_time_changes_nothing(
    rating: Rating, history: list[tuple[bytes | None, bytes]], assembled: OfflineSessions
) -> None:
    sessions = OfflineSessions(rating, KEYS)
    logic = sessions.stage._logic
    for number, (key, value) in enumerate(history):
        if number % 4001 == 0:
            for kept, state in list(sessions.stage.states.items()):
                sessions.stage.states[kept] = logic.load(kept, logic.dump(state), 1, state.archive)
        sessions.feed(key, value)
    assert facts(sessions) == facts(assembled)


def test_every_event_sent_twice_changes_nothing(
    rating: Rating, history: list[tuple[bytes | None, bytes]], assembled: OfflineSessions
) -> None:
    twice = run(rating, [record for record in history for _ in range(2)])
    assert facts(twice) == facts(assembled)


def test_slots_and_lines_re_add_to_their_session(assembled: OfflineSessions) -> None:
    billed = 0
    for row in assembled.rows():
        slots, lines = row["slots"], row["lines"]
        assert isinstance(slots, list | tuple)
        assert isinstance(lines, list | tuple)
        if row["energy_wh"] is not None and slots:
            assert sum(slot["energy_wh"] for slot in slots) == row["energy_wh"]
            assert all(slot["energy_wh"] >= 0 for slot in slots)
        if row["bill_state"] == "FINAL" and lines:
            billed += 1
            total = sum(round(float(line["amount_excl"]) * 10_000) for line in lines if line["kind"] != "ROUNDING")
            assert total == round(float(str(row["total_excl_vat"])) * 10_000)
    assert billed > 100


def test_conservation_is_exported_and_an_imbalance_shows(
    assembled: OfflineSessions, rating: Rating, history: list[tuple[bytes | None, bytes]]
) -> None:
    logic = Assembly(rating, Decoder(KEYS))
    stations = list(assembled.stage.states.values())

    def shown() -> dict[str, float]:
        meters = Meters()
        logic.show([sum(parts) for parts in zip(*map(logic.tally, stations), strict=True)], "assemble", meters)
        lines = [line for line in meters.text().decode().splitlines() if 'stage="assemble"' in line]
        return {line.split(" ")[0].removeprefix("chargeline_"): float(line.split(" ")[1]) for line in lines}

    def events(outcome: str) -> float:
        return shown()[f'events_accounted{{outcome="{outcome}",stage="assemble"}}']

    def energy(part: str) -> float:
        return shown()[f'energy_accounted_wh{{part="{part}",stage="assemble"}}']

    def unbalanced(ledger: str) -> float:
        return shown()[f'unbalanced{{ledger="{ledger}",stage="assemble"}}']

    assert events("received") == sum(key is not None for key, _ in history)
    assert events("received") == sum(map(events, ("used", "duplicate", "quarantined", "outside", "pending")))
    assert energy("movement") == sum(map(energy, ("attributed", "quarantined", "unattributed"))) > 1_000_000
    assert (unbalanced("events"), unbalanced("energy")) == (0, 0)
    first, second = stations[0], stations[1]
    first.used += 1
    second.connectors[1].attributed_wh += 1
    second.connectors[2].attributed_wh -= 1
    try:
        assert (unbalanced("events"), unbalanced("energy")) == (1, 2)  # one too much does not hide one too little
    finally:
        first.used -= 1
        second.connectors[1].attributed_wh -= 1
        second.connectors[2].attributed_wh += 1
