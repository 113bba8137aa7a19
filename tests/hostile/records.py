"""Honest traffic, and what hostile stations and producers send: good records bent, and garbage.

Everything follows from the seed.
"""

from __future__ import annotations

import heapq
import json
import re
from collections.abc import Iterator, Sequence
from copy import deepcopy
from functools import cache
from operator import itemgetter
from random import Random
from typing import Any

from pipeline.edge.chargers import documents
from pipeline.edge.chargers.fleet import ChargerFleetConfig, deliveries, fleet_frames
from pipeline.edge.chargers.tape import Protocol
from pipeline.edge.faults import parse_faults
from pipeline.edge.fleet import fleet_documents
from pipeline.edge.simulator import Delivery, FleetConfig, simulate

HOSTILE = tuple(f"HOSTILE-{number}" for number in range(40))
FOREIGN_KEYS = (b"", b"\x00", b"\xff\xfe", b"k" * 1025, "Café".encode(), "Cafe\u0301".encode(), b"nul\x00key")
INTEGERS = (
    -1, 0, 1, 2, 255, 256, 65_535, 65_536, 2**31 - 1, 2**31, 2**53, 2**53 + 1, 2**62, 2**63 - 1, 2**63, 2**64, 10**30,
    1_483_228_800_000_000, 1_514_764_800_000_000, 253_402_300_799_999_999, 253_402_300_800_000_000,
)  # fmt: skip
TEXTS = (
    "", "-1", "0", "NaN", "Infinity", "1e400", "1,5", "a" * 255, "a" * 256, "\x00", "\u202e", "🚗" * 64, "null", "{}",
    "0001-01-01T00:00:00Z", "9999-12-31T23:59:59.999999Z", "2018-01-01T00:00:00Z", "2026-02-30T00:00:00Z",
    "2026-03-02T25:00:00Z", "2016-12-31T23:59:60Z", "2026-03-29T02:30:00", "2026-03-02T08:00:00+99:00", "yesterday",
)  # fmt: skip
OTHERS: tuple[Any, ...] = (None, True, False, [], {}, [[]], [None], {"a": {}}, 0.1, -0.0, 1e308)
NESTED = (b'{"a":' * 50_000, b"[" * 200_000, b'{"station_id":' + b"[" * 5_000 + b"]" * 5_000 + b"}")
TICKS = (
    b'{"type":"clock_ticked"}', b'{"type":"clock_ticked","time_us":9000000000000000}',
    b'{"type":"clock_ticked","time_us":253402300799999999,"clock":"nobody"}',
    b'{"type":"clock_ticked","time_us":1772436000000000,"clock":"nobody","reference":[1]}',
    b'{"type":"clock_ticked","time_us":1772436000000000,"clock":"nobody","reference":[1,2,3,4]}',
    b'{"type":"clock_ticked","time_us":1772436000000000,"clock":"nobody","reference":"all"}',
    b'{"type":"clock_ticked","time_us":-1,"clock":"nobody"}', b'{"type":"clock_ticked","time_us":1e18}',
)  # fmt: skip


def honest(seed: int) -> list[Delivery]:
    """A day of six stations that send events and six that send frames, with faults and quirks, by arrival; ticks."""
    config = FleetConfig(seed=seed, stations=6, sites=2, sessions=3, faults=parse_faults("all"))
    frames = [each for each in deliveries(fleet_frames(_chargers(seed).said(), config.clock), config.clock) if each[1]]
    return list(heapq.merge(simulate(config), frames, key=itemgetter(0)))


