"""One bill whichever way it is asked for, also where readings are uneven and nobody says what the session did."""

from __future__ import annotations

import json
from collections.abc import Iterable
from decimal import Decimal
from itertools import pairwise
from typing import Any

import msgspec
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from pipeline.agents.assembly import Assembly
from pipeline.agents.records import RECEIPTS, SESSIONS, UPDATES
from pipeline.cli.price import session_bill
from pipeline.cli.pricing_files import Basis
from pipeline.domain.checking.receipts import check
from pipeline.domain.checking.rerating import rebill
from pipeline.domain.events import ClockTicked, MeterRead, SessionEnded, SessionStarted
from pipeline.domain.metering.power import FLAT_US, STANDBY_W
from pipeline.domain.outputs import StrippedSession
from pipeline.domain.pricing.bill import Bill
from pipeline.domain.pricing.units import kwh_text, utc_text
from pipeline.domain.receipts import Receipt
from pipeline.domain.station import MINUTE
from pipeline.runtime.logic import Output
from pipeline.runtime.offline import Offline
from pipeline.wire.bills import bill_document
from pipeline.wire.meter_events import Decoder
from pipeline.wire.receipts import content_hash, decode_receipt, facts_of, signals_of, tariff_of
from pipeline.wire.recorded_sessions import decode_recorded
from pipeline.wire.session_facts import decode_session
from pipeline.wire.sessions import decode_session as decode_published
from pipeline.wire.sessions import decode_update
from pipeline.wire.sites import decode_sites
from pipeline.wire.tariffs import decode_tariffs
from tests.agents.test_same_bill import of_stream
from tests.receipts import KEYRING, SITES, TOKEN, TRANSACTION, at, rating, tell

TARIFF: dict[str, Any] = {
    "id": "NIGHT", "currency": "EUR", "last_updated": "2025-01-01T00:00:00Z",
    "elements": [
        {"price_components": [{"type": "FLAT", "price": 0.5, "vat": 19}]},
        {"price_components": [{"type": "PARKING_TIME", "price": 9900, "vat": 19, "step_size": 60}]},
        {"price_components": [{"type": "ENERGY", "price": 0.29, "vat": 19}], "restrictions": {"start_time": "22:00"}},
        {"price_components": [{"type": "ENERGY", "price": 0.79, "vat": 19}, {"type": "TIME", "price": 6, "vat": 19}],
         "restrictions": {"min_power": 10}},
        {"price_components": [{"type": "ENERGY", "price": 0.49, "vat": 19}]},
    ],
}  # fmt: skip
"""Idle time, clock and power decide: whatever is read differently on one of the ways costs another amount."""

Row = tuple[float, int | None, int | None]
"""Minutes since the start, Wh since the start, and the power in W that the charger states with it (None: none)."""
Session = tuple[list[Row], float, int]
"""Its readings; minute and Wh of its stop."""


def steady(first: int, last: int, wh_a_minute: int, power: int | None = None, step: int = 1) -> list[Row]:
    return [(minute, minute * wh_a_minute, power) for minute in range(first, last + 1, step)]


