"""A session used a reservation whose begin nobody told: under a tariff that prices reservations its bill is held."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from pipeline import cli
from pipeline.agents.assembly import Assembly
from pipeline.agents.records import RECEIPTS, SESSIONS, UPDATES
from pipeline.domain.events import SessionAuthorized, SessionStarted
from pipeline.domain.outputs import StrippedSession
from pipeline.domain.station import DECISION, Station
from pipeline.runtime.logic import Output
from pipeline.runtime.offline import Offline
from pipeline.wire.meter_events import Decoder
from pipeline.wire.sessions import decode_session, decode_update
from tests.receipts import KEYRING, TARIFF, TOKEN, TRANSACTION, at, in_time, rating, tell

FEES = [{"type": "FLAT", "price": 1, "vat": 19}, {"type": "TIME", "price": 4.2, "vat": 19, "step_size": 300}]
USED: dict[str, Any] = {"price_components": FEES, "restrictions": {"reservation": "RESERVATION"}}
EXPIRED: dict[str, Any] = {"price_components": FEES, "restrictions": {"reservation": "RESERVATION_EXPIRES"}}
PRICED = TARIFF | {"elements": [USED, *TARIFF["elements"]]}
FREE = TARIFF | {"elements": [EXPIRED, *TARIFF["elements"]]}
"""Costs something only if nobody comes."""


def staged(tariff: dict[str, Any]) -> Offline[Station]:
    return Offline(Assembly(rating(tariff), Decoder(KEYRING)))


def told(stage: Offline[Station], *, reserved: bool) -> list[Output]:
    start, *rest = in_time()
    assert isinstance(start, SessionStarted)
    return list(tell(stage, [replace(start, reservation=reserved), *rest]))


def only(outputs: Iterable[Output]) -> StrippedSession:
    (value,) = (each.value for each in outputs if each.topic == SESSIONS and each.value is not None)
    return decode_session(value)


def running_costs(outputs: Iterable[Output]) -> list[str | None]:
    values = [each.value for each in outputs if each.topic == UPDATES and each.value is not None]
    return [decode_update(value).running_cost_excl_vat for value in values]


def test_the_fee_of_a_reservation_is_never_left_out_silently() -> None:
    stage = staged(PRICED)
    outputs = told(stage, reserved=True)
    session = only(outputs)
    assert (session.bill_state, session.held_reason, session.total_excl_vat) == ("HELD", "RESERVATION_UNKNOWN", None)
    assert session.energy_wh == 7200, "what was charged is known"
    assert RECEIPTS not in {each.topic for each in outputs}
    assert set(running_costs(outputs)) == {None}
    assert stage.states[b"CP-1"].waits == DECISION, "no reference data would help"


@pytest.mark.parametrize(
    ("tariff", "reserved"), [(PRICED, False), (TARIFF, True), (FREE, True)], ids=["none", "unpriced", "only if expired"]
)
def test_without_a_fee_the_bill_is_final(tariff: dict[str, Any], reserved: bool) -> None:
    session = only(told(staged(tariff), reserved=reserved))
    assert (session.bill_state, session.total_excl_vat) == ("FINAL", "3.3080")


def test_a_reservation_is_known_with_the_token_at_the_latest() -> None:
    """OCPP 2.0.1: plugged in first, the token comes in an Updated; the running cost ends there."""
    start, first, *rest = in_time()
    assert isinstance(start, SessionStarted)
    token = SessionAuthorized(
        station_id="CP-1", event_time_us=at(6), received_time_us=at(6), transaction_id=TRANSACTION,
        token=TOKEN, reservation=True,
    )  # fmt: skip
    stage = staged(PRICED)
    before = list(tell(stage, [replace(start, token=None), first]))
    assert running_costs(before) == ["0.9410"]
    assert list(stage.feed(b"CP-1", msgspec.json.encode(token))) == []
    after = list(tell(stage, rest))
    assert set(running_costs(after)) == {None}
    assert only(after).held_reason == "RESERVATION_UNKNOWN"


def test_the_state_remembers_it() -> None:
    stage = staged(PRICED)
    start, *rest = in_time()
    assert isinstance(start, SessionStarted)
    list(tell(stage, [replace(start, reservation=True)]))
    logic = Assembly(rating(PRICED), Decoder(KEYRING))
    state = stage.states[b"CP-1"]
    stage.states[b"CP-1"] = logic.load(b"CP-1", logic.dump(state), logic.codec_version, state.archive)
    assert only(tell(stage, rest)).held_reason == "RESERVATION_UNKNOWN"


CASE = Path(__file__).parents[3] / "shared" / "field-cases" / "reservation-before-start"


@pytest.mark.skipif(not CASE.is_dir(), reason=f"no field case at ../shared/field-cases/{CASE.name}")
def test_the_frames_of_a_charger_with_a_reservation(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    case = json.loads((CASE / "case.json").read_bytes())
    monkeypatch.chdir(CASE)
    assert cli.run(case["command"]) == 0
    (session,) = map(json.loads, capsys.readouterr().out.splitlines())
    expected = [wanted for (wanted,) in [case["expect"], *case["alternatives"]]]
    assert any({name: session[name] for name in wanted} == wanted for wanted in expected)
    assert session["held_reason"] == "RESERVATION_UNKNOWN"
