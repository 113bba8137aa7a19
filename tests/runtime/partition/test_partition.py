"""One partition in memory: what it writes and when, what it refuses, and what it does to time."""

from __future__ import annotations

import pytest
from confluent_kafka import Message
from hypothesis import given
from hypothesis import strategies as st

from pipeline.runtime.murmur import partition_of
from pipeline.runtime.partition import changelog
from pipeline.runtime.partition.changelog import StateRecord, UnreadableState
from pipeline.runtime.partition.dead_letters import WINDOW, DeadLetterFlood, FloodGate
from pipeline.runtime.partition.partition import Partition
from pipeline.runtime.partition.ports import Headers, Position
from pipeline.runtime.partition.restore import load
from pipeline.runtime.partition.undo import Listed
from tests.runtime.counting import Count, Counting

KEY = b"key-1"


class Log:
    """Collects what is produced, and makes the messages of one partition."""

    def __init__(self, *, output: str = "out") -> None:
        self.produced: list[tuple[str, bytes | None, bytes | None]] = []
        self.partitions: list[tuple[str, int]] = []
        self.refused: list[str] = []
        gate = FloodGate(1000, 90, self.refused.append)
        self.partition: Partition[Count] = Partition(0, 1, "in", Counting(output), gate, 900_000, Listed(()))
        self._next = 0

    def __call__(
        self, topic: str, value: bytes | None, key: bytes | None, partition: int = -1, headers: Headers = ()
    ) -> None:
        self.produced.append((topic, key, value))
        self.partitions.append((topic, partition))

    def take(self, *records: tuple[bytes | None, bytes]) -> None:
        start, self._next = self._next, self._next + len(records)
        messages = [
            Message(topic="in", partition=0, offset=start + at, key=key, value=value, timestamp=(1, 0))
            for at, (key, value) in enumerate(records)
        ]
        self.partition.take(messages, self)


def test_a_changed_state_is_written_once_its_time_is_over_and_the_position_says_from_where_to_read() -> None:
    log = Log()
    log.take((KEY, b"1"))
    assert list(log.partition.due_records(now=0.0, write_s=10)) == []
    assert log.partition.fixed() == Position(0, 1, 0)
    log.take((b"key-2", b"1"), (KEY, b"2"))
    written = dict(log.partition.due_records(now=10.0, write_s=10))
    assert set(written) == {KEY}
    assert changelog.decode_state(written[KEY] or b"").through == 3
    assert log.partition.fixed() == Position(0, 3, 1)
    assert set(dict(log.partition.due_records(now=20.0, write_s=10))) == {b"key-2"}
    assert log.partition.fixed() == Position(0, 3, 3)
    assert not log.partition.unwritten.overdue(100.0, 10)


def test_a_changed_archive_is_written_at_once_and_its_state_with_it() -> None:
    log = Log()
    log.take(*[(KEY, b"1")] * 50)
    written = dict(log.partition.due_records(now=0.0, write_s=10))
    assert set(written) == {KEY, changelog.archive_key(KEY, b"50"), changelog.archive_key(KEY, b"writes")}
    log.take(*[(KEY, b"1")] * 100)
    dropped = dict(log.partition.due_records(now=0.0, write_s=10))
    assert dropped[changelog.archive_key(KEY, b"50")] is None


def test_a_refused_record_leaves_no_key_behind() -> None:
    log = Log()
    log.take((KEY, b"not a number"))
    assert log.partition.entries == {}
    assert log.refused == ["NOT_A_NUMBER"]
    assert log.produced == [("dead-letters", KEY, b"not a number"), ("rejections", None, None)]


def test_a_tick_wakes_only_the_keys_of_its_clock_whose_time_has_come() -> None:
    log = Log()
    log.take(*[(KEY, b"1")] * 10)
    log.produced.clear()
    log.take((None, b"other 99000000"), (None, b"live 4999999"))
    assert log.produced == []
    log.take((None, b"live 5000000"), (None, b"live 5000000"), (None, b"live 9000000"))
    assert [key for _, key, _ in log.produced] == [KEY + b"/reminder-5000000"]


def test_an_output_goes_to_the_partition_of_its_source_where_its_topic_is_so() -> None:
    """Else the open transaction of a dead worker would hold up the outputs of all others in the same partitions."""
    for topic, partition in (("sessions", 0), ("out", -1)):
        log = Log(output=topic)
        log.take(*[(KEY, b"1")] * 10, (KEY, b"no number"))
        assert log.partitions == [(topic, partition), ("dead-letters", -1), ("rejections", 0)]


def test_a_state_of_an_unknown_codec_or_format_stops_the_worker() -> None:
    log = Log()
    with pytest.raises(UnreadableState, match="codec version 2"):
        load(log.partition, KEY, changelog.encode_state(StateRecord(2, 0, b"")), {})
    with pytest.raises(UnreadableState, match="format ff"):
        load(log.partition, KEY, b"\xff" * 40, {})
    with pytest.raises(UnreadableState):
        changelog.decode_metadata("2:17")


def test_many_dead_letters_among_good_records_are_a_flood_too() -> None:
    gate = FloodGate(longest_run=WINDOW, percent=50, count=lambda _: None)
    for offset in range(0, WINDOW, 2):
        gate.refused(0, offset, b"key-%d" % (offset % 40), "MALFORMED_JSON")
    gate.passed(WINDOW - 1)
    with pytest.raises(DeadLetterFlood, match="50 %"):
        gate.passed(1)


@given(st.binary(), st.integers(0, 65535), st.integers(0, 1 << 62))
def test_records_and_metadata_read_back_as_written(body: bytes, version: int, offset: int) -> None:
    record = StateRecord(version, offset, body)
    assert changelog.decode_state(changelog.encode_state(record)) == record
    assert changelog.decode_metadata(changelog.encode_metadata(offset)) == (offset, ())
    assert changelog.decode_metadata(changelog.encode_metadata(offset, (1, offset))) == (offset, (1, offset))


@pytest.mark.parametrize(
    ("key", "number"),
    [(b"21", -973932308), (b"foobar", -790332482), (b"a-little-bit-long-string", -985981536), (b"abc", 479470107)],
)
def test_keys_go_where_the_java_clients_put_them(key: bytes, number: int) -> None:
    """Vectors of org.apache.kafka.common.utils.UtilsTest.testMurmur2."""
    assert partition_of(key, 1009) == (number & 0x7FFFFFFF) % 1009


def test_totals_follow_the_state_records_and_survive_a_restore() -> None:
    """Tallies of the counting logic: records of a key, and one for the key."""
    log = Log()
    log.take((KEY, b"1"), (b"key-2", b"1"), (KEY, b"2"))
    assert log.partition.totals == ()
    written = dict(log.partition.due_records(now=0.0, write_s=0))
    assert tuple(log.partition.totals) == (3, 2)
    log.take((KEY, b"3"))
    assert tuple(log.partition.totals) == (3, 2)
    list(log.partition.due_records(now=1.0, write_s=0))
    assert tuple(log.partition.totals) == (4, 2)
    restored = Log()
    for key, value in written.items():
        load(restored.partition, key, value or b"", {})
    assert tuple(restored.partition.totals) == (3, 2)