def documents_of(seed: int) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Sites and tariffs of the honest stations; every second hostile one has a site, too, so its bills are made."""
    sites, tariffs = fleet_documents(seed, 6, 2)
    connectors = [{"connector_id": number, "power_type": "AC", "max_power_w": 22_000} for number in (1, 2)]
    stations = [{"station_id": name, "connectors": connectors} for name in HOSTILE[::2]]
    sites.append(sites[0] | {"site_id": "SITE-HOSTILE", "stations": stations})
    return [*sites, documents.site(said.tape for said in _chargers(seed).said())], [*tariffs, documents.tariff()]


def _chargers(seed: int) -> ChargerFleetConfig:
    """OCPP 1.6 or 2.0.1, one seed after the other."""
    protocol: Protocol = "ocpp2.0.1" if seed % 2 else "ocpp1.6"
    return ChargerFleetConfig(protocol=protocol, quirks="all", seed=seed, stations=6, sessions=2)


@cache
def _templates(seed: int) -> Sequence[dict[str, Any]]:
    """Events and frames of other fleets: a hostile station speaks as they do, most of the time."""
    return [json.loads(value) for fleet in (seed, seed + 1) for _, key, value in honest(fleet) if key is not None]


def hostile(seed: int, clock: str) -> Iterator[tuple[bytes | None, bytes | None]]:
    """Without end. Keys: hostile stations, none, keys that no station has."""
    random = Random(f"hostile/{seed}")  # noqa: S311 - a test, not a secret
    templates = _templates(1_000_003 + seed % 8)
    at = dict.fromkeys(HOSTILE, 0)
    while True:
        station = random.choice(HOSTILE)
        key = station.encode()
        dice = random.random()
        if dice < 0.02:
            yield None, random.choice(TICKS)
        elif dice < 0.03:
            yield random.choice(FOREIGN_KEYS), _garbage(random)
        elif dice < 0.05:
            yield key, _garbage(random)
        elif dice < 0.0505:
            yield key, b"x" * random.choice((5_000_000, 5_000_001, 6_000_000))
        else:
            at[station] = (at[station] + random.choice((1, 1, 1, 1, 0, 40))) % len(templates)
            record = json.loads(json.dumps(templates[at[station]]))
            record["station_id"], record["clock"] = station, random.choice((clock, clock, clock, "live"))
            for _ in range(random.choice((0, 0, 1, 1, 1, 2, 5))):
                _bend(record, random)
            value = json.dumps(record).encode()
            yield key, value if random.random() < 0.97 else _cut(value, random)


def _bend(record: Any, random: Random) -> None:
    """One place of it becomes something else, is lost, or comes twice."""
    place = record
    while True:
        keys = list(place) if isinstance(place, dict) else list(range(len(place)))
        if not keys:
            return
        key = random.choice(keys)
        inside = place[key]
        if isinstance(inside, (dict, list)) and inside and random.random() < 0.85:
            place = inside
            continue
        break
    if key == "station_id" and random.random() < 0.9:
        return
    dice = random.random()
    if dice < 0.05:
        del place[key]
    elif dice < 0.15 and isinstance(place, list):
        place.extend([inside] * random.choice((1, 3, 300)))
    elif dice < 0.5 and type(inside) is int:
        place[key] = inside + random.choice((1, -1)) * random.choice((1, 60, 10**6, 10**9, 86_400 * 10**6, 10**13))
    elif dice < 0.85 and type(inside) is int:
        place[key] = random.choice(INTEGERS)
    elif dice < 0.85 and isinstance(inside, str):
        place[key] = _other_text(inside, random)
    else:
        place[key] = deepcopy(random.choice(random.choice((INTEGERS, TEXTS, OTHERS))))


def _other_text(text: str, random: Random) -> str:
    """A time stays a time, a number a number."""
    if re.match(r"\d{4}-\d\d-\d\dT", text):
        year = random.choice(("2025", "2026", "2026", "2027", "2018", "2038", "9999", "1970", "0001"))
        return f"{year}-{random.randint(1, 12):02d}-{random.randint(1, 28):02d}{text[10:]}"
    if re.fullmatch(r"\d{1,15}(\.\d{1,9})?", text):
        return str(random.choice((float(text) * 10 ** random.randint(-3, 9), -float(text), 0, int(float(text)) + 1)))
    return random.choice(TEXTS)


def _garbage(random: Random) -> bytes | None:
    return random.choice((None, b"", b"null", b"[]", b"\xef\xbb\xbf{}", random.randbytes(60), random.choice(NESTED)))


def _cut(value: bytes, random: Random) -> bytes:
    at = random.randrange(len(value))
    return value[:at] if random.random() < 0.5 else value[:at] + random.randbytes(2) + value[at + 2 :]
