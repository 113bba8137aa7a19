"""Any bytes are an event, a tick, a frame, or one clear refusal; nothing that a producer sends can name a driver."""

from __future__ import annotations

import contextlib
import json
import unicodedata
from functools import partial
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.domain import events as domain
from pipeline.domain.events import (
    ClockTicked,
    MeterRead,
    PriceQuote,
    SessionAuthorized,
    SessionConfirmed,
    SessionEnded,
    SessionStarted,
    StationSeen,
    StatusReported,
)
from pipeline.domain.frames import Call, OcppFrame
from pipeline.errors import InvalidMessage
from pipeline.wire.meter_events import Canonical, Decoder, check
from pipeline.wire.ocpp import Calls
from tests.wire.charger import KEYS, NOON_US, STATION, call, enveloped

DECODER = Decoder(KEYS)
CARD = {"token": "04:a1:b2:c3", "token_type": "ISO14443"}
TAG = {"token": "T"}
EXAMPLES = sorted((Path(__file__).parents[2] / "schemas" / "examples" / "meter-events" / "v1").glob("*.json"))


def canonical(kind: str, **fields: object) -> bytes:
    return json.dumps({"type": kind, "station_id": STATION, "event_time_us": NOON_US, **fields}).encode()


def refused(value: bytes) -> InvalidMessage:
    with pytest.raises(InvalidMessage) as caught:
        DECODER.decode(value)
    return caught.value


def test_there_are_examples_of_every_kind() -> None:
    assert len(EXAMPLES) > 15


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_every_published_example_is_understood_completely(example: Path) -> None:
    value = DECODER.decode(example.read_bytes())
    if isinstance(value, OcppFrame):
        meaning = DECODER.interpret(Calls(), value)
        assert meaning.quarantined == []
        assert meaning.events or value.direction == "csms->cp"


def test_a_reading_keeps_its_values_and_hides_its_transaction() -> None:
    value = canonical(
        "meter_read",
        connector_id=1,
        transaction_id="77",
        register_wh=1261,
        power_w=50,
        event_id="e-1",
        state="charging",
    )
    assert DECODER.decode(value) == MeterRead(
        station_id=STATION,
        event_time_us=NOON_US,
        connector_id=1,
        transaction_id=KEYS.transaction_key(STATION, "77"),
        register_wh=1261,
        power_w=50,
        state="charging",
    )


def test_a_start_is_given_its_pseudonyms() -> None:
    started = DECODER.decode(canonical("session_started", **CARD))
    assert started == SessionStarted(
        station_id=STATION,
        event_time_us=NOON_US,
        token=KEYS.pseudonym("assembly", "ISO14443", "04A1B2C3"),
        billing_token=KEYS.pseudonym("billing", "ISO14443", "04A1B2C3"),
        analytics_token=KEYS.pseudonym("analytics", "ISO14443", "04A1B2C3", "2026-03"),
    )


def test_a_start_keeps_the_quote_that_its_producer_gave() -> None:
    started = DECODER.decode(canonical("session_started", quote={"quote_id": "Q" * 64, "shown_at_us": NOON_US}))
    assert isinstance(started, SessionStarted)
    assert started.quote == PriceQuote("Q" * 64, NOON_US)


@pytest.mark.parametrize(
    ("given", "detail"),
    [
        ("Q-1", "expected object | null at $.quote"),
        ({"shown_at_us": 5}, "required field quote_id is missing at $.quote"),
        ({"quote_id": "Q-1"}, "required field shown_at_us is missing at $.quote"),
        ({"quote_id": "", "shown_at_us": 5}, "expected str at $.quote.quote_id"),
        ({"quote_id": "S" * 65, "shown_at_us": 5}, "expected str at $.quote.quote_id"),
        ({"quote_id": 7, "shown_at_us": 5}, "expected str at $.quote.quote_id"),
        ({"quote_id": "Q-1", "shown_at_us": "2026-03-02T08:00:00Z"}, "expected int at $.quote.shown_at_us"),
        ({"quote_id": "Q-1", "shown_at_us": -1}, "expected int at $.quote.shown_at_us"),
        ({"quote_id": "Q-1", "shown_at_us": 1 << 60}, "expected int at $.quote.shown_at_us"),
    ],
)
def test_a_malformed_quote_is_refused_by_the_name_of_its_field(given: object, detail: str) -> None:
    refusal = refused(canonical("session_started", quote=given))
    assert (refusal.reason, refusal.detail) == ("SCHEMA_VIOLATION", f'meter event "session_started": {detail}')


