"""Each check of outputs objects to what it is for, and what tests put out is heard."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import msgspec
import pytest

from pipeline.domain.outputs import SessionSlot, StrippedSession
from pipeline.domain.station import HOUR, MINUTE, QUARTER
from pipeline.runtime.logic import Output
from pipeline.wire.sessions import encode_facts, with_revision
from tests import receipts
from tests.builders import Bench, charging
from tests.invariants import KNOWN, LISTENER, ON, Complaint, Heard, duration, ledger, overlap, register, schema, slots

START = 1_772_436_000_000_000 - 1_772_436_000_000_000 % HOUR


@pytest.fixture
def right() -> StrippedSession:
    """Two quarters of an hour and 6 kWh, as it is published."""
    bench = Bench()
    bench.start(600, 10_000)
    bench.reads(charging(660, 2340, 10_200, power_w=12_000))
    bench.stop(2400, 16_000)
    return bench.result()


def changed(record: StrippedSession, **fields: object) -> StrippedSession:
    return msgspec.structs.replace(record, **fields)


def moved(record: StrippedSession, name: str, us: int, wh: int) -> StrippedSession:
    """The same session, later and further up the register."""
    started, ended, low, high = (
        record.started_at_us, record.ended_at_us, record.start_register_wh, record.stop_register_wh,
    )  # fmt: skip
    assert started is not None
    assert ended is not None
    assert low is not None
    assert high is not None
    return changed(
        record, session_id=name, started_at_us=started + us, ended_at_us=ended + us,
        start_register_wh=low + wh, stop_register_wh=high + wh,
    )  # fmt: skip


def published(record: StrippedSession) -> Output:
    facts, content_hash = encode_facts(record)
    return Output("sessions", record.session_id.encode(), with_revision(facts, content_hash, 1, "RATED"))


def checks(complaints: Iterable[Complaint]) -> list[str]:
    return [check for check, _ in complaints]


def test_a_right_session_is_objected_to_by_nobody(right: StrippedSession) -> None:
    assert (right.energy_wh, len(right.slots), right.evidence) == (6_000, 2, "complete")
    assert checks([*duration(right), *slots(right), *overlap([right]), *register([right])]) == []
    heard = Heard()
    heard.output(published(right))
    assert heard.verdict() == []
    assert list(heard.latest) == [right.session_id]


@pytest.mark.parametrize(
    "fields",
    [{"idle_s": -60, "charging_s": 1_860}, {"charging_s": 1_799}, {"duration_s": -1}, {"ended_at_us": START}],
    ids=lambda fields: next(iter(fields)),
)
def test_a_time_that_cannot_be_is_objected_to(right: StrippedSession, fields: dict[str, object]) -> None:
    wrong = changed(right, **fields)
    assert set(checks(duration(wrong))) == {"duration"}
    heard = Heard()
    heard.output(published(wrong))
    assert "duration" in checks(heard.complaints)


@pytest.mark.parametrize(
    ("index", "slot", "check"),
    [
        (0, lambda slot: SessionSlot(slot.start_us, slot.energy_wh + 1, slot.occupied_s, slot.charging_s), "slots"),
        (1, lambda slot: SessionSlot(slot.start_us + 1, slot.energy_wh, slot.occupied_s, slot.charging_s), "slots"),
        (
            1,
            lambda slot: SessionSlot(slot.start_us + QUARTER, slot.energy_wh, slot.occupied_s, slot.charging_s),
            "slots",
        ),
        (1, lambda slot: SessionSlot(slot.start_us, slot.energy_wh, slot.occupied_s, slot.occupied_s + 1), "slots"),
        (
            1,
            lambda slot: SessionSlot(slot.start_us, slot.energy_wh, slot.occupied_s, slot.charging_s - 1),
            "slot_times",
        ),
        (
            1,
            lambda slot: SessionSlot(slot.start_us, slot.energy_wh, slot.occupied_s + 1, slot.charging_s),
            "slot_times",
        ),
    ],
    ids=["energy", "place", "hole", "more charging than occupied", "charging", "occupied"],
)
def test_slots_that_do_not_re_add_are_objected_to(
    right: StrippedSession, index: int, slot: Callable[[SessionSlot], SessionSlot], check: str
) -> None:
    wrong = list(right.slots)
    wrong[index] = slot(wrong[index])
    assert check in checks(slots(changed(right, slots=tuple(wrong))))


def test_a_slot_that_takes_back_energy_is_objected_to(right: StrippedSession) -> None:
    first, second, *rest = right.slots
    wrong = (
        SessionSlot(first.start_us, -1, first.occupied_s, first.charging_s),
        SessionSlot(second.start_us, second.energy_wh + first.energy_wh + 1, second.occupied_s, second.charging_s),
        *rest,
    )
    assert checks(slots(changed(right, slots=wrong))) == ["slots"]


def test_two_sessions_at_one_time_are_objected_to(right: StrippedSession) -> None:
    later = moved(right, "LATER", 30 * MINUTE, 6_000)
    assert checks(overlap([right, later])) == []
    assert checks(overlap([right, moved(right, "LATER", 30 * MINUTE - 1, 6_000)])) == ["overlap"]
    longest = changed(right, ended_at_us=(right.ended_at_us or 0) + HOUR)
    assert checks(overlap([longest, moved(right, "IN", 10, 0), later])) == ["overlap", "overlap"]  # not only neighbours


def test_two_sessions_with_one_stretch_of_the_register_are_objected_to(right: StrippedSession) -> None:
    assert checks(register([right, moved(right, "NEXT", HOUR, 6_000)])) == []
    assert checks(register([right, moved(right, "NEXT", HOUR, 5_999)])) == ["register"]
    assert checks(register([right, moved(right, "TWICE", 1, 0)])) == ["register"]
    assert checks(register([right, moved(right, "TWICE", HOUR, 0)])) == ["register"]
    assert checks(register([right, changed(moved(right, "TWICE", HOUR, 0), energy_wh=None)])) == []  # not billed


def test_a_meter_that_was_reset_or_replaced_counts_anew(right: StrippedSession) -> None:
    below = moved(right, "BELOW", HOUR, -3_000)
    assert checks(register([right, below])) == []
    assert checks(register([right, below, moved(right, "AGAIN", 2 * HOUR, -3_000 + 5_999)])) == ["register"]
    assert checks(register([right, moved(right, "AT ONCE", 1, -3_000)])) == ["register"]  # both at one time: no reset
    fell = changed(moved(right, "FELL", HOUR, 6_000), stop_register_wh=500)
    assert checks(register([right, fell, moved(right, "AFTER", 2 * HOUR, 0)])) == []
    each_alone = changed(right, start_register_wh=0, stop_register_wh=6_000)
    assert checks(register([each_alone, moved(each_alone, "NEXT", HOUR, 0)])) == []


def test_only_standing_sessions_of_one_connector_are_compared(right: StrippedSession) -> None:
    def verdict(*records: StrippedSession) -> set[str]:
        heard = Heard()
        for record in records:
            heard.output(published(record))
        return set(checks(heard.verdict()))

    twice = moved(right, "TWICE", MINUTE, 0)
    assert verdict(right, twice) == {"overlap", "register"}
    assert verdict(right, changed(twice, bill_state="HELD", held_reason="NEGATIVE_ENERGY")) == {"overlap", "register"}
    assert verdict(right, changed(twice, status="void", superseded_by="X")) == set()
    assert verdict(right, changed(twice, connector_id=2)) == set()
    assert verdict(right, changed(twice, station_id="CP-2")) == set()
    assert verdict(right, twice, moved(twice, "TWICE", HOUR, 6_000)) == set()  # its revision stands


def test_what_is_not_as_published_is_objected_to(right: StrippedSession) -> None:
    good = published(right).value
    assert good is not None
    assert checks(schema("sessions", good)) == []
    assert checks(schema("sessions", good.replace(b'"complete"', b'"proven"'))) == ["schema"]
    assert checks(schema("sessions", good.replace(b'"station_id"', b'"idTag"'))) == ["schema"] * 2
    heard = Heard()
    heard.output(Output("receipts", b"key", b"{}"))
    assert set(checks(heard.verdict())) == {"schema"}
    heard.output(Output("sessions", b"key", None))
    heard.output(Output("dead-letters", b"key", b"\xff"))
    assert heard.verdict() == []


def test_a_ledger_that_does_not_balance_is_objected_to() -> None:
    bench = Bench()
    bench.start(0, 10_000)
    bench.reads(charging(60, 1800, 10_200))
    bench.stop(1860, 16_000)
    bench.tick(2 * 3600)
    assert bench.records
    assert list(ledger(bench.station)) == []
    bench.station.connector(1).attributed_wh += 1
    assert list(ledger(bench.station)) == [("ledger", "CP-1/1: differs by 1 Wh")]
    bench.station.connector(1).attributed_wh -= 1
    bench.station.received += 1
    assert checks(ledger(bench.station)) == ["ledger"]
    bench.station.received -= 1


def test_what_a_test_puts_out_is_heard_and_a_wrong_output_fails_it(right: StrippedSession) -> None:
    outputs = list(receipts.story())
    bench = Bench()
    LISTENER.of(bench).session(changed(right, slots=right.slots[:1]))
    runs = [heard for _, heard in LISTENER._runs.values()]
    assert {each.session_id for run in runs for each in run.latest.values()} >= {right.session_id}
    told = {output.key.decode() for output in outputs if output.topic == "sessions"}
    assert told
    assert any(run.latest.keys() == told for run in runs)  # of the stage, which this test has not told the listener
    energy, times = LISTENER.verdict("this test")
    assert energy.startswith(f"slots: {right.session_id}: 6000 Wh, its slots have ")
    assert times.startswith(f"slot_times: {right.session_id}: (1800, 1800) s of duration and charging, its slots have ")
    assert LISTENER.verdict("this test") == []


def test_a_known_violation_that_is_gone_is_to_be_taken_out(right: StrippedSession) -> None:
    name, check = next(iter(KNOWN.items()), (None, None))
    assert set(KNOWN.values()) <= ON
    if name is not None:
        LISTENER.verdict(name)
        assert LISTENER.verdict(name) == [f"{check}: {name} passes it now: take it out of KNOWN in tests/invariants.py"]
