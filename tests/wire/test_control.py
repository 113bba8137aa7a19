"""Who has no key can neither make, change nor move a signed tick or decision."""

from __future__ import annotations

import json

import msgspec
import pytest

from pipeline.domain.events import BillDecided, ClockTicked
from pipeline.errors import InvalidMessage
from pipeline.wire.control import Control, SignedDecision

KEY, TOPIC = b"k" * 32, "meter-events"
TICK = msgspec.json.encode(ClockTicked(time_us=1_700_000_000_000_000, clock="sim-1", reference=(1, 2, 3)))
DECISION = msgspec.json.encode(
    BillDecided(station_id="CP-1", event_time_us=5, session_id="S", decision="bill", energy_wh=7, by="op")
)
GOLDEN = {
    TICK: "f233af083792859dcd7aa471332fc1ffb8705e95664312cba1c50ac882952f4c",
    DECISION: "7e01ae94cd6ef9cc4c3fc6b64c9492d3e27c1a20970457c923e5c153e39c754d",
}


def read(value: bytes) -> ClockTicked | SignedDecision:
    return msgspec.json.decode(value, type=ClockTicked | SignedDecision)


def signed(value: bytes) -> dict[str, object]:
    return dict(json.loads(Control(KEY, TOPIC).sign(value)))


@pytest.mark.parametrize("value", [TICK, DECISION])
def test_what_is_signed_is_believed_in_any_spelling(value: bytes) -> None:
    control = Control(KEY, TOPIC)
    control.trust(unsigned=False)
    assert control.check(read(control.sign(value)))
    assert control.check(read(json.dumps(signed(value), indent=3, sort_keys=True).encode()))
    assert control.sign(control.sign(value)) == control.sign(value)


@pytest.mark.parametrize("value", [TICK, DECISION])
def test_no_field_can_be_changed_or_left_out(value: bytes) -> None:
    whole = signed(value)
    other = {"clock": "live", "decision": "waive", "reference": [9, 9, 9], "version": 1}
    for name in whole.keys() - {"type"}:
        for forged in (
            {key: each for key, each in whole.items() if key != name},
            whole | {name: other.get(name, 8 if isinstance(whole[name], int) else "x")},
        ):
            control = Control(KEY, TOPIC)
            control.trust(unsigned=False)
            try:
                event = read(json.dumps(forged).encode())
            except msgspec.ValidationError:
                continue
            with pytest.raises(InvalidMessage) as refused:
                control.check(event)
            assert refused.value.reason == ("BAD_SIGNATURE" if "signature" in forged else "NOT_SIGNED")


@pytest.mark.parametrize("maker", [Control(b"x" * 32, TOPIC), Control(KEY, "connector-status")])
def test_neither_another_key_nor_another_topic_will_do(maker: Control) -> None:
    with pytest.raises(InvalidMessage, match="BAD_SIGNATURE"):
        Control(KEY, TOPIC).check(read(maker.sign(TICK)))


def test_unsigned_ones_count_until_they_are_trusted_no_more() -> None:
    control = Control(KEY, TOPIC)
    assert not control.check(read(TICK))
    assert control.trust(unsigned=False)
    with pytest.raises(InvalidMessage, match="NOT_SIGNED"):
        control.check(read(TICK))


def test_without_a_key_nothing_is_signed_or_checked() -> None:
    control = Control(None, TOPIC)
    assert control.sign(TICK) == TICK
    assert not control.check(read(Control(KEY, TOPIC).sign(TICK)))


def test_a_signature_stays_what_it_is() -> None:
    """What lies in a log is checked by later versions, too: neither names nor order of fields may change it."""
    assert {value: signed(value)["signature"] for value in (TICK, DECISION)} == GOLDEN
