"""Each bound of bounds.py, at the limit and one beyond: a station never makes a worker grow, stop or wait."""

from __future__ import annotations

from pipeline.domain import bounds
from pipeline.domain.events import (
    MeterRead,
    SessionAuthorized,
    SessionConfirmed,
    SessionEnded,
    SessionStarted,
    StationSeen,
)
from pipeline.domain.metering.clock import MOST_LAGS, note_lag
from pipeline.domain.metering.conservation import difference, tally, unattributed
from pipeline.domain.session.advance import advance
from pipeline.domain.session.neighbours import join
from pipeline.domain.session.status import MOST_BOOTS, see
from pipeline.domain.session.timeline import MOST_MISSING, note_number
from pipeline.domain.station import DAY, EARLIEST, SECOND, STRIDE, Session, Step
from pipeline.domain.station_codec import decode_archived, decode_station, encode_archived, encode_station
from tests.builders import Bench, us


def refused_by(bench: Bench, event: object) -> str | None:
    told = advance(bench.station, event)  # type: ignore[arg-type]  # each test makes a ChargeEvent
    return told.quarantined[0].reason if isinstance(told, Step) and told.quarantined else None


def balances(bench: Bench) -> bool:
    counted = tally(bench.station)
    return not counted.stations_off and not counted.connectors_off


# --- time ------------------------------------------------------------------------------------------------------------


def lasting(lasts_us: int) -> Bench:
    bench = Bench()
    lasts_s = lasts_us / SECOND
    bench.start(0, 1_000)
    bench.read(lasts_s / 2, 5_000)
    bench.stop(lasts_s, 9_000)
    return bench


def test_a_session_of_31_days_is_billed_and_a_longer_one_held_without_slots() -> None:
    longest = lasting(bounds.LONGEST_SESSION_US).result()
    assert "IMPOSSIBLE_DURATION" not in longest.quality
    assert len(longest.slots) == 31 * 96 + 1
    assert longest.energy_wh == 8_000
    beyond = lasting(bounds.LONGEST_SESSION_US + SECOND)
    record, measured = beyond.rated()
    assert (record.bill_state, record.held_reason, record.slots) == ("HELD", "IMPOSSIBLE_DURATION", ())
    assert (record.evidence, record.energy_wh) == ("incomplete", 8_000)
    assert "IMPOSSIBLE_DURATION" in record.flags
    assert not difference(beyond.station.connector(1))
    measured.settled = ("IMPOSSIBLE_DURATION",)
    assert measured.held == "IMPOSSIBLE_DURATION"  # no decision makes it short


def test_a_clock_that_was_never_set_gives_a_small_record() -> None:
    """S1-2: a start of 2018, as the first thing that a station says, made a record of 29 MB."""
    bench = Bench()
    started = SessionStarted(
        station_id="CP-1", event_time_us=EARLIEST + 365 * DAY, connector_id=1, transaction_id="t1", register_wh=5,
    )  # fmt: skip
    assert refused_by(bench, started) is None
    bench.stop(0, 9_000)
    record = bench.result()
    assert (record.bill_state, record.held_reason, record.slots) == ("HELD", "IMPOSSIBLE_DURATION", ())


def test_times_that_no_clock_shows_are_refused_before_anything_remembers_them() -> None:
    def read(at: int, received: int) -> MeterRead:
        return MeterRead(
            station_id="CP-1", event_time_us=at, received_time_us=received, transaction_id="t1", register_wh=5,
            connector_id=1,
        )  # fmt: skip

    bench, latest = Bench(), bounds.LATEST_US
    assert refused_by(bench, read(us(0), EARLIEST - 1)) == "CLOCK_WRONG"
    assert refused_by(bench, read(us(0), latest + 1)) == "CLOCK_WRONG"
    assert refused_by(bench, read(latest + 1, 0)) == "CLOCK_WRONG"
    assert not bench.station.sessions
    assert refused_by(bench, read(us(0), EARLIEST)) is None
    assert refused_by(bench, read(latest + 1, us(1))) is None  # a wrong clock that the receive time corrects
    assert refused_by(Bench(), read(us(0), latest)) is None
    assert refused_by(Bench(), read(latest, 0)) is None
    assert balances(bench)


def test_a_receive_time_of_1970_makes_no_negative_time() -> None:
    """S1-5a: "can't convert negative int to unsigned", in a tick after the records were committed."""
    bench = Bench()
    of = {"station_id": "CP-1", "connector_id": 1, "transaction_id": "t1"}
    assert refused_by(bench, SessionStarted(**of, event_time_us=us(0), register_wh=1_000)) is None  # type: ignore[arg-type]
    for event in (
        MeterRead(**of, event_time_us=us(60), received_time_us=1, register_wh=1_100),  # type: ignore[arg-type]
        SessionEnded(**of, event_time_us=us(-900), received_time_us=1, register_wh=1_200),  # type: ignore[arg-type]
    ):
        assert refused_by(bench, event) == "CLOCK_WRONG"
    bench.tick(2 * 86_400)
    bench.tick(3 * 86_400)
    assert balances(bench)
    (name,) = (name for name, _ in bench.station.archive.items())
    assert bench.session(name.decode()).ended_at_us == us(0)


