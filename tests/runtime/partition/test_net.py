"""What raises costs its own key only: it is undone, or the key is set aside and comes back as if nothing had been."""

from __future__ import annotations

import logging

import pytest

from pipeline.runtime.partition.changelog import archive_key
from pipeline.runtime.partition.dead_letters import BadRelease, DeadLetterFlood, FloodGate
from pipeline.runtime.partition.quarantine import QUARANTINE
from pipeline.runtime.partition.restore import renumber
from pipeline.wire.quarantine import MARK, decode_mark
from tests.runtime.counting import GROWS, OUTGROWS, RAISES, TICK_RAISES, Counting
from tests.runtime.partition_log import PartitionLog, Produced

pytestmark = pytest.mark.internal_errors

BAD, GOOD = b"bad", b"good"
OUTPUTS = ("sessions", "dead-letters")


def told(log: PartitionLog, key: bytes) -> list[Produced]:
    return log.of(key, "sessions")


def numbers(key: bytes, first: int, count: int) -> list[tuple[bytes | None, bytes | None]]:
    return [(key, b"%d" % number) for number in range(first, first + count)]


def state(log: PartitionLog, key: bytes) -> tuple[bytes, dict[bytes, bytes]]:
    entry = log.partition.entries[key]
    return log.logic.dump(entry.state), entry.kept


def reason(letter: Produced) -> dict[str, bytes]:
    return dict(letter.headers)


@pytest.mark.parametrize("written", [0, 3, 60])
def test_a_record_that_raises_is_undone_and_becomes_a_dead_letter(written: int) -> None:
    """Wherever its state record was written; what the reference data showed meanwhile is seen again as it was."""
    log, without = PartitionLog(Counting()), PartitionLog(Counting())
    before = [
        *numbers(BAD, 0, 33), (None, b"live 1000 3"), *numbers(BAD, 40, 70), *numbers(GOOD, 0, 33),
        (None, b"live 2000 4"),
    ]  # fmt: skip
    after = [*numbers(BAD, 200, 33), *numbers(GOOD, 200, 33), (None, b"live 9000000 5")]
    for each in log, without:
        each.take(*before[:written])
        each.checkpoint()
        each.take(*before[written:])
    log.take((BAD, RAISES))
    assert state(log, BAD) == state(without, BAD)
    log.take(*after)
    without.take(*after)
    assert log.outputs("sessions") == without.outputs("sessions")
    (letter,) = log.outputs("dead-letters")
    assert (letter.key, letter.value) == (BAD, RAISES)
    assert reason(letter)["reason"] == b"INTERNAL_ERROR"
    assert reason(letter)["detail"].startswith(b"KeyError at pipeline/runtime/")
    assert log.outputs("anomalies") == [Produced("anomalies", BAD, b"INTERNAL_ERROR held 103", ())]
    assert log.refused == ["INTERNAL_ERROR"]


def test_what_was_undone_is_not_met_again_by_a_restore() -> None:
    log, without = PartitionLog(Counting()), PartitionLog(Counting())
    log.take(*numbers(BAD, 0, 57), (BAD, RAISES), *numbers(BAD, 60, 3))
    without.take(*numbers(BAD, 0, 57), *numbers(BAD, 60, 3))
    log.checkpoint(write_s=100)
    log.logic.broken = False  # a new release
    log.crash()
    assert state(log, BAD) == state(without, BAD)
    assert len(log.outputs("dead-letters")) == 1


def test_two_records_that_raise_before_a_checkpoint_are_both_left_out() -> None:
    log, without = PartitionLog(Counting()), PartitionLog(Counting())
    log.take(*numbers(BAD, 0, 7), (BAD, RAISES), (BAD, RAISES), *numbers(BAD, 10, 7), (BAD, RAISES))
    without.take(*numbers(BAD, 0, 7), *numbers(BAD, 10, 7))
    assert state(log, BAD) == state(without, BAD)
    assert len(log.outputs("dead-letters")) == 3


def test_a_first_record_that_raises_leaves_no_key() -> None:
    log = PartitionLog(Counting())
    log.take((BAD, RAISES))
    assert log.partition.entries == {}
    log.checkpoint()
    assert log.changelog() == {}
    assert [each.key for each in log.outputs("dead-letters", "anomalies")] == [BAD, BAD]


SCRIPTS = {
    "output": [*numbers(BAD, 0, 25), (BAD, GROWS), *numbers(BAD, 30, 33)],
    "first output": [(BAD, GROWS), *numbers(BAD, 30, 33)],
    "state": [*numbers(BAD, 0, 25), (BAD, OUTGROWS), *numbers(BAD, 30, 33)],
    "tick": [*numbers(BAD, 0, 30), (None, b"live 900000%d" % TICK_RAISES), *numbers(BAD, 30, 33)],
}


