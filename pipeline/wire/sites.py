"""The sites document (JSON) -> Site. Its schema is schemas/messages/sites.v1.schema.json.

A site without a time zone is an error: a guessed zone gives a bill that looks right and is wrong by hours.
"""

from __future__ import annotations

from typing import Literal, cast

from pipeline.domain.pricing.localtime import zone_of
from pipeline.domain.sites.site import Connector, Site, Station
from pipeline.errors import InvalidMessage
from pipeline.wire.json_values import Fault, Reader, parse_many
from pipeline.wire.station_ids import check_station_id


def decode_sites(data: bytes, source: str) -> list[Site]:
    """A list of sites, one site, or JSON lines; raises InvalidMessage with every wrong field."""
    sites: list[Site] = []
    faults: list[Fault] = []
    stands: dict[str, tuple[str, int]] = {}
    for name, document in parse_many(data, source):
        if not isinstance(document, dict):
            raise InvalidMessage("bad_site", f"{name}: is not an object")
        site = _site(Reader(document, "", faults))
        for station in site.stations:
            there = stands.get(station.station_id)
            if there is not None and (there[0] != site.site_id or there[1] == site.version):
                faults.append(Fault("bad_site", "stations", f"station {station.station_id!r} stands at two sites"))
            stands[station.station_id] = (site.site_id, site.version)
        if faults:
            text = "; ".join(f"{fault.where}: {fault.text}" for fault in faults)
            raise InvalidMessage("bad_site", f"{name}: {text}")
        sites.append(site)
    if not sites:
        raise InvalidMessage("bad_site", f"{source}: holds no site")
    return sites


def _site(reader: Reader) -> Site:
    zone = reader.text("time_zone") or ""
    if zone:
        try:
            zone_of(zone)
        except ValueError as error:
            reader.fault("bad_site", "time_zone", str(error))
    site = Site(
        site_id=reader.text("site_id") or "",
        name=reader.text("name") or "",
        time_zone=zone,
        country=reader.text("country") or "",
        tariff_ids=reader.texts("tariff_ids"),
        stations=tuple(_station(each) for each in reader.objects("stations")),
        max_idle_s=reader.integer("max_idle_s", required=False, least=0),
        lock_required=reader.flag("lock_required"),
        tax_rate=reader.number("tax_rate", required=False, least=0),
        version=reader.integer("version", required=False, least=1) or 1,
        valid_from_us=reader.instant("valid_from", required=False),
    )
    _refuse_unknown(reader)
    return site


def _station(reader: Reader) -> Station:
    connectors = []
    for each in reader.objects("connectors"):
        connectors.append(
            Connector(
                connector_id=each.integer("connector_id", least=1) or 0,
                power_type=cast("Literal['AC', 'DC']", each.choice("power_type", ("AC", "DC")) or "AC"),
                max_power_w=each.integer("max_power_w", least=1) or 0,
                expected_duration_s=each.integer("expected_duration_s", required=False, least=1),
            )
        )
        _refuse_unknown(each)
    numbers = [connector.connector_id for connector in connectors]
    if len(set(numbers)) < len(numbers):
        reader.fault("bad_site", "connectors", "a connector_id occurs twice")
    station = Station(station_id=reader.text("station_id") or "", connectors=tuple(connectors))
    try:
        check_station_id(station.station_id)
    except InvalidMessage as error:
        reader.fault("bad_site", "station_id", error.detail)
    _refuse_unknown(reader)
    return station


def _refuse_unknown(reader: Reader) -> None:
    for name in reader.unknown():
        reader.fault("bad_site", name, "is not a field of the sites document")
