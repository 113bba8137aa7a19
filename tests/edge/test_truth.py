"""The pipeline against the simulator's truth: energy that can be proven is found to the Wh, the rest is flagged."""

from __future__ import annotations

import json

import pytest

from pipeline.agents.offline import OfflineSessions
from pipeline.domain.pseudonyms import KEY_BYTES, PURPOSES, Keyring
from pipeline.domain.rating import Rating
from pipeline.edge.faults import KINDS, parse_faults
from pipeline.edge.fleet import fleet_documents
from pipeline.edge.simulator import FleetConfig, Truth, simulate
from pipeline.wire.sites import decode_sites
from pipeline.wire.tariffs import decode_tariffs

NOTICED = {
    "missing_start": {"MISSING_START"},
    "missing_stop": {"MISSING_STOP", "CLOSED_BY_NEW_START"},
    "offline_gap": {"GAP"},
    "stuck_meter": {"METER_STUCK"},
    "meter_jump": {"IMPOSSIBLE_ENERGY"},
    "meter_reset": {"REGISTER_RESET"},
    "negative_energy": {"STOP_REPLACED", "NEGATIVE_ENERGY"},
    "zero_energy_abort": {"ABORTED"},
}
"""Quality codes of which a session with this fault has at least one."""


def assembled(faults: str) -> tuple[dict[tuple[str, str], Truth], dict[tuple[str, str], dict[str, object]]]:
    """What happened and what the pipeline made of it, by station and transaction."""
    config = FleetConfig(stations=24, sites=4, faults=parse_faults(faults))
    sites, tariffs = fleet_documents(config.seed, config.stations, config.sites)
    keyring = Keyring({purpose: {"*": bytes(KEY_BYTES)} for purpose in PURPOSES})
    known = decode_sites(json.dumps(sites).encode(), "sites"), decode_tariffs(json.dumps(tariffs).encode(), "tariffs")
    sessions = OfflineSessions(Rating(keyring, *known), keyring)
    truths: dict[tuple[str, str], Truth] = {}

    def remember(truth: Truth) -> None:
        truths[truth.station_id, truth.transaction_id] = truth

    for _, key, value in simulate(config, remember):
        sessions.feed(key, value)
    assert not sessions.refused
    rows = [row for row in sessions.rows() if row["status"] != "void"]
    found = {(str(row["station_id"]), str(row["transaction_id"])): row for row in rows}
    assert len(found) == len(rows)
    return truths, found


@pytest.mark.parametrize("faults", ["none", "duplicates=0.5,late=0.3,out_of_order=0.5"])
@pytest.mark.verify
def test_every_session_is_found_once_with_its_true_energy(faults: str) -> None:
    truths, found = assembled(faults)
    assert found.keys() == truths.keys()
    for name, row in found.items():
        assert (row["energy_wh"], row["evidence"], row["bill_state"]) == (truths[name].energy_wh, "complete", "FINAL")


@pytest.mark.parametrize("kind", NOTICED)
def test_a_fault_is_noticed_and_no_other_session_suffers(kind: str) -> None:
    truths, found = assembled(f"{kind}=0.3")
    assert found.keys() == truths.keys()
    for name, truth in truths.items():
        row = found[name]
        codes = set(row["quality"])  # type: ignore[call-overload]  # a list in every row
        if kind in truth.kinds:
            assert codes & NOTICED[kind], (truth, row)
        if not KINDS[kind].damages or not truth.kinds:
            assert row["energy_wh"] == truth.energy_wh, (truth, row)
        elif row["energy_wh"] != truth.energy_wh:
            assert row["evidence"] != "complete", (truth, row)