def test_what_is_ours_to_give_is_not_taken_from_a_producer() -> None:
    forged = {
        "billing_token": "FORGED",
        "analytics_token": "FORGED",
        "call": "FORGED",
        "codes": ["FORGED", "ZONE_ASSUMED"],
    }
    for value in (
        canonical("session_started", **forged),
        canonical("session_started", **TAG, **forged),
        canonical("session_authorized", **TAG, transaction_id="1", **forged),
        canonical("session_ended", reason="FORGED", event_id="FORGED", **forged),
        canonical("meter_read", connector_id=1, event_id="FORGED", **forged),
        canonical("status_reported", connector_id=1, status="FORGED", error_code="FORGED"),
        canonical("station_seen", event_id="FORGED"),
    ):
        assert b"FORGED" not in msgspec.json.encode(DECODER.decode(value))
    (code,) = msgspec.to_builtins(DECODER.decode(canonical("session_started", **forged)))["codes"]
    assert code == "ZONE_ASSUMED"


def test_only_pairing_confirms_a_session() -> None:
    assert refused(canonical("session_confirmed", call="x")).reason == "UNKNOWN_TYPE"


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"{",
        b"\xff\xfe",
        b"nul",
        b'{"a":' * 200_000,
        b'{"type":"station_seen","event_time_us":NaN}',
    ],
)
def test_what_is_no_json_is_said_to_be_none(value: bytes) -> None:
    assert refused(value).reason == "MALFORMED_JSON"


@pytest.mark.parametrize(
    ("value", "detail"),
    [
        (canonical("meter_read", connector_id="1"), 'meter event "meter_read": expected int | null at $.connector_id'),
        (canonical("meter_read", register_wh=-1), "expected int"),
        (canonical("meter_read", register_wh=10**30), "$.register_wh"),
        (canonical("meter_read", register_wh=1.5), "$.register_wh"),
        (canonical("meter_read", soc_percent=101), "$.soc_percent"),
        (canonical("meter_read", state="asleep"), "value not allowed at $.state"),
        (canonical("station_seen", event_time_us=-1), "$.event_time_us"),
        (canonical("station_seen", event_time_us=10**18), "$.event_time_us"),
        (canonical("station_seen", station_id=""), "$.station_id"),
        (canonical("station_seen", station_id="x" * 256), "$.station_id"),
        (canonical("status_reported", connector_id=1), "required field status is missing"),
        (enveloped([2, "m", "Heartbeat", {}], direction="sideways"), "$.direction"),
        (enveloped([7, "m"]), "$.frame[0]"),
        (enveloped([2, "m"]), "$.frame"),
        (enveloped([]), "$.frame"),
        (enveloped("text"), "$.frame"),
        (enveloped([3, "x" * 300, {}]), "$.frame[1]"),
        (enveloped(None), "exactly one of frame and link"),
        (enveloped([3, "m", {}], link="up"), "exactly one of frame and link"),
        (b"[]", "expected object"),
        (b"{}", "required field station_id is missing"),
        (b'"text"', "expected object"),
    ],
)
def test_a_wrong_field_is_named_with_what_is_expected(value: bytes, detail: str) -> None:
    error = refused(value)
    assert error.reason == "SCHEMA_VIOLATION"
    assert detail in error.detail