def test_levels_of_the_clock_never_lead_before_2017() -> None:
    """Messages of a clock that is 80 years ahead show a level; one that is only late is not moved by it."""
    bench = Bench()
    ahead = 70 * 365 * 86_400
    for minute in range(5):
        bench.read(ahead + 60 * minute, 1_000 + minute, received=60 * minute)
    bench.start(7_200, 2_000, "t2", received=10_800)
    bench.stop(7_500, 2_100, "t2", received=10_900)
    bench.tick(86_400)
    for session in (bench.session("t2"), decode_archived(encode_archived(bench.session("t1")))):
        assert (session.ended_at_us or session.last_at_us) >= EARLIEST
    assert bench.result("t2").bill_state in ("FINAL", "HELD")


def test_the_bytes_of_an_archived_session_stand_any_end() -> None:
    session = Session(1, "t1", ended_at_us=-5)
    assert decode_archived(encode_archived(session)).ended_at_us == -5


# --- counts ----------------------------------------------------------------------------------------------------------


def test_a_station_has_256_connectors_and_no_more() -> None:
    bench = Bench()
    bench.status(0, "Available", connector=0)
    for number in range(1, bounds.MOST_CONNECTORS + 1):
        bench.status(number, "Available", connector=number)
    assert bench.refused == []
    bench.status(300, "Available", connector=60_000)
    bench.start(301, 5, "t1", connector=60_001)
    bench.read(302, 5, "t2", connector=60_002)
    assert bench.refused == ["TOO_MANY_CONNECTORS"] * 3
    assert 60_000 not in bench.station.connectors
    bench.status(303, "Charging", connector=bounds.MOST_CONNECTORS)
    bench.start(304, 5, "t1", connector=7)
    assert len(bench.refused) == 3
    assert balances(bench)


def test_a_station_has_1000_transactions_within_the_hour_and_no_more() -> None:
    bench = Bench()
    for number in range(bounds.MOST_SESSIONS):
        bench.read(number, 1_000 + number, f"t{number}")
    assert bench.refused == []
    at = float(bounds.MOST_SESSIONS)
    bench.read(at, 5, "new")
    bench.start(at, 5, "new")
    bench.start(at, 5, None, call="c")
    bench.stop(at, 5, "new")
    station = {"station_id": "CP-1", "event_time_us": us(at)}
    named = SessionAuthorized(**station, transaction_id="new", token="a")  # type: ignore[arg-type]  # noqa: S106
    answered = SessionConfirmed(**station, call="c", transaction_id="new")  # type: ignore[arg-type]
    assert [refused_by(bench, named), refused_by(bench, answered)] == ["TOO_MANY_SESSIONS"] * 2
    assert bench.refused == ["TOO_MANY_SESSIONS"] * 4
    bench.read(at, 9_000, "t5")  # whoever is known goes on
    assert len(bench.refused) == 4
    assert len(encode_station(bench.station)) < 450_000
    assert balances(bench)


def test_starts_are_refused_while_2000_bills_are_held() -> None:
    bench = Bench()
    bench.station.held = {str(number): (1, "") for number in range(bounds.MOST_HELD - 1)}
    bench.start(0, 5, "t1")
    assert bench.refused == []
    bench.station.held["one more"] = (1, "")
    bench.start(5, 6, "t2", connector=2)
    bench.read(9, 7, "t1")
    assert bench.refused == ["TOO_MANY_SESSIONS"]


def test_256_stops_wait_for_their_session_and_no_more() -> None:
    bench = Bench()
    for number in range(bounds.MOST_ORPHANS):
        bench.stop(number, number, None)
    assert bench.refused == []
    bench.stop(bounds.MOST_ORPHANS, 9_999, None)
    bench.stop(3, 3, None)  # the same again
    assert bench.refused == ["TOO_MANY_STOPS"]
    assert len(bench.station.orphans) == bounds.MOST_ORPHANS
    assert balances(bench)


def test_sequence_numbers_that_jump_are_kept_as_ranges() -> None:
    """S1-3: 200 events with milliseconds as sequence number made a state of 928,909 bytes."""
    bench = Bench()
    bench.start(0, 1_000, seq_no=0)
    for number in range(1, 5_000):
        bench.read(number, 1_000 + number, seq_no=2_000 * number)
    session = bench.session()
    assert len(session.seq_gaps) == bounds.MOST_SEQ_GAPS
    assert all(past - first == MOST_MISSING for first, past in session.seq_gaps)
    bench.stop(5_000, 6_000, seq_no=10_000_000)
    assert "SEQ_GAP" in bench.result().quality
    del session.readings[:]
    assert len(encode_station(bench.station)) < 50_000


def test_1000_holes_in_the_sequence_numbers_of_1000_each_are_kept_and_no_more() -> None:
    session, apart = Session(1, "t"), MOST_MISSING + 1
    for number in range(bounds.MOST_SEQ_GAPS + 1):
        note_number(session, apart * number)
    holes = [(apart * number + 1, apart * (number + 1)) for number in range(bounds.MOST_SEQ_GAPS)]
    assert session.seq_gaps == holes
    past = apart * bounds.MOST_SEQ_GAPS + 1
    note_number(session, past + MOST_MISSING + 1)
    assert session.seq_gaps == [*holes[1:], (past, past + MOST_MISSING)]


