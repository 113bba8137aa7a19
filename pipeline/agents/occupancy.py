"""What the durable stage carries from `connector-status`: the state of each site, its availability as price signals.

And its silence as alerts. No I/O, no clock. What else is to be told of whole sites belongs into a domain module of its
own, called in `apply` and `tick` beside availability and outages.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from pipeline import topics
from pipeline.agents.assembly import TICK_AHEAD
from pipeline.domain.anomalies import RULES
from pipeline.domain.events import LIVE, ClockTicked
from pipeline.domain.limits import UNKNOWN
from pipeline.domain.outputs import Alert
from pipeline.domain.pseudonyms import Keyring
from pipeline.domain.sites import outages
from pipeline.domain.sites.availability import CODEC_VERSION, SiteState, note, publish
from pipeline.domain.sites.occupancy import WHOLE_STATION
from pipeline.errors import InvalidMessage
from pipeline.runtime.logic import Archive, Output, Tick, Trouble
from pipeline.wire.connector_status import decode_status
from pipeline.wire.control import Control
from pipeline.wire.price_signals import encode_slot, slot_key
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
        """An alert about the site, under its name: which of its stations it was is not known."""
        site_id, at_us = key.decode(), trouble.at_ms * 1000
        rule = RULES[trouble.rule]
        alert = Alert(
            alert_id=self._keyring.keyed_id(trouble.rule, site_id, "", str(at_us)),
            rule=trouble.rule,
            state="raised" if trouble.released_ms is None else "cleared",
            severity=rule.severity,
            station_id=site_id,
            connector_id=WHOLE_STATION,
            site_id=site_id,
            at_us=at_us if trouble.released_ms is None else trouble.released_ms * 1000,
            raised_at_us=at_us,
            value=trouble.reason,
            detail=rule.meaning,
            clock=state.clock if state is not None else LIVE,
        )
        return [Output(ANOMALIES, key, encode_alert(alert))]

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
        event = decode_status(value)
        if not isinstance(event, ClockTicked):
            raise InvalidMessage("KEY_MISSING", "only clock ticks have no key; set the key to the site_id")
        if event.clock == LIVE and event.time_us > append_time_ms * 1000 + TICK_AHEAD:
            raise InvalidMessage(
                "TICK_AHEAD", "a live tick more than 5 s ahead of the broker's clock; set the clock of its host"
            )
        return Tick(event.clock, event.time_us, signed=self._control.check(event))

    def trust(self, unsigned: bool) -> bool:
        return self._control.trust(unsigned)

    def check_release(self, key: bytes, way: bytes, at_ms: int, signature: bytes) -> None:
        self._control.check_release(key, way, at_ms, signature)

    def tick(self, state: SiteState, tick: Tick) -> Sequence[Output] | None:
        now = tick.time_us
        slot = publish(state, now)
        outputs = [] if slot is None else [Output(PRICE_SIGNALS, slot_key(slot), encode_slot(slot))]
        for silence in outages.watch(state, now):
            alert = self._alert(state, silence)
            outputs.append(Output(ANOMALIES, alert.station_id.encode(), encode_alert(alert)))
        state.wake_us = min(state.wake_us, outages.due(state, now))
        return outputs or None

    def _alert(self, site: SiteState, silence: outages.Silence) -> Alert:
        """With an identity that follows from what the topic holds, so that every worker would make the same."""
        rule = RULES[silence.rule]
        missing = silence.silent
        return Alert(
            alert_id=self._keyring.keyed_id(silence.rule, site.site_id, silence.station_id, str(silence.since_us)),
            rule=silence.rule,
            state="raised" if silence.raised else "cleared",
            severity=rule.severity,
            station_id=silence.station_id,
            connector_id=WHOLE_STATION,
            site_id=site.site_id,
            at_us=silence.at_us,
            raised_at_us=silence.since_us,
            value=f"{len(missing)} of {silence.stations} stations" if silence.stations else "",
            threshold=rule.threshold(UNKNOWN),
            detail=rule.meaning,
            evidence=missing,
            clock=site.clock,
        )