@pytest.mark.parametrize("kind", ["payment_made", "", "ocpp"])
def test_an_unknown_type_lists_the_known_ones(kind: str) -> None:
    error = refused(canonical(kind))
    assert error.reason == "UNKNOWN_TYPE"
    assert '"meter_read"' in error.detail


@pytest.mark.parametrize("kind", ["meter_read", "station_seen", "session_ended"])
def test_another_version_is_not_guessed_at(kind: str) -> None:
    assert refused(canonical(kind, version=2)).reason == "UNSUPPORTED_VERSION"
    assert refused(b'{"type":"clock_ticked","time_us":1,"version":"1"}').reason == "UNSUPPORTED_VERSION"


@pytest.mark.parametrize("field", ["station_id", "token", "state", "type", "SECRET", "direction", "received_at"])
def test_no_refusal_repeats_what_was_sent(field: str) -> None:
    """The text of a refusal goes to headers, logs and metric labels."""
    for shape in ("SECRET", {"SECRET": "SECRET"}, ["SECRET"]):
        for kind in ("meter_read", "session_started", "SECRET"):
            with contextlib.suppress(InvalidMessage):
                DECODER.decode(canonical(kind, **{field: shape}))
                continue
            assert "SECRET" not in str(refused(canonical(kind, **{field: shape})))
        value = enveloped([2, "SECRET", "StartTransaction", {"idTag": shape, "timestamp": "SECRET"}], **{field: shape})
        told, chained = list[str](), True
        try:
            frame = DECODER.decode(value)
            assert isinstance(frame, OcppFrame)
            told += (part.detail for part in DECODER.interpret(Calls(), frame).quarantined)
        except InvalidMessage as error:
            told.append(str(error))
            chained = error.__suppress_context__
        assert told, "a time that cannot be read is said to be so"
        assert chained, "a traceback must not show the decoder's own text"
        assert all("SECRET" not in text for text in told)


@given(st.binary(max_size=200))
def test_any_bytes_give_a_value_or_invalid_message(value: bytes) -> None:
    with contextlib.suppress(InvalidMessage):
        assert DECODER.decode(value) is not None


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
FIELDS = sorted(
    {name for each in (MeterRead, SessionStarted, SessionEnded, OcppFrame) for name in each.__struct_fields__}
)
KINDS = ["meter_read", "session_started", "session_ended", "status_reported", "station_seen", "clock_ticked"]


@given(st.sampled_from(KINDS), st.dictionaries(st.sampled_from(FIELDS), JSON, max_size=5))
def test_any_json_in_our_fields_gives_a_value_or_invalid_message(kind: str, fields: dict[str, object]) -> None:
    with contextlib.suppress(InvalidMessage):
        DECODER.decode(canonical(kind, **fields))


STATION_IDS = (
    st.text(alphabet=st.characters(exclude_categories=("C", "Z")), min_size=1, max_size=20)
    .map(partial(unicodedata.normalize, "NFC"))
    .filter(str.isprintable)
)
TEXTS = st.text(alphabet=st.characters(codec="utf-8"), max_size=20)
MICROS = st.integers(min_value=0, max_value=253_402_300_799_999_999)
QUANTITIES = st.none() | st.integers(min_value=0, max_value=10**12)
COMMON = {
    "station_id": STATION_IDS,
    "event_time_us": MICROS,
    "received_time_us": MICROS,
    "clock": TEXTS.filter(bool),
}
CONNECTORS = st.none() | st.integers(min_value=0, max_value=65_535)
SEQ_NOS = st.none() | st.integers(min_value=0, max_value=1 << 53)
CANONICAL_EVENTS = st.one_of(
    st.builds(
        MeterRead,
        **COMMON,
        connector_id=CONNECTORS,
        register_wh=QUANTITIES,
        power_w=QUANTITIES,
        soc_percent=st.none() | st.integers(min_value=0, max_value=100),
        state=st.sampled_from([None, "charging", "idle"]),
        tx_hint=st.sampled_from(["", "unacknowledged", "zero"]),
        seq_no=SEQ_NOS,
        from_phases=st.booleans(),
        phases=st.integers(min_value=0, max_value=7),
    ),
    st.builds(SessionStarted, **COMMON, connector_id=CONNECTORS, register_wh=QUANTITIES, seq_no=SEQ_NOS),
    st.builds(SessionEnded, **COMMON, register_wh=QUANTITIES, reason=st.sampled_from(sorted(domain.STOP_REASONS))),
    st.builds(
        StatusReported,
        **COMMON,
        connector_id=st.integers(min_value=0, max_value=65_535),
        status=st.sampled_from(sorted(domain.STATUSES)),
    ),
    st.builds(StationSeen, **COMMON, what=st.sampled_from(["boot", "heartbeat", "link_down"])),
    st.builds(ClockTicked, time_us=MICROS, clock=TEXTS.filter(bool)),
)


