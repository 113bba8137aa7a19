"""Long sessions: what is old is kept packed, and thinned where that changes nothing that is published.

The rule of this file: readings are thinned only if the session, its bill and the account of its evidence stay what they
were, by judging it with and without them. Where they would not, all of them stay, up to MOST_READINGS; beyond, the
session is EVIDENCE_THINNED. Work is done in blocks, so that a reading costs the same in a session of any length.
"""

from __future__ import annotations

from bisect import bisect_right
from typing import TYPE_CHECKING

from pipeline.domain.bounds import MOST_READINGS, WHOLE, WHOLE_US
from pipeline.domain.metering.account import Account
from pipeline.domain.metering.thinning import thinned
from pipeline.domain.outputs import StrippedSession
from pipeline.domain.station import STRIDE, TIME, Numbers, Session, Station
from pipeline.domain.station_codec import BLOCK, seal, unseal, values_in

if TYPE_CHECKING:
    from pipeline.domain.rating import Rating

THINNED = "EVIDENCE_THINNED"
LONG = 2 * BLOCK * STRIDE
"""Length of `readings` from which on there is something to do."""


def keep_small(rating: Rating, station: Station, session: Session) -> None:
    """To be called now and then for an open session, after its live view is made."""
    readings = session.readings
    rows = len(readings) // STRIDE
    if rows > max(WHOLE, session.thin_at) and not session.suspect:
        begin, end = (_place_after(readings, at) for at in (session.folded_us, session.last_at_us - WHOLE_US))
        if end - begin >= max(WHOLE // 2 * STRIDE, begin // 2):
            _fold(rating, station, session, begin, end)
    seal(session)


def _place_after(readings: Numbers, at: int) -> int:
    """Index of the first reading after this time."""
    return bisect_right(range(len(readings) // STRIDE), at, key=lambda row: readings[row * STRIDE + TIME]) * STRIDE


def _fold(rating: Rating, station: Station, session: Session, begin: int, end: int) -> None:
    """Thins the readings between these indexes."""
    whole = session.readings
    part = thinned(whole[begin:end], _bounds(station, session), _price_changes(session))
    dropped = values_in(whole[begin:end]) - values_in(part)
    before = _judged(rating, station, session)
    session.readings = whole[:begin] + part + whole[end:]
    session.unkept += dropped
    if _judged(rating, station, session) != before:
        if len(whole) <= MOST_READINGS * STRIDE:
            session.readings, session.thin_at = whole, len(whole) // STRIDE + WHOLE
            session.unkept -= dropped
            return
        session.codes = [*(code for code in session.codes if code != THINNED), THINNED]
    _adjust_fold(session, whole)
    session.folded_us = whole[end - STRIDE]
    unseal(session, begin)


def _judged(rating: Rating, station: Station, session: Session) -> tuple[StrippedSession, Account]:
    """All that is published of the session, made anew from its readings."""
    running, session.fold = session.fold, None
    rated = rating.rate(station, session)
    session.fold = running
    return rated.record, rated.measured.account


def _bounds(station: Station, session: Session) -> list[int]:
    """Times of the states that were reported."""
    reports = station.connector(session.connector_id).reports
    return [at for at, _ in session.states] + [at for at, _, _ in reports]


def _price_changes(session: Session) -> set[int] | None:
    return None if session.fold is None else set(session.fold.bounds)


def _adjust_fold(session: Session, whole: Numbers) -> None:
    """The running bill has been told all readings; it goes on behind them."""
    if session.fold is not None:
        if session.fold.fed == len(whole):
            session.fold.fed = len(session.readings)
        else:
            session.fold = None