@pytest.mark.parametrize("crashes", [False, True])
@pytest.mark.parametrize("script", SCRIPTS)
def test_a_key_that_is_set_aside_comes_back_as_if_nothing_had_been(script: str, crashes: bool) -> None:
    """Every output of it once, in the end; the others never notice."""
    log, without = PartitionLog(Counting(), max_state_bytes=400), PartitionLog(Counting(), max_state_bytes=4_000)
    without.logic.broken = False
    tick = (None, b"live 20000000 3")
    for number, record in enumerate(SCRIPTS[script]):
        for each in log, without:
            each.take(record, (GOOD, b"1"))
            each.checkpoint(write_s=0 if crashes else 3)
        if crashes and number % 3 == 2:
            log.crash()
    log.take(tick)
    without.take(tick)
    assert set(log.partition.quarantine.set_aside) == {BAD}
    assert told(log, BAD) != told(without, BAD)
    assert told(log, GOOD) == told(without, GOOD)
    assert log.outputs("dead-letters") == []
    assert (log.outputs("anomalies")[0].value or b"").startswith(b"STATION_QUARANTINED")
    log.checkpoint()
    assert archive_key(BAD, MARK) in log.changelog()
    log.logic.broken, log.max_state_bytes = False, 4_000  # a new release
    log.crash()
    log.release(BAD)
    log.take(tick)
    without.take(tick)
    assert log.partition.quarantine.set_aside == {}
    assert state(log, BAD) == state(without, BAD)
    assert sorted(told(log, BAD)) == sorted(told(without, BAD))
    log.checkpoint()
    assert archive_key(BAD, MARK) not in log.changelog()
    assert log.still_kept() == []
    log.crash()
    assert state(log, BAD) == state(without, BAD)


def test_a_release_that_raises_again_keeps_the_rest() -> None:
    log = PartitionLog(Counting())
    log.take(*numbers(BAD, 0, 5), (BAD, GROWS), (BAD, b"7"), (BAD, GROWS), (BAD, b"8"))
    log.checkpoint()
    log.release(BAD)
    assert set(log.partition.quarantine.set_aside) == {BAD}
    log.checkpoint()
    log.logic.broken = False
    log.release(BAD)
    assert log.partition.entries[BAD].state.count == 9
    assert len(log.outputs("anomalies")) == 3, "set aside, again, released"


def test_a_release_of_a_key_that_is_not_set_aside_is_nothing() -> None:
    log = PartitionLog(Counting())
    log.take((GOOD, b"1"))
    log.release(GOOD)
    log.release(b"nobody")
    assert log.outputs("dead-letters") == []
    log.take((GOOD, None))
    assert reason(log.outputs("dead-letters")[0])["reason"] == b"EMPTY_VALUE"


def test_a_state_record_that_cannot_be_read_sets_its_key_aside_and_afresh_begins_anew() -> None:
    log = PartitionLog(Counting())
    log.take(*numbers(BAD, 0, 12), *numbers(GOOD, 0, 3))
    log.checkpoint()
    log.take(*numbers(BAD, 20, 3))
    log.checkpoint(write_s=100)
    corrupt = log.changelog()[BAD][:-7]
    log.committed_records.append(Produced("changelog", BAD, corrupt, ()))
    log.crash()
    log.take(*numbers(BAD, 30, 4), *numbers(GOOD, 30, 4))
    assert set(log.partition.quarantine.set_aside) == {BAD}
    assert log.partition.entries[GOOD].state.count == 7
    log.checkpoint()
    assert log.changelog()[BAD] == corrupt
    mark = decode_mark(log.changelog()[archive_key(BAD, MARK)])
    assert mark.reason.startswith("the state record cannot be read: ")
    assert mark.reason.endswith("its open sessions could not be held: they are shown as they were")
    assert log.outputs("anomalies")[-1].value == b"STATION_QUARANTINED unknown"
    assert [each.value() for each in log.still_kept()] == [b"20", b"21", b"22", b"30", b"31", b"32", b"33"]
    log.release(BAD)
    assert set(log.partition.quarantine.set_aside) == {BAD}, "its record is as unreadable as before"
    log.release(BAD, b"afresh")
    assert log.partition.entries[BAD].state.count == 7