@given(CANONICAL_EVENTS)
def test_decode_gives_back_what_was_encoded(event: Canonical) -> None:
    assert DECODER.decode(msgspec.json.encode(event)) == event


def test_a_confirmation_can_be_encoded_for_the_state() -> None:
    confirmed = SessionConfirmed(station_id=STATION, event_time_us=1, call="c")
    assert msgspec.json.decode(msgspec.json.encode(confirmed), type=SessionConfirmed) == confirmed


def test_a_frame_is_encoded_as_it_was_sent() -> None:
    """The gateway writes what a replay of a log would."""
    value = call("Heartbeat", {"vendor": [1, 2.50, "x"]})
    frame = DECODER.decode(value)
    assert isinstance(frame, OcppFrame)
    assert isinstance(frame.frame, Call)
    assert json.loads(msgspec.json.encode(frame)) == json.loads(value)


def test_every_event_type_can_be_told_from_its_bytes() -> None:
    authorized = DECODER.decode(canonical("session_authorized", **TAG, transaction_id="1"))
    assert isinstance(authorized, SessionAuthorized)
    assert authorized.transaction_id == KEYS.transaction_key(STATION, "1")


COMPOSED, DECOMPOSED = "Caf\u00e9-1", "Cafe\u0301-1"


@pytest.mark.parametrize("station_id", ["CP-1", "DE*ABC*E1|2=3+4@5", COMPOSED, "\u5145\u96fb-7", "a" * 255])
def test_a_station_has_any_printable_id(station_id: str) -> None:
    for record in _records_of(station_id):
        check(record)
        DECODER.decode(record)


@pytest.mark.parametrize(
    ("station_id", "why"),
    [
        ("CP-1\x00", "printable"),
        ("\x1b]0;PWN\x07", "printable"),
        ("CP\n1", "printable"),
        ("CP\u202e1", "printable"),
        ("CP\u200b1", "printable"),
        ("CP\u00a01", "printable"),
        (DECOMPOSED, "NFC"),
    ],
)
def test_an_id_that_steers_a_screen_or_has_a_second_spelling_is_refused_and_not_repeated(
    station_id: str, why: str
) -> None:
    for record in _records_of(station_id):
        for read in (check, DECODER.decode):
            with pytest.raises(InvalidMessage, match=f"SCHEMA_VIOLATION: station_id .*{why}") as caught:
                read(record)
            assert station_id not in str(caught.value)


def _records_of(station_id: str) -> list[bytes]:
    common = {
        "station_id": station_id,
        "connector_id": 1,
        "transaction_id": "T",
        "event_time_us": 1_700_000_000_000_000,
    }
    frame = {"station_id": station_id, "received_at": "2026-01-01T00:00:00Z", "link": "up"}
    start, reading = ({"type": kind, "register_wh": 1, **common} for kind in ("session_started", "meter_read"))
    return [msgspec.json.encode(each) for each in (start, reading, frame)]
