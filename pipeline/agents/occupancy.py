"""The logic of the stage that reads `connector-status`: site state -> availability as price signals, outage alerts.

No I/O, no clock. A new rule about whole sites belongs in its own domain module; `apply` and `tick` call it beside
availability and outages.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from pipeline import topics
from pipeline.agents.assembly import course_of, tick_of
from pipeline.domain.events import LIVE, ClockTicked
from pipeline.domain.outputs import Alert
from pipeline.domain.pseudonyms import Keyring
from pipeline.domain.publishing.alerts import of_silence, of_site_in_trouble
from pipeline.domain.sites import outages
from pipeline.domain.sites.availability import CODEC_VERSION, SiteState, note, publish
from pipeline.errors import InvalidMessage
from pipeline.runtime.logic import Archive, Output, Tick, Trouble
from pipeline.wire.connector_status import decode_status
from pipeline.wire.control import Control
from pipeline.wire.price_signals import encode_price_slot, price_slot_key
from pipeline.wire.sessions import encode_alert

PRICE_SIGNALS, ANOMALIES = topics.PRICE_SIGNALS.name, topics.ANOMALIES.name


class Occupancy:
    """Implements runtime.logic.Logic[SiteState]."""

    codec_version = CODEC_VERSION
    readable_versions = frozenset(range(1, CODEC_VERSION + 1))

    def __init__(self, keyring: Keyring) -> None:
        self._keyring = keyring
        self._control = Control(keyring.control_key, topics.CONNECTOR_STATUS.name)
        self._encoder = msgspec.msgpack.Encoder()
        self._decoder = msgspec.msgpack.Decoder(SiteState)

    def create(self, key: bytes, archive: Archive) -> SiteState:
        return SiteState(key.decode())

    def report(self, key: bytes, state: SiteState | None, trouble: Trouble) -> Sequence[Output]:
        """An alert about the site, keyed by its id."""
        course, clock = course_of(trouble), LIVE if state is None else state.clock
        return [_record(of_site_in_trouble(self._keyring, key.decode(), clock, trouble.rule, trouble.reason, course))]

    def dump(self, state: SiteState) -> bytes:
        return self._encoder.encode(state)

    def load(self, key: bytes, value: bytes, version: int, archive: Archive) -> SiteState:
        return self._decoder.decode(value)

    def apply(self, state: SiteState, value: bytes, sent_at_ms: int) -> Sequence[Output] | None:
        change = decode_status(value)
        if isinstance(change, ClockTicked):
            raise InvalidMessage("TICK_WITH_KEY", "a clock tick is for a whole partition: send it without a key")
        if change.site_id != state.site_id:
            raise InvalidMessage("WRONG_KEY", "the record's key is not the site_id of its content")
        note(state, change)
        return None

    def tick_of(self, value: bytes, append_time_ms: int) -> Tick:
        return tick_of(decode_status(value), "site_id", append_time_ms, self._control)._replace(watermark=())

    def trust(self, unsigned: bool) -> bool:
        return self._control.trust(unsigned)

    def check_release(self, key: bytes, way: bytes, at_ms: int, signature: bytes) -> None:
        self._control.check_release(key, way, at_ms, signature)

    def tick(self, state: SiteState, tick: Tick) -> Sequence[Output] | None:
        now = tick.time_us
        slot = publish(state, now)
        outputs = [] if slot is None else [Output(PRICE_SIGNALS, price_slot_key(slot), encode_price_slot(slot))]
        for silence in outages.watch(state, now):
            outputs.append(_record(of_silence(self._keyring, state.site_id, state.clock, silence)))
        state.wake_us = min(state.wake_us, outages.due(state, now))
        return outputs or None


def _record(alert: Alert) -> Output:
    return Output(ANOMALIES, alert.station_id.encode(), encode_alert(alert))
