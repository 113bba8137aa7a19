"""Long sessions: what is old is kept packed, and thinned where that changes nothing that is published.

The rule of this file: readings are thinned only if the session, its bill and the account of its evidence stay what they
were, by judging the stretch around them with and without. Where they would not, all of them stay, up to MOST_READINGS;
beyond, the session is EVIDENCE_THINNED. Work is done in blocks and looks at no more than a few of them, so that a
reading costs the same in a session of any length.
"""

from __future__ import annotations

from bisect import bisect_right
from functools import partial
from typing import TYPE_CHECKING

from msgspec.structs import replace

from pipeline.domain.bounds import MOST_READINGS, WHOLE, WHOLE_US
from pipeline.domain.metering.account import Account
from pipeline.domain.metering.thinning import thinned
from pipeline.domain.outputs import StrippedSession
from pipeline.domain.rating.running import follow
from pipeline.domain.station import ABSENT, ENERGY, INTERVAL, KIND, STRIDE, TIME, Numbers, Session, Station
from pipeline.domain.station_codec import BLOCK, seal, unseal, values_in

if TYPE_CHECKING:
    from pipeline.domain.publishing import Publishing

THINNED = "EVIDENCE_THINNED"
LONG = 2 * BLOCK * STRIDE
"""Length of `readings` from which on there is something to do."""


def keep_small(publishing: Publishing, station: Station, session: Session) -> None:
    """To be called now and then for an open session."""
    readings = session.readings
    rows = len(readings) // STRIDE
    if rows > max(WHOLE, session.thin_at) and not session.suspect:
        begin, end = (_place_after(readings, at) for at in (session.folded_us, session.last_at_us - WHOLE_US))
        if end - begin >= WHOLE * STRIDE:
            _fold(publishing, station, session, begin, end)
    seal(session)


def _place_after(readings: Numbers, at: int) -> int:
    """Index of the first reading after this time."""
    return bisect_right(range(len(readings) // STRIDE), at, key=lambda row: readings[row * STRIDE + TIME]) * STRIDE


def _fold(publishing: Publishing, station: Station, session: Session, begin: int, end: int) -> None:
    """Thins the readings between these indexes."""
    whole = session.readings
    part = whole[begin:end]
    # made anew after a restart: what stays must not depend on that
    running = follow(publishing.terms, station, session)
    thin = thinned(part, _bounds(station, session), None if running is None else set(running.bounds))
    dropped = values_in(part) - values_in(thin)
    earlier = whole[max(begin - WHOLE // 2 * STRIDE, 0) : begin]
    later = whole[end : end + BLOCK * STRIDE]
    judged = partial(_judged, publishing, station, session)
    before = judged(earlier + part + later, 0)
    if INTERVAL in part[KIND::STRIDE] or before != judged(earlier + thin + later, dropped):
        if len(whole) <= MOST_READINGS * STRIDE:
            session.thin_at = len(whole) // STRIDE + WHOLE
            return
        session.codes = [*(code for code in session.codes if code != THINNED), THINNED]
    session.readings = whole[:begin] + thin + whole[end:]
    session.unkept += dropped
    session.folded_us = part[TIME - STRIDE]
    if running is not None and not running.is_moved:
        running.fed += len(session.readings) - len(whole)  # it was told all of them, and goes on behind them
    else:
        session.fold = None
    unseal(session, begin)


def _judged(
    publishing: Publishing, station: Station, session: Session, readings: Numbers, unkept: int
) -> tuple[StrippedSession, Account]:
    """All that would be published if the session had had these readings only, and had begun with the first of them."""
    trial = replace(session, readings=readings, sealed=[], fold=None, unkept=unkept, last_at_us=readings[TIME - STRIDE])
    if readings[TIME] != session.readings[TIME] and readings[ENERGY] != ABSENT:
        trial.started_at_us = trial.start_sent_us = readings[TIME]
        trial.start_register_wh = readings[ENERGY]
    record, rated = publishing.draft(station, trial)
    return record, rated.measured.account


def _bounds(station: Station, session: Session) -> list[int]:
    """Times of the states that were reported."""
    reports = station.connector(session.connector_id).reports
    return [at for at, _ in session.states] + [at for at, _, _ in reports]
