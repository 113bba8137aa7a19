"""A station on a log, and somebody who decides about its held bills: events in, sessions and receipts out."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec

from pipeline.agents.assembly import Assembly
from pipeline.agents.records import DEAD_LETTERS, RECEIPTS, SESSIONS
from pipeline.domain.checking.receipts import check, check_credit
from pipeline.domain.metering.conservation import difference
from pipeline.domain.outputs import StrippedSession
from pipeline.domain.receipts import Account, Credit, Receipt
from pipeline.domain.station import Station
from pipeline.runtime.offline import Offline
from pipeline.wire.dead_letters import reason_of
from pipeline.wire.meter_events import Decoder
from pipeline.wire.receipts import content_hash, decode_receipt, facts_of, signals_of, tariff_of
from pipeline.wire.sessions import decode_session
from tests.receipts import KEYRING, TARIFF, TOKEN, at, rating

BY, WHY = "desk-2", "the driver's photo of the meter"


class Desk:
    """Times are minutes since the fixed evening of tests/receipts.py."""

    def __init__(self, tariff: Mapping[str, Any] = TARIFF) -> None:
        self.logic = Assembly(rating(tariff), Decoder(KEYRING))
        self.stage: Offline[Station] = Offline(self.logic)
        self.sessions: list[StrippedSession] = []
        self.receipts: list[Receipt | Credit] = []
        self.values: list[bytes] = []
        """The bytes of `receipts`."""
        self.dead: list[str] = []
        self._decisions = 0

    def start(self, minute: float, register: int | None, tx: str = "1", driver: str = TOKEN, **more: object) -> None:
        fields = {"connector_id": 1, "register_wh": register, "token": driver, "transaction_id": tx} | more
        self._tell("session_started", minute, fields)

    def reads(self, rows: Mapping[float, int], tx: str = "1", **more: object) -> None:
        for minute, register in rows.items():
            fields = {"connector_id": 1, "transaction_id": tx, "register_wh": register} | more
            self._tell("meter_read", minute, fields)

    def stop(self, minute: float, register: int | None, tx: str | None = "1", **more: object) -> None:
        self._tell("session_ended", minute, {"transaction_id": tx, "register_wh": register} | more)

    def tick(self, minute: float) -> None:
        self._feed(None, {"type": "clock_ticked", "time_us": at(minute)})

    def decide(
        self, minute: float, session_id: str = "", decision: str = "bill", owner: str | None = None, **stated: object
    ) -> None:
        """About the session that was shown last, if none is named."""
        stated["token"] = owner
        fields = {"session_id": session_id or self.sessions[-1].session_id, "decision": decision} | stated
        if decision == "bill":
            fields = {"by": BY, "why": WHY} | fields
        self._tell("bill_decided", minute, fields)

    def frame(self, minute: float, direction: str, frame: list[object]) -> None:
        envelope = {"station_id": "CP-1", "received_at": iso(minute), "direction": direction, "frame": frame}
        self._feed(b"CP-1", envelope)

    def restart(self) -> None:
        """As after a crash: the states come from their records."""
        for key, state in list(self.stage.states.items()):
            self.stage.states[key] = self.logic.load(key, self.logic.dump(state), 5, state.archive)

    @property
    def station(self) -> Station:
        return self.stage.states[b"CP-1"]

    def latest(self, session_id: str = "") -> StrippedSession:
        return next(each for each in reversed(self.sessions) if session_id in ("", each.session_id))

    def standing(self) -> dict[str, Receipt]:
        """The bills that no credit took back, by session; each receipt is right."""
        bills: dict[str, Receipt] = {}
        stands: dict[str, Receipt] = {}
        for receipt, value in zip(self.receipts, self.values, strict=True):
            if isinstance(receipt, Receipt):
                found = check(receipt, content_hash(value), facts_of(receipt), tariff_of(receipt), signals_of(receipt))
                assert receipt.session_id not in stands, "billed twice"
                bills[receipt.hash] = stands[receipt.session_id] = receipt
            else:
                former = bills[receipt.bill_hash]
                found = check_credit(receipt, content_hash(value), former)
                assert receipt.customer == former.customer, "to whom it was billed"
                assert stands.pop(receipt.session_id) is former
            assert (found.verdict, found.findings) == ("OK", ())
        for each in self.station.connectors.values():
            assert difference(each) == 0
            assert min(each.attributed_wh, each.quarantined_wh) >= 0
        for session in self.sessions:
            assert WHY not in msgspec.json.encode(session).decode()
        return stands

    def bill(self) -> Receipt:
        """The only one that stands."""
        (found,) = self.standing().values()
        return found

    def _tell(self, kind: str, minute: float, fields: Mapping[str, object]) -> None:
        event = {"type": kind, "station_id": "CP-1", "event_time_us": at(minute), "received_time_us": at(minute)}
        self._feed(b"CP-1", event | {name: value for name, value in fields.items() if value is not None})

    def _feed(self, key: bytes | None, event: object) -> None:
        for output in self.stage.feed(key, json.dumps(event).encode()):
            if output.value is None:
                continue
            if output.topic == SESSIONS:
                self.sessions.append(decode_session(output.value))
            elif output.topic == RECEIPTS:
                self.receipts.append(decode_receipt(output.value, "record"))
                self.values.append(output.value)
            elif output.topic == DEAD_LETTERS:
                self.dead.append(reason_of(output.headers))


def iso(minute: float) -> str:
    return datetime.fromtimestamp(at(minute) / 1_000_000, UTC).isoformat()


def account_of(receipt: Receipt) -> Account:
    assert isinstance(receipt.account, Account)
    return receipt.account


def hypotheses(account: Account) -> dict[str, int]:
    return {each.name: each.energy_wh for each in account.hypotheses}