def test_what_the_source_has_lost_is_said_and_stops_nothing(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def gone(*_: int) -> None:
        raise LookupError("in partition 0: records 3 to 4 are gone")

    log = PartitionLog(Counting())
    log.take(*numbers(BAD, 0, 3))
    log.checkpoint()
    log.take(*numbers(BAD, 3, 2))
    monkeypatch.setattr(log, "source", gone)
    log.take((BAD, RAISES), (BAD, b"7"), (GOOD, b"1"))
    assert "records 3 to 4 are gone; a station that is set aside lacks them" in caplog.text
    log.checkpoint()
    log.logic.broken = False
    log.release(BAD)
    assert (log.partition.entries[BAD].state.count, log.partition.entries[GOOD].state.count) == (3 + 2, 1)


def test_what_is_kept_outlasts_a_source_that_is_made_anew() -> None:
    """Its offsets begin at 0 again, so they say nothing of the order."""
    log = PartitionLog(Counting())
    log.take(*numbers(BAD, 0, 9), (BAD, GROWS), *numbers(BAD, 10, 2))
    log.checkpoint()
    log.source_log = []
    renumber(log.partition, 0)
    log.write(*numbers(GOOD, 0, 3), *numbers(BAD, 20, 12), at_ms=60_000)
    log.read_on()
    log.checkpoint()
    log.logic.broken = False
    log.release(BAD)
    assert log.partition.entries[BAD].state.count == 9 + 1 + 2 + 12
    log.checkpoint()
    assert log.still_kept() == []


def test_a_release_forgives_what_was_raised_before() -> None:
    log = PartitionLog(Counting(), gate=FloodGate(1000, 90, lambda _: None, key_errors=2))
    log.take((BAD, b"1"), (BAD, RAISES), (BAD, RAISES))
    assert set(log.partition.quarantine.set_aside) == {BAD}
    log.logic.broken = False
    log.release(BAD)
    log.logic.broken = True
    log.take((BAD, RAISES))
    assert log.partition.quarantine.set_aside == {}


def test_a_key_that_raises_again_and_again_is_set_aside() -> None:
    log = PartitionLog(Counting(), gate=FloodGate(1000, 90, lambda _: None, key_errors=3))
    log.take((BAD, b"1"), *[(BAD, RAISES)] * 5)
    assert len(log.outputs("dead-letters")) == 2
    assert set(log.partition.quarantine.set_aside) == {BAD}
    assert len([each for each in log.outputs(QUARANTINE) if each.value == RAISES]) == 3


def test_the_same_exception_at_many_keys_is_a_bad_release() -> None:
    log = PartitionLog(Counting(), gate=FloodGate(1000, 90, lambda _: None, release_keys=4))
    log.take(*[(b"key-%d" % number, b"1") for number in range(6)])
    with pytest.raises(BadRelease, match=r"KeyError at pipeline/.* at 4 keys"):
        log.take(*[(b"key-%d" % number, RAISES) for number in range(6)])


def test_a_release_that_cannot_read_many_states_is_a_bad_one() -> None:
    log = PartitionLog(Counting(), gate=FloodGate(1000, 90, lambda _: None, release_keys=4))
    log.take(*[(b"key-%d" % number, b"1") for number in range(6)])
    log.checkpoint()
    for key, value in list(log.changelog().items()):
        log.committed_records.append(Produced("changelog", key, value[:-7], ()))
    with pytest.raises(BadRelease, match="at 4 keys"):
        log.crash()


def test_a_value_above_the_bound_is_a_dead_letter_without_it() -> None:
    log = PartitionLog(Counting())
    large = b"1" * 5_000_001
    log.take((GOOD, b"1"), (GOOD, large), (b"other", large), (None, large), (b"k" * 2000, b"1"))
    letters = log.outputs("dead-letters")
    assert [each.value for each in letters] == [None, None, None, b"1"]
    assert [reason(each)["reason"] for each in letters] == [b"TOO_LARGE"] * 3 + [b"INVALID_KEY"]
    assert reason(letters[0])["length"] == b"5000001"
    assert len(reason(letters[0])["sha256"]) == 64
    assert letters[3].key is None, "a key of any length would not fit beside a value of any length"


def test_one_station_alone_is_no_flood() -> None:
    log = PartitionLog(Counting(), gate=FloodGate(100, 50, lambda _: None))
    log.take((GOOD, b"1"), *[(BAD, b"garbage")] * 30_000, (GOOD, b"2"))
    assert log.partition.entries[GOOD].state.total == 3
    with pytest.raises(DeadLetterFlood):
        log.take(*[(b"key-%d" % (number % 10), b"garbage") for number in range(120)])


def test_the_log_names_places_and_no_content(caplog: pytest.LogCaptureFixture) -> None:
    log = PartitionLog(Counting())
    with caplog.at_level(logging.ERROR):
        log.take(*numbers(BAD, 0, 3), (BAD, RAISES), (BAD, GROWS))
    assert "KeyError at pipeline/runtime/partition/partition.py" in caplog.text
    assert "counting.py" in caplog.text
    for content in RAISES, GROWS, BAD, b"in the middle":
        assert content.decode() not in caplog.text
