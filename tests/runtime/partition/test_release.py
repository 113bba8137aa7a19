"""A key that was set aside comes back in pieces: nothing is lost or told twice, and all others go on meanwhile."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from pipeline.runtime.logic import Output
from pipeline.runtime.partition import release
from pipeline.runtime.partition.restore import renumber
from tests.runtime.counting import GROWS, RAISES, Count, Counting
from tests.runtime.partition_log import PartitionLog, Produced

pytestmark = pytest.mark.internal_errors

BAD, GOOD = b"bad", b"good"
Records = list[tuple[bytes | None, bytes | None]]


class Watched(Counting):
    """Notes the key of each record that it applies."""

    def __init__(self) -> None:
        super().__init__()
        self.applied: list[bytes] = []

    def apply(self, state: Count, value: bytes, sent_at_ms: int) -> Sequence[Output] | None:
        self.applied.append(state.key)
        return super().apply(state, value, sent_at_ms)


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(release, "PIECE", 4)


def numbers(key: bytes, first: int, count: int) -> Records:
    return [(key, b"%d" % number) for number in range(first, first + count)]


def state(log: PartitionLog) -> tuple[bytes, dict[bytes, bytes]]:
    entry = log.partition.entries[BAD]
    return log.logic.dump(entry.state), entry.kept


def told(log: PartitionLog) -> list[Produced]:
    return sorted(log.of(BAD, "sessions"))


KEPT: Records = [
    *numbers(BAD, 100, 30), (None, b"live 1000000 2"), *numbers(BAD, 140, 27), (None, b"live 7000000 3"),
    *numbers(BAD, 170, 14),
]  # fmt: skip


def both() -> tuple[PartitionLog, PartitionLog]:
    """One whose key `bad` is set aside with KEPT, mended now, and one that never knew the error."""
    log, without = PartitionLog(Watched()), PartitionLog(Counting())
    without.logic.broken = False
    for each in log, without:
        each.take(*numbers(BAD, 0, 27), (BAD, GROWS), *KEPT)
    log.checkpoint()
    assert set(log.partition.quarantine.set_aside) == {BAD}
    log.logic.broken = False
    return log, without


def mend_the_first(log: PartitionLog) -> None:
    """Of the records that are kept, the first that raises does so no more."""
    place = next(place for place, each in enumerate(log.committed_records) if each.value == GROWS)
    log.committed_records[place] = log.committed_records[place]._replace(value=b"7")


@pytest.mark.parametrize("crash_after", [None, *range(30)])
def test_a_crash_after_any_step_and_records_between_the_steps_change_nothing(crash_after: int | None) -> None:
    log, without = both()
    log.order(BAD)
    step = late = 0
    while log.partition.quarantine.releasing:
        log.partition.go_on_releasing(log.produce)
        if step % 5 == 3 and late < 3:  # what arrives meanwhile has its place behind what is kept
            late += 1
            for each in log, without:
                each.take((None, b"live %d 4" % (8_000_000 + late)), *numbers(BAD, 200 + 10 * late, 7))
        if step % 3 == 1:
            log.checkpoint()
        if step == crash_after:
            log.crash()
        step += 1
    for each in log, without:
        each.take((None, b"live 20000000 5"), *numbers(BAD, 300, 12))
        each.checkpoint()
    assert state(log) == state(without)
    assert told(log) == told(without)
    assert log.still_kept() == []
    log.crash()
    assert state(log) == state(without)


def test_a_step_applies_no_more_than_a_piece_and_others_go_on_between() -> None:
    log, _ = both()
    log.order(BAD)
    log.logic.applied.clear()
    most = 0
    while log.partition.quarantine.releasing:
        before = len(log.logic.applied)
        log.partition.go_on_releasing(log.produce)
        most = max(most, len(log.logic.applied) - before)
        log.take((GOOD, b"1"))
    assert most == 4
    first, last = log.logic.applied.index(BAD), len(log.logic.applied) - log.logic.applied[::-1].index(BAD)
    assert log.logic.applied[first:last].count(GOOD) > 15


def test_one_that_raises_in_a_later_piece_is_set_aside_there_and_keeps_the_rest_in_order() -> None:
    log = PartitionLog(Counting())
    log.take(*numbers(BAD, 0, 5), (BAD, GROWS), *numbers(BAD, 10, 9), (BAD, GROWS), *numbers(BAD, 30, 9))
    log.checkpoint()
    mend_the_first(log)
    log.order(BAD)
    while log.partition.quarantine.releasing:
        log.partition.go_on_releasing(log.produce)
        log.checkpoint()
    assert set(log.partition.quarantine.set_aside) == {BAD}
    assert [each.value() for each in log.still_kept()] == [GROWS, *(value for _, value in numbers(BAD, 30, 9))]
    log.logic.broken = False
    log.release(BAD)
    assert log.partition.entries[BAD].state.count == 5 + 1 + 9 + 1 + 9
    log.checkpoint()
    assert log.still_kept() == []


def test_a_record_that_raises_in_a_piece_is_a_dead_letter_of_its_own() -> None:
    log = PartitionLog(Counting())
    log.take(*numbers(BAD, 0, 5), (BAD, GROWS), *numbers(BAD, 10, 6), (BAD, RAISES), *numbers(BAD, 20, 6))
    log.checkpoint()
    mend_the_first(log)
    log.release(BAD)
    assert log.partition.entries[BAD].state.count == 5 + 1 + 6 + 6
    assert [each.value for each in log.outputs("dead-letters")] == [RAISES]


@pytest.mark.parametrize("crash_after", range(12))
def test_afresh_begins_anew_once_whenever_it_crashes(crash_after: int) -> None:
    log, _ = both()
    log.order(BAD, b"afresh")
    step = 0
    while log.partition.quarantine.releasing:
        log.partition.go_on_releasing(log.produce)
        log.checkpoint()
        if step == crash_after:
            log.crash()
        step += 1
    assert step > 12
    assert log.partition.entries[BAD].state.count == 1 + 30 + 27 + 14


def test_a_tick_of_a_source_that_was_made_anew_reaches_what_was_kept() -> None:
    """Its offset is below the one up to which the state record had everything of the former source."""
    log = PartitionLog(Counting())
    log.take(*numbers(BAD, 0, 30), (BAD, GROWS))
    log.checkpoint()
    log.source_log = []
    renumber(log.partition, 0)
    log.write((BAD, b"7"), (None, b"live 90000000"), (BAD, b"8"), at_ms=60_000)
    log.read_on()
    log.checkpoint()
    log.logic.broken = False
    log.release(BAD)
    assert b"bad/reminder-90000000" in [each.key for each in log.outputs("sessions")]
