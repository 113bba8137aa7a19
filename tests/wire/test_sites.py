"""The sites document: what is decoded, and that every wrong field is named."""

from __future__ import annotations

import json
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from pipeline.domain.catalog import START, Catalog
from pipeline.errors import InvalidMessage
from pipeline.wire.sites import decode_sites

SCHEMA = Path(__file__).parents[2] / "schemas" / "messages" / "sites.v1.schema.json"


def good() -> dict[str, Any]:
    connectors = [{"connector_id": 1, "power_type": "DC", "max_power_w": 150_000, "expected_duration_s": 3600}]
    return {
        "site_id": "S1", "name": "Harbour", "time_zone": "Europe/Berlin", "country": "DE", "tariff_ids": ["A1"],
        "stations": [{"station_id": "CP1", "connectors": connectors}], "tax_rate": 19,
    }  # fmt: skip


def test_a_station_is_found_with_its_site_and_connectors() -> None:
    (site,) = decode_sites(json.dumps([good()]).encode(), "sites.json")
    place = Catalog([site]).place("CP1", START)
    assert place is not None
    found, connectors = place
    assert (found.time_zone, found.tax_rate) == ("Europe/Berlin", Decimal(19))
    assert (connectors[1].power_type, connectors[1].expected_duration_s) == ("DC", 3600)


BAD: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "no zone": (lambda site: site.pop("time_zone"), "time_zone: is missing"),
    "a zone that does not exist": (lambda site: site.update(time_zone="Europe/Bonn"), "'Europe/Bonn' is not an IANA"),
    "a zone outside of the zone files": (lambda site: site.update(time_zone="../Berlin"), "time_zone"),
    "a field that nobody knows": (lambda site: site.update(timezone="x"), "timezone: is not a field"),
    "an unknown power type": (
        lambda site: site["stations"][0]["connectors"][0].update(power_type="ac"),
        "stations[0].connectors[0].power_type",
    ),
    "a connector twice": (
        lambda site: site["stations"][0]["connectors"].append(site["stations"][0]["connectors"][0]),
        "stations[0].connectors: a connector_id occurs twice",
    ),
    "a station that no record can name": (
        lambda site: site["stations"][0].update(station_id="Cafe\u0301"),
        "stations[0].station_id: station_id must be in Unicode's composed form",
    ),
    "a station twice": (lambda site: site["stations"].append(site["stations"][0]), "'CP1' stands at two sites"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_site_names_its_field(name: str) -> None:
    change, where = BAD[name]
    site = good()
    change(site)
    with pytest.raises(InvalidMessage) as caught:
        decode_sites(json.dumps([site]).encode(), "sites.json")
    assert caught.value.detail.startswith("sites.json [0]: ")
    assert where in caught.value.detail


def test_the_schema_agrees() -> None:
    validator = Draft202012Validator(json.loads(SCHEMA.read_bytes()))
    assert validator.is_valid(good())
    for name in ("no zone", "a field that nobody knows", "an unknown power type"):
        site = good()
        BAD[name][0](site)
        assert not validator.is_valid(site), name