def test_ranges_of_sequence_numbers_are_what_single_numbers_were() -> None:
    session, other, seen = Session(1, "t"), Session(1, "u"), set()
    for number in (50, 53, 51, 40, 60, 53, 41, 59, 30, 52):
        fresh = number not in seen
        assert note_number(session, number) is fresh
        seen.add(number)
        missing = {each for first, past in session.seq_gaps for each in range(first, past)}
        assert missing == set(range(min(seen), max(seen))) - seen
    for number in (1 << 53, 45, 46):
        note_number(other, number)
    join(session, other)
    missing = {each for first, past in session.seq_gaps for each in range(first, past)}
    assert not missing & {45, 46, *seen}
    assert 44 in missing


def test_states_and_statuses_beyond_4000_make_the_activity_unclear() -> None:
    for with_readings in (True, False):
        bench = Bench()
        bench.start(0, 1_000)
        for at in range(1, bounds.MOST_STATES + 3):
            if at > bounds.MOST_STATES and at % 2:
                assert "ACTIVITY_UNCLEAR" not in bench.session().codes
            if with_readings:
                bench.read(at, 1_000 + at, state=("charging", "suspended_ev")[at % 2])
            else:
                bench.status(at, ("Charging", "SuspendedEV")[at % 2])
        assert "ACTIVITY_UNCLEAR" in bench.session().codes
        bench.stop(bounds.MOST_STATES + 600, 9_000)
        record = bench.result()
        assert record.evidence == "estimated"
        assert record.charging_s >= bounds.MOST_STATES // 2  # nobody pays an idle fee for what was forgotten


def test_512_gaps_of_the_ledger_are_kept_and_no_more() -> None:
    bench = Bench()
    for number in range(bounds.MOST_LEDGER + 2):
        gaps = max(number - 1, 0)
        assert (len(bench.station.connector(1).gaps), unattributed(bench.station.connector(1))) == (gaps, 7 * gaps)
        bench.start(600 * number, 107 * number, f"t{number}")
        bench.stop(600 * number + 300, 107 * number + 100, f"t{number}")
        bench.tick(600 * number + 300)
    connector = bench.station.connector(1)
    assert connector.settled_wh == 7 * (bounds.MOST_LEDGER // 2)
    assert len(connector.gaps) == bounds.MOST_LEDGER - bounds.MOST_LEDGER // 2 + 1
    assert balances(bench)


def test_old_gaps_of_the_ledger_are_added_up_and_it_balances() -> None:
    bench = Bench()
    register, moved = 0, 0
    for number in range(bounds.MOST_LEDGER * 2):
        at = number * 600.0
        register += 7
        moved += 7 if number else 0
        bench.start(at, register, f"t{number}")
        register += 100
        bench.stop(at + 300, register, f"t{number}")
        bench.tick(at + 300)
        if number % 5 == 0:
            bench.tick(at + 599)
    connector = bench.station.connector(1)
    assert len(connector.gaps) <= bounds.MOST_LEDGER
    assert connector.settled_wh > 0
    assert unattributed(connector) == moved
    assert balances(bench)
    again = decode_station(encode_station(bench.station)).connector(1)
    assert unattributed(again) == moved


def test_readings_without_transaction_are_thinned_beyond_4000() -> None:
    bench = Bench()
    bench.start(0, 1_000)
    for second in range(1, bounds.MOST_LOOSE + 2):
        assert len(bench.station.connector(1).loose) == (second - 1) * STRIDE
        assert "EVIDENCE_THINNED" not in bench.session().codes
        bench.read(second, 1_000 + second, None, tx_hint="zero")
    assert len(bench.station.connector(1).loose) < (bounds.MOST_LOOSE // 2 + 100) * STRIDE
    bench.stop(bounds.MOST_LOOSE + 60, 1_000 + bounds.MOST_LOOSE + 60)
    record = bench.result()
    assert (record.energy_wh, record.evidence) == (bounds.MOST_LOOSE + 60, "estimated")
    assert "EVIDENCE_THINNED" in record.quality


def test_128_lags_and_10_boots_are_remembered_and_no_more() -> None:
    bench = Bench()
    station = bench.station
    for minute in range(MOST_LAGS):
        note_lag(station, us(0), us(60 * minute))
        assert len(station.lags) == minute + 1
    note_lag(station, us(0), us(60 * MOST_LAGS))
    assert len(station.lags) <= MOST_LAGS
    assert station.lags[-1] == (us(60 * MOST_LAGS), 60 * MOST_LAGS * SECOND)
    for number in range(MOST_BOOTS + 1):
        assert len(station.boots) == number
        see(station, StationSeen(station_id="CP-1", event_time_us=us(number), received_time_us=us(number), what="boot"))
    assert station.boots == [us(number) for number in range(1, MOST_BOOTS + 1)]
