"""Encodes the decisions of domain/publishing as records of the topics. Nothing is decided here."""

from __future__ import annotations

from collections.abc import Iterable
from typing import assert_never

import msgspec

from pipeline import topics
from pipeline.domain.outputs import Alert, Quarantined
from pipeline.domain.publishing import Publishing
from pipeline.domain.publishing.folding import LONG, keep_small
from pipeline.domain.publishing.published import Forms, Published, Revision, Sealed, ViewEnded
from pipeline.domain.rating.running import follow
from pipeline.domain.station import POWER, SOC, STRIDE, Session, Station
from pipeline.runtime.logic import Output
from pipeline.wire import dead_letters, receipts
from pipeline.wire.sessions import LiveTemplate, encode_alert, encode_facts, encode_update, with_revision

SESSIONS, UPDATES = topics.SESSIONS.name, topics.SESSION_UPDATES.name
RECEIPTS, ANOMALIES, DEAD_LETTERS = topics.RECEIPTS.name, topics.ANOMALIES.name, topics.DEAD_LETTERS.name
FORMS = Forms(encode_facts, receipts.sealed, receipts.encoded_price_slot, receipts.SOFTWARE)


def records_of(station_id: str, published: Iterable[Published], value: bytes = b"") -> list[Output]:
    """`value`: the record that caused the outputs; dead letters of refused parts carry it."""
    return [_record(station_id, each, value) for each in published]


def _record(station_id: str, published: Published, value: bytes) -> Output:
    match published:
        case Revision():  # fields are not taken apart by patterns: that takes twice as long
            _, facts, content_hash, revision, reason = published
            value = with_revision(facts, content_hash, revision, reason)
            return Output(SESSIONS, published.record.session_id.encode(), value)
        case Sealed():
            document = published.document
            key = receipts.key(document.session_id, document.revision, document.kind)
            return Output(RECEIPTS, key, published.value)
        case ViewEnded():
            return Output(UPDATES, published.session_id.encode(), None)
        case Alert():
            return Output(ANOMALIES, published.station_id.encode(), encode_alert(published))
        case Quarantined(reason, detail, event):
            return dead_letter(station_id, value if event is None else msgspec.json.encode(event), reason, detail)
        case _:
            assert_never(published)


def live_record(publishing: Publishing, station: Station, session: Session) -> Output:
    """The live update. From the second one on only the changing parts are encoded (a third of the time)."""
    readings = session.readings
    if len(readings) > LONG:
        keep_small(publishing, station, session)
        readings = session.readings
    running = session.fold
    if (
        running is not None and running.template is not None and not running.is_moved
    ):  # otherwise the fold begins again with each reading
        template: LiveTemplate = running.template
        follow(publishing.terms, station, session)
        excl, incl = running.fold.running()
        energy = session.last_register_wh - session.start_register_wh  # type: ignore[operator]  # a fold has a start
        if excl is not None and incl is not None and energy >= 0:
            state = session.state or "charging"
            power, soc = readings[POWER - STRIDE], readings[SOC - STRIDE]
            value = template.encode(session.last_at_us, energy, power, soc, state, (excl, incl))
            return tuple.__new__(Output, (UPDATES, template.key, value, ()))  # 0.1 us less, for nearly every event
    update = publishing.live(station, session)
    if session.fold is not None:
        session.fold.template = LiveTemplate(update)
    return Output(UPDATES, update.session_id.encode(), encode_update(update))


def dead_letter(station_id: str, value: bytes, reason: str, detail: str) -> Output:
    return Output(DEAD_LETTERS, station_id.encode(), value, dead_letters.why(reason, detail))