UNEVEN: dict[str, Session] = {
    "even": (steady(1, 40, 180), 41, 41 * 180),
    "flat quarter in the middle": (
        [*steady(1, 15, 180), *((minute, 2700, None) for minute in range(16, 31)),
         *((minute, 2700 + 180 * (minute - 30), None) for minute in range(31, 41))],
        41, 4680,
    ),
    "flat tail": ([*steady(1, 25, 180), *((minute, 4500, None) for minute in range(26, 41))], 41, 4500),
    "flat tail without a reading": (steady(1, 25, 180), 41, 4500),
    "flat tail of two minutes": ([*steady(1, 38, 180), (39, 38 * 180, None)], 40, 38 * 180),
    "flat head": (
        [*((minute, 0, None) for minute in range(1, 16)),
         *((minute, 180 * (minute - 15), None) for minute in range(16, 41))],
        41, 26 * 180,
    ),
    "register in whole kWh": ([(m, m * 180 // 1000 * 1000, None) for m in range(1, 41)], 41, 7000),
    "register every ten minutes": ([(m, m // 10 * 1800, None) for m in range(1, 60)], 60, 60 * 180),
    "gaps": ([(3, 540, None), (4, 720, None), (5, 900, None), (31, 5000, None), (40, 6100, None)], 44, 6300),
    "one reading": ([(20, 3000, None)], 40, 6000),
    "one reading, then flat": ([(20, 3000, None)], 40, 3000),
    "no reading": ([], 40, 6000),
    "stop at the instant of the last reading": (steady(1, 40, 180), 40, 40 * 180 + 60),
    "power stated": (
        [*steady(1, 19, 180, 9_900), *((m, m * 180, 10_100) for m in range(20, 35)), *steady(35, 40, 180, 9_000)],
        41, 41 * 180,
    ),
    "power stated now and then": (
        [(m, m * 180, (9_000, None, 21_000)[m % 3]) for m in range(1, 41)],
        41, 41 * 180,
    ),
    "power stated at the start": ([(0, 0, 9_000), (15, 2700, None), (20, 3600, None)], 40, 7200),
    "power stated between registers": (
        [(m, m * 180 if m % 5 == 0 else None, (9_000, 11_000)[m // 7 % 2]) for m in range(1, 40)],
        41, 41 * 180,
    ),
    "power and registers at different times": (
        [row for m in range(1, 36)
         for row in ((m - 0.5, None, (9_000, 11_000)[m // 9 % 2]), (m, m * 180, None))],
        41, 41 * 180,
    ),
    "power stated after the stop": ([*steady(1, 40, 180, 9_000), (45, None, 100)], 41, 41 * 180),
    "power alone": ([(m, None, 11_000 if m > 15 else 9_000) for m in range(1, 40)], 41, 41 * 180),
    "power 0 while flat": (
        [*steady(1, 20, 180, 10_800), *((minute, 3600, 0) for minute in range(21, 41))], 41, 3600,
    ),
}  # fmt: skip
STATED_W = st.one_of(st.none(), st.sampled_from([0, 9_999, 10_000, 22_000]))


@st.composite
def uneven(draw: st.DrawFn) -> Session:
    """Flat stretches, gaps and steps anywhere, all of them possible at 22 kW."""
    rows: list[Row] = []
    minute, wh = 0.0, 0
    for _ in range(draw(st.integers(0, 12))):
        minutes = draw(st.sampled_from([0.5, 1, 2, 2.5, 8]))
        minute += minutes
        wh += draw(st.sampled_from([0, 0, 1, 150, 360])) * int(minutes * 2) // 2
        power = draw(STATED_W)
        rows.append((minute, wh if power is None or draw(st.booleans()) else None, power))
    return rows, minute + draw(st.sampled_from([0.5, 2, 3, 16])), wh + draw(st.sampled_from([0, 0, 100]))


def is_stuck(session: Session) -> bool:
    """Does the register stand still for ten minutes or more while power is stated? See power.py."""
    rows, end, stop = session
    registers = [(0.0, 0), *((minute, wh) for minute, wh, _ in rows if wh is not None), (end, stop)]
    changes = [registers[0], *(after for before, after in pairwise(registers) if after[1] != before[1])]
    for (since, flat), (moved, _) in zip(changes, [*changes[1:], (end, 0)], strict=True):
        until = max(minute for minute, wh in registers if wh == flat)
        flows = any(since <= minute <= moved and (power or 0) >= STANDBY_W for minute, _, power in rows)
        if flows and until - since >= FLAT_US / MINUTE:
            return True
    return False


def events(session: Session) -> Iterable[SessionStarted | MeterRead | SessionEnded | ClockTicked]:
    rows, end, stop = session
    yield SessionStarted(
        station_id="CP-1", event_time_us=at(0), received_time_us=at(0), connector_id=1, transaction_id=TRANSACTION,
        register_wh=100_000, token=TOKEN,
    )  # fmt: skip
    for minute, wh, power in rows:
        yield MeterRead(
            station_id="CP-1", event_time_us=at(minute), received_time_us=at(minute), connector_id=1,
            transaction_id=TRANSACTION, register_wh=None if wh is None else 100_000 + wh, power_w=power,
        )  # fmt: skip
    yield SessionEnded(
        station_id="CP-1", event_time_us=at(end), received_time_us=at(end), transaction_id=TRANSACTION,
        register_wh=100_000 + stop,
    )  # fmt: skip
    yield ClockTicked(time_us=at(end + 30))


def document(session: Session) -> bytes:
    """The same readings as somebody would write them down; nobody knows the activity."""
    rows, end, stop = session
    readings: dict[int, tuple[int | None, int | None]] = {at(0): (0, None)}
    readings |= {at(minute): (wh, power) for minute, wh, power in rows if minute <= end}
    readings[at(end)] = (stop, readings.get(at(end), (0, None))[1])
    return json.dumps(
        {
            "start": utc_text(at(0)), "end": utc_text(at(end)), "time_zone": "Europe/Berlin",
            "readings": [
                [utc_text(us), None if wh is None else kwh_text((100_000 + wh) * 1000),
                 None if power is None else str(Decimal(power) / 1000)]
                for us, (wh, power) in readings.items()
            ],
        }
    ).encode()  # fmt: skip


def streamed(session: Session) -> list[Output]:
    return list(tell(Offline(Assembly(rating(TARIFF), Decoder(KEYRING))), events(session)))


def published(outputs: list[Output]) -> StrippedSession:
    (value,) = (each.value for each in outputs if each.topic == SESSIONS and each.value is not None)
    return decode_published(value)


def priced(session: Session) -> Bill:
    (tariff,) = decode_tariffs(json.dumps(TARIFF).encode(), "tariff")
    return session_bill(decode_session(document(session), "document"), Basis([tariff], None, None))


def assert_one_bill(session: Session) -> None:
    outputs = streamed(session)
    record = published(outputs)
    ours = bill_document(priced(session))
    if not record.billable:  # waived in the stream: what stands before the waiver is the same
        lines = [line for line in of_stream(record)["lines"] if line["kind"] != "WAIVER"]
        assert lines == [line for line in ours["lines"] if line["kind"] != "ROUNDING"]
        return
    assert record.bill_state == "FINAL"
    assert msgspec.json.encode(of_stream(record)) == msgspec.json.encode({n: ours[n] for n in of_stream(record)})
    (value,) = (each.value for each in outputs if each.topic == RECEIPTS and each.value is not None)
    receipt = decode_receipt(value, "receipt")
    assert isinstance(receipt, Receipt)
    found = check(receipt, content_hash(value), facts_of(receipt), tariff_of(receipt), signals_of(receipt))
    assert (found.verdict, found.findings) == ("OK", ())
    (recorded,) = decode_recorded(value, "receipt")
    (site,) = decode_sites(json.dumps(SITES).encode(), "sites")
    again = bill_document(rebill(recorded, site, tariff_of(receipt)))
    assert msgspec.json.encode(again) == msgspec.json.encode(ours)


@pytest.mark.parametrize("name", UNEVEN)
def test_uneven_evidence_has_one_bill(name: str) -> None:
    assert_one_bill(UNEVEN[name])


@settings(max_examples=200)
@given(uneven())
def test_any_uneven_evidence_has_one_bill(session: Session) -> None:
    # METER_STUCK: the stream bills energy by power; a document of `price` holds facts, and nobody judges them.
    assume(not is_stuck(session))
    assert_one_bill(session)


def test_idle_time_is_inferred_in_a_document_too() -> None:
    lines = {line.dimension: line for line in priced(UNEVEN["flat tail"]).lines}
    assert lines["PARKING_TIME"].quantity == "960"


def test_nothing_is_inferred_where_the_document_says_it() -> None:
    told = json.loads(document(UNEVEN["flat tail"])) | {"activity": [[utc_text(at(0)), "charging"]]}
    found = decode_session(json.dumps(told).encode(), "document").facts.activity
    assert [stretch.activity for stretch in found] == ["charging"]


def compared_running_costs(session: Session) -> int:
    """The running cost is the bill of the session ended at the last register, however often it is asked for.

    Only while no idle time can be inferred, of which a running session knows nothing.
    """
    rows, _, _ = session
    compared = 0
    for output in streamed(session):
        if output.topic != UPDATES or output.value is None:
            continue
        update = decode_update(output.value)
        registers = [(row[0], row[1]) for row in rows if row[1] is not None and at(row[0]) <= update.as_of_us]
        minute, wh = registers[-1] if registers else (0, 0)
        bill = priced(([row for row in rows if row[0] < minute], minute, wh))
        if any(line.dimension == "PARKING_TIME" for line in bill.lines):
            continue
        assert update.running_cost_excl_vat == bill.total_excl, minute
        compared += 1
    return compared


@pytest.mark.parametrize("name", [name for name in UNEVEN if "power" in name or name == "gaps"])
def test_the_running_cost_is_the_bill_of_the_session_ended_there(name: str) -> None:
    assert compared_running_costs(UNEVEN[name]) >= 2


@settings(max_examples=100)
@given(uneven())
def test_any_running_cost_is_the_bill_of_the_session_ended_there(session: Session) -> None:
    compared_running_costs(session)


def test_what_the_charger_states_decides_and_not_the_mean() -> None:
    """10.8 kW on average throughout; from 20:00 UTC on (22:00 local) the night price is ranked first."""
    stated = {minute: 10_100 if minute >= 10 else 9_900 for minute in range(41)}
    rows: list[Row] = [(minute, minute * 180, stated[minute]) for minute in range(1, 41)]
    lines = published(streamed((rows, 41, 41 * 180))).lines
    energy = [(line.quantity, line.unit_price) for line in lines if line.dimension == "ENERGY"]
    assert energy == [("0.180000", "0.79"), ("1.620000", "0.49"), ("1.800000", "0.79"), ("3.780000", "0.29")]
    (assumed,) = {line.assumptions for line in lines if line.dimension == "ENERGY" and line.quantity == "0.180000"}
    assert [each.partition(":")[0] for each in assumed] == ["POWER_FROM_ENERGY"], "nothing is stated at the start"
