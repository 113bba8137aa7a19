"""Reference data that becomes known while sessions run: what it prices, what it releases, and what it leaves alone."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
import pytest

from pipeline.agents.assembly import Assembly
from pipeline.agents.records import RECEIPTS, SESSIONS, UPDATES
from pipeline.agents.reference import TOPICS, TopicReference
from pipeline.domain.rating import Rating
from pipeline.metrics import Meters
from pipeline.runtime.kafka.reference import Record
from pipeline.runtime.logic import ReferenceBehind
from pipeline.runtime.offline import MemoryArchive, Offline
from pipeline.wire.meter_events import Decoder
from tests.builders import KEYS, us

SITE = {
    "site_id": "S1", "name": "Harbour", "time_zone": "Europe/Berlin", "country": "DE", "tariff_ids": ["T"],
    "stations": [{"station_id": "CP-1", "connectors": [
        {"connector_id": 1, "power_type": "AC", "max_power_w": 22000, "expected_duration_s": 36000}]}],
}  # fmt: skip
HOURS = 3600


def tariff(price: float, updated: str = "2026-01-01T00:00:00Z", **more: Any) -> dict[str, Any]:
    component = {"type": "ENERGY", "price": price, "vat": 19, "step_size": 1} | more
    return {"id": "T", "currency": "EUR", "last_updated": updated, "elements": [{"price_components": [component]}]}


SPOT = tariff(0.5, x_dynamic={"signal": "spot", "fee": 0.1, "on_missing": "HOLD"})


def slot(hour: int, price: float, revision: int = 1) -> dict[str, Any]:
    """From `hour` hours after 06:20 UTC, before the session of `charge` begins at 07:20."""
    start = f"2026-03-02T{6 + hour:02}:20:00Z"
    return {"series": "spot", "start": start, "minutes": 60, "price": price, "unit": "kWh", "currency": "EUR",
            "revision": revision}  # fmt: skip


class Topics:
    """The reference topics, as a reader hands them over."""

    def __init__(self) -> None:
        self._new: list[Record] = []
        self.ends = dict.fromkeys(TOPICS, 0)

    def publish(self, topic: str, *documents: object) -> None:
        for document in documents:
            value = document if isinstance(document, bytes) else json.dumps(document).encode()
            self._new += [Record(topic, self.ends[topic], value), Record(topic, self.ends[topic] + 1, None)]
            self.ends[topic] += 1

    def drain(self) -> Sequence[Record]:
        found, self._new = self._new, []
        return found


class Line:
    """One station on a log, with ticks that say how much of the topics counts."""

    def __init__(self) -> None:
        rating = Rating(KEYS)
        self.topics = Topics()
        self.logic = Assembly(rating, Decoder(KEYS), TopicReference(rating.catalog, self.topics, Meters(), "assemble"))
        self.stage = Offline(self.logic)
        self.told: dict[str, list[Any]] = {}

    def tick(self, at: float, reference: Sequence[int] | None = None) -> None:
        """`reference` None: as much as is published now."""
        seen = list(self.topics.ends.values()) if reference is None else list(reference)
        self._feed(None, {"type": "clock_ticked", "time_us": us(at), "reference": seen})

    def charge(self, start: float = 0, hours: float = 2, wh: int = 10_000, tx: str = "1", name: str = "CP-1") -> None:
        self.begin(start, tx, name)
        self.reads(start, start + hours * HOURS, wh, tx, name)
        self.end(start + hours * HOURS, wh, tx, name)

    def begin(self, at: float, tx: str = "1", name: str = "CP-1") -> None:
        self._tell("session_started", at, name, connector_id=1, transaction_id=tx, register_wh=0)

    def reads(self, start: float, end: float, wh: int, tx: str = "1", name: str = "CP-1") -> None:
        """A reading a minute, `wh` from `start` to `end`."""
        for at in range(int(start) + 60, int(end), 60):
            register = int(wh * (at - start) / (end - start))
            self._tell("meter_read", at, name, connector_id=1, transaction_id=tx, register_wh=register)

    def end(self, at: float, wh: int, tx: str = "1", name: str = "CP-1") -> None:
        self._tell("session_ended", at, name, transaction_id=tx, register_wh=wh, reason="EVDisconnected")

    def restart(self) -> None:
        """As after a crash: the states come from their records, folds are lost."""
        for key, state in list(self.stage.states.items()):
            restored = self.logic.load(key, self.logic.dump(state), self.logic.codec_version, state.archive)
            self.stage.states[key] = restored

    def bills(self) -> list[tuple[int, str, str | None, str | None, str]]:
        return [
            (each["revision"], each["bill_state"], each["held_reason"], each["total_incl_vat"], each["revision_reason"])
            for each in self.told.get(SESSIONS, [])
        ]

    def _tell(self, kind: str, at: float, station: str, **fields: object) -> None:
        event = {"type": kind, "station_id": station, "event_time_us": us(at), "received_time_us": us(at)} | fields
        self._feed(station.encode(), event)

    def _feed(self, key: bytes | None, event: object) -> None:
        for output in self.stage.feed(key, json.dumps(event).encode()):
            if output.value is not None:
                self.told.setdefault(output.topic, []).append(json.loads(output.value))


def released(late: float) -> Line:
    """Two hours without any reference data; then the site, then the tariff, `late` hours after the end."""
    line = Line()
    line.tick(0)
    line.charge()
    assert [(state.waits, state.wake_us) for state in line.stage.states.values()] == [(1, 0)]  # the runtime must look
    line.topics.publish("sites", SITE)
    line.tick((2 + late) * HOURS)
    line.topics.publish("tariffs", tariff(0.40))
    line.tick((2 + late) * HOURS + 60)
    return line


@pytest.mark.parametrize("late", [0.1, 5], ids=["within the reorder window", "from the archive"])
def test_a_held_bill_is_released_by_the_tick_that_brings_what_it_lacked(late: float) -> None:
    known = Line()
    known.topics.publish("sites", SITE)
    known.topics.publish("tariffs", tariff(0.40))
    known.tick(0)
    known.charge()
    line = released(late)
    assert line.bills() == [
        (1, "HELD", "SITE_MISSING", None, "ENDED"),
        (2, "HELD", "TARIFF_MISSING", None, "BILL_RELEASED"),
        (3, "FINAL", None, "4.7600", "BILL_RELEASED"),
    ]
    last, first = line.told[SESSIONS][-1], known.told[SESSIONS][-1]
    for field in ("revision", "revision_reason", "content_hash"):
        del last[field], first[field]
    assert last["lines"]
    assert last == first, "readings were lost while the bill was held"


def test_what_was_released_waits_for_nothing_any_more() -> None:
    line = released(5)
    told = len(line.told[SESSIONS])
    line.topics.publish("sites", SITE | {"version": 2})
    line.topics.publish("tariffs", tariff(0.60, "2026-02-01T00:00:00Z"))
    line.tick(9 * HOURS)
    assert len(line.told[SESSIONS]) == told
    assert [state.waits for state in line.stage.states.values()] == [0]


def test_the_tick_decides_what_counts_and_not_what_has_arrived() -> None:
    line = Line()
    line.topics.publish("sites", SITE)
    line.topics.publish("tariffs", tariff(0.40), tariff(0.60, "2026-02-01T00:00:00Z"))
    line.tick(0, (1, 1, 0))
    line.charge()
    line.tick(3 * HOURS, (1, 2, 0))
    line.charge(4 * HOURS, tx="2")
    assert [bill[3] for bill in line.bills()] == ["4.7600", "7.1400"]


def test_a_tick_that_is_ahead_of_the_topics_waits() -> None:
    line = Line()
    with pytest.raises(ReferenceBehind):
        line.tick(0, (1, 0, 0))
    line.topics.publish("sites", SITE)
    line.tick(0, (1, 0, 0))


def test_a_version_of_the_tariff_that_comes_later_changes_no_session_that_had_its_price() -> None:
    line = Line()
    line.topics.publish("sites", SITE)
    line.topics.publish("tariffs", tariff(0.40))
    line.tick(0)
    line.begin(0)
    line.reads(0, 2 * HOURS, 10_000)
    line.topics.publish("tariffs", tariff(0.60, "2026-02-01T00:00:00Z"))
    line.tick(2 * HOURS)
    line.restart()
    line.end(2 * HOURS + 1, 10_000)
    line._tell("meter_read", 2 * HOURS + 2, "CP-1", connector_id=1, transaction_id="1", register_wh=12_000)
    line.tick(2 * HOURS + 60)
    line.tick(4 * HOURS)
    assert {bill[3] for bill in line.bills()} <= {"4.7600", "5.7120"}
    assert line.bills()[0][3] == "4.7600"


@pytest.mark.parametrize("prices", [(0.3, 0.9), (0.9, 0.3)])
def test_two_prices_for_one_slot_hold_the_bill_until_a_revision_decides(prices: tuple[float, float]) -> None:
    """Whichever of them came first in the topic."""
    line = Line()
    line.topics.publish("sites", SITE)
    line.topics.publish("tariffs", SPOT)
    line.topics.publish("price-signals", *(slot(1, price) for price in prices), slot(2, 0.3))
    line.tick(0)
    line.charge()
    line.tick(3 * HOURS)
    line.topics.publish("price-signals", slot(1, 0.3, revision=2))
    line.tick(4 * HOURS)
    assert line.bills() == [
        (1, "HELD", "SIGNAL_MISSING", None, "ENDED"),
        (2, "FINAL", None, "4.7600", "BILL_RELEASED"),
    ]


def test_a_missing_slot_holds_the_bill_and_a_late_revision_of_it_changes_nothing() -> None:
    line = Line()
    line.topics.publish("sites", SITE)
    line.topics.publish("tariffs", SPOT)
    line.topics.publish("price-signals", slot(1, 0.20))
    line.tick(0)
    line.charge()
    line.topics.publish("price-signals", slot(2, 0.30))
    line.tick(2.1 * HOURS)
    line.topics.publish("price-signals", slot(1, 0.90, revision=2), slot(2, 0.90, revision=2))
    line.tick(2.2 * HOURS)
    line._tell("meter_read", 1.5 * HOURS + 7, "CP-1", connector_id=1, transaction_id="1", register_wh=7_501)
    line.tick(2.3 * HOURS)
    bills = line.bills()
    assert bills[:2] == [(1, "HELD", "SIGNAL_MISSING", None, "ENDED"), (2, "FINAL", None, "4.1650", "BILL_RELEASED")]
    assert all(bill[3] == "4.1650" for bill in bills[1:]), "(0.20 + 0.10 + 0.30 + 0.10) * 5 kWh * 1.19"
    assert len(line.told[RECEIPTS]) == 1


def test_slots_that_arrive_in_a_session_give_what_a_restarted_worker_gives() -> None:
    def run(restarts: Iterable[int]) -> dict[str, list[Any]]:
        line = Line()
        line.topics.publish("sites", SITE)
        line.topics.publish("tariffs", SPOT)
        line.topics.publish("price-signals", slot(1, 0.20))
        line.tick(0)
        line.begin(0)
        for minute in range(1, 120):
            if minute == 30:
                line.topics.publish("price-signals", slot(2, 0.30), slot(1, 0.25, revision=2))
                line.tick(minute * 60)
            if minute in restarts:
                line.restart()
            line._tell("meter_read", minute * 60, "CP-1", connector_id=1, transaction_id="1", register_wh=80 * minute)
        line.end(2 * HOURS, 9_600)
        return line.told

    undisturbed = run(())
    assert run((10, 29, 30, 31, 75)) == undisturbed
    costs = [update["running_cost_excl_vat"] for update in undisturbed[UPDATES]]
    assert len(costs) > 100
    assert undisturbed[SESSIONS][-1]["total_excl_vat"] == "3.6000"


def test_a_site_version_holds_from_its_date_on() -> None:
    later = SITE | {"version": 2, "valid_from": "2026-03-02T10:00:00Z", "site_id": "S1", "time_zone": "Europe/Paris"}
    moved = SITE | {"version": 3, "valid_from": "2026-03-02T20:00:00Z", "stations": []}
    line = Line()
    line.topics.publish("sites", SITE, later, moved)
    line.tick(0)
    line.charge(0)
    line.charge(4 * HOURS, tx="2")
    line.charge(14 * HOURS, tx="3")
    zones = [(each["site_id"], each["time_zone"]) for each in line.told[SESSIONS]]
    assert zones == [("S1", "Europe/Berlin"), ("S1", "Europe/Paris"), (None, None)]


def test_a_record_that_is_no_site_prices_nothing_and_stops_nobody() -> None:
    line = Line()
    line.topics.publish("sites", b"{", SITE)
    line.topics.publish("tariffs", tariff(0.40))
    line.tick(0)
    line.charge()
    assert line.bills() == [(1, "FINAL", None, "4.7600", "ENDED")]


def impossible(line: Line, wh: int = 900_000) -> str:
    """A session of 900 kWh in two hours at a connector of 22 kW: held, whatever is known."""
    line.topics.publish("sites", SITE)
    line.topics.publish("tariffs", tariff(0.40))
    line.tick(0)
    line.charge(wh=wh)
    assert [(bill[1], bill[2]) for bill in line.bills()] == [("HELD", "IMPOSSIBLE_ENERGY")]
    return str(line.told[SESSIONS][0]["session_id"])


@pytest.mark.parametrize("hours", [0.1, 30], ids=["within the reorder window", "from the archive"])
def test_somebody_gives_up_a_bill_that_no_reference_data_releases(hours: float) -> None:
    line = Line()
    session_id = impossible(line)
    line.tick((2 + hours) * HOURS)
    line._tell("bill_decided", 0, "CP-1", session_id=session_id, decision="waive")
    line.tick((2 + hours) * HOURS + 60)
    line.tick((3 + hours) * HOURS)
    assert line.bills()[1:] == [(2, "FINAL", None, "0.0000", "BILL_WAIVED")]
    assert "IMPOSSIBLE_ENERGY" in line.told[SESSIONS][-1]["quality"]
    assert [state.held for state in line.stage.states.values()] == [{}]
    line._tell("bill_decided", 0, "CP-1", session_id=session_id, decision="waive")
    assert "dead-letters" not in line.told, "the same decision again is a repetition"
    assert len(line.bills()) == 2


def test_what_was_held_longer_than_the_horizon_is_forgotten() -> None:
    line = Line()
    impossible(line)
    for day in range(1, 10):
        line.tick(day * 24 * HOURS)
    assert [(state.held, state.waits) for state in line.stage.states.values()] == [({}, 0)]


def test_a_state_of_the_previous_codec_is_read() -> None:
    """Version 1 knew nothing of held bills: its records end before these fields."""
    line = Line()
    line.charge()
    state = line.stage.states[b"CP-1"]
    fields = msgspec.msgpack.decode(line.logic.dump(state))
    sessions = fields[3]
    old = fields[: [each.name for each in msgspec.structs.fields(type(state))].index("archive") + 1]
    for name, session in sessions.items():
        names = [each.name for each in msgspec.structs.fields(type(state.sessions[name]))]
        sessions[name] = session[: names.index("fold") + 1]
    restored = line.logic.load(b"CP-1", msgspec.msgpack.encode(old), 1, MemoryArchive())
    assert (restored.waits, restored.held, len(restored.sessions)) == (0, {}, 1)
    assert next(iter(restored.sessions.values())).revision == 1
