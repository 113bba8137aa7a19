"""A price shown before the start: what it binds in the stream, and that every other way to the bill agrees."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from pipeline.agents.assembly import Assembly
from pipeline.agents.records import DEAD_LETTERS, RECEIPTS, SESSIONS, UPDATES
from pipeline.domain.checking.receipts import check
from pipeline.domain.checking.verify import Verdict
from pipeline.domain.events import PriceQuote
from pipeline.domain.receipts import Receipt
from pipeline.domain.station import SECOND, STRIDE
from pipeline.runtime.logic import Output
from pipeline.runtime.offline import Offline
from pipeline.wire.meter_events import Decoder
from pipeline.wire.receipts import content_hash, decode_receipt, facts_of, signals_of, tariff_of
from pipeline.wire.sessions import decode_session, decode_update
from tests.golden.state.older import as_written_by
from tests.receipts import KEYRING, STARTED_US, TARIFF, corrections, in_time, rating, receipts, story, tell
from tests.wire.test_receipts import resealed, spot

FROM_2138 = {"start_time": "21:38", "end_time": "06:00"}
TWO_PRICES = [
    {"price_components": [{"type": "ENERGY", "price": 0.29, "vat": 19, "step_size": 1}], "restrictions": FROM_2138},
    {"price_components": [{"type": "ENERGY", "price": 0.49, "vat": 19, "step_size": 1}]},
]
"""The session starts at 21:40 in Berlin, two minutes after its price fell."""
FOLLOWS: dict[str, Any] = TARIFF | {"elements": TWO_PRICES}
LOCKED: dict[str, Any] = FOLLOWS | {"x_price_mode": "LOCKED"}


def quote(age_s: float) -> PriceQuote:
    return PriceQuote("OFFER-4711", STARTED_US - int(age_s * SECOND))


def told(tariff: dict[str, Any], given: PriceQuote | None) -> list[Output]:
    return list(story(late={}, rated=rating(tariff), quote=given))


def receipt_of(outputs: list[Output]) -> tuple[Receipt, bytes]:
    (value,) = receipts(iter(outputs)).values()
    found = decode_receipt(value, "record")
    assert isinstance(found, Receipt)
    return found, value


def verdict(value: bytes) -> Verdict:
    receipt = decode_receipt(value, "record")
    assert isinstance(receipt, Receipt)
    return check(receipt, content_hash(value), facts_of(receipt), tariff_of(receipt), signals_of(receipt))


@pytest.mark.parametrize(
    ("tariff", "given", "price", "locked_s", "note"),
    [
        (LOCKED, quote(180), "0.49", 180, ""),
        (LOCKED, quote(300), "0.49", 300, ""),
        (LOCKED, quote(300.000001), "0.29", 0, "QUOTE_TOO_OLD"),
        (LOCKED, quote(60), "0.29", 60, ""),
        (LOCKED, quote(0), "0.29", 0, ""),
        (LOCKED, quote(-1), "0.29", 0, "QUOTE_AFTER_START"),
        (LOCKED, None, "0.29", None, ""),
        (FOLLOWS, quote(180), "0.29", None, ""),
    ],
)
def test_the_price_of_the_quote_binds_for_300_seconds(
    tariff: dict[str, Any], given: PriceQuote | None, price: str, locked_s: int | None, note: str
) -> None:
    outputs = told(tariff, given)
    receipt, value = receipt_of(outputs)
    assert [line.unit_price for line in receipt.lines if line.dimension == "ENERGY"] == [price]
    assert receipt.quote == given
    assert receipt.locked_at_us == (None if locked_s is None else STARTED_US - locked_s * SECOND)
    assert [each.partition(":")[0] for each in receipt.notes] == ([note] if note else [])
    assert (verdict(value).verdict, verdict(value).findings) == ("OK", ())
    (session,) = (decode_session(each.value) for each in outputs if each.topic == SESSIONS and each.value)
    assert (session.lines, session.payable_incl_vat) == (receipt.lines, receipt.payable_incl_vat)
    updates = [decode_update(each.value) for each in outputs if each.topic == UPDATES and each.value]
    last = updates[-1]
    assert last.running_cost_excl_vat == f"{float(price) * (last.energy_wh or 0) / 1000:.4f}", "while it runs, too"


def test_a_receipt_holds_the_signals_of_the_lock_instant() -> None:
    component = {"type": "ENERGY", "price": 0.6, "vat": 19, "x_dynamic": {"signal": "spot", "fee": 0.05}}
    tariff = TARIFF | {"x_price_mode": "LOCKED", "elements": [{"price_components": [component]}]}
    slots = [slot | {"minutes": 1} for slot in _each_minute()]
    given = PriceQuote("OFFER-4711", STARTED_US - 150 * SECOND)  # 19:37:30 UTC
    receipt, value = receipt_of(list(story(late={}, rated=rating(tariff, slots), quote=given)))
    assert [msgspec.json.decode(raw)["start"] for raw in receipt.signals] == ["2025-06-16T19:37:00Z"]
    assert [line.unit_price for line in receipt.lines if line.dimension == "ENERGY"] == ["0.4200"]
    assert verdict(value).verdict == "OK"
    assert "TOTAL_EXCL" in {each.code for each in verdict(resealed(value, '"price":370', '"price":371')).findings}


def _each_minute() -> list[dict[str, Any]]:
    """Slots of 19:30 to 19:44 UTC; the price per MWh is ten times the minute."""
    return [spot(0, 10 * minute) | {"start": f"2025-06-16T19:{minute}:00Z"} for minute in range(30, 45)]


def test_what_is_said_of_the_quote_in_a_receipt_is_checked() -> None:
    _, value = receipt_of(told(LOCKED, quote(180)))
    shown, start = STARTED_US - 180 * SECOND, STARTED_US
    moved = verdict(resealed(value, f'"locked_at_us":{shown}', f'"locked_at_us":{start}'))
    assert {each.code for each in moved.findings} == {"LOCKED_AT"}
    older = verdict(resealed(value, f'"shown_at_us":{shown}', f'"shown_at_us":{shown - 121 * SECOND}'))
    assert {"LOCKED_AT", "TOTAL_EXCL", "NOTES", "LINE"} <= {each.code for each in older.findings}


def test_a_receipt_from_before_there_were_quotes_is_still_right() -> None:
    for tariff in (LOCKED, FOLLOWS):
        _, value = receipt_of(told(tariff, None))
        assert verdict(resealed(value, ',"quote":null,"locked_at_us":null', "")).verdict == "OK"


@pytest.mark.parametrize("reload", [False, True])
def test_a_corrected_session_keeps_the_price_of_the_quote(reload: bool) -> None:
    """A late reading moves energy between slots; the quote is in the state, wherever that was stored in between."""
    logic = Assembly(rating(LOCKED), Decoder(KEYRING))
    stage = Offline(logic)
    outputs = []
    for event in [*in_time(quote=quote(180)), *corrections({20: 103_900})]:
        outputs += list(tell(stage, [event]))
        if reload:
            for key, state in list(stage.states.items()):
                stage.states[key] = logic.load(key, logic.dump(state), logic.codec_version, state.archive)
    sessions = [decode_session(each.value) for each in outputs if each.topic == SESSIONS and each.value]
    assert [session.revision for session in sessions] == [1, 2]
    prices = [line.unit_price for session in sessions for line in session.lines if line.dimension == "ENERGY"]
    assert prices == ["0.49", "0.49"]
    assert receipt_of(outputs)[0].quote == quote(180), "one receipt: the bill stayed as it was"


def test_state_of_codec_version_3_is_read_without_quote() -> None:
    logic = Assembly(rating(LOCKED), Decoder(KEYRING))
    stage = Offline(logic)
    events = in_time(quote=quote(180))
    list(tell(stage, events[:3]))
    body, archive = logic.dump(stage.states[b"CP-1"]), stage.states[b"CP-1"].archive
    assert b"OFFER-4711" in body
    stage.states[b"CP-1"] = logic.load(b"CP-1", as_written_by(3, body), 3, archive)
    (session,) = stage.states[b"CP-1"].sessions.values()
    assert len(session.readings) == 2 * STRIDE
    receipt, _ = receipt_of(list(tell(stage, events[3:])))
    assert (receipt.quote, receipt.locked_at_us) == (None, None)


def test_the_quote_is_told_to_billing_only() -> None:
    outputs = told(LOCKED, quote(180))
    assert {each.topic for each in outputs if b"OFFER-4711" in (each.value or b"")} == {RECEIPTS}
    assert DEAD_LETTERS not in {each.topic for each in outputs}


def test_a_repeated_start_keeps_the_first_quote() -> None:
    logic = Assembly(rating(LOCKED), Decoder(KEYRING))
    stage = Offline(logic)
    start, *rest = in_time(quote=quote(180))
    list(tell(stage, [start, in_time(quote=quote(60))[0]]))
    receipt, _ = receipt_of(list(tell(stage, rest)))
    assert receipt.quote == quote(180)
