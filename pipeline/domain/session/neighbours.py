"""Sessions of a connector side by side: a start ends the former one if no stop comes, a late end disturbs the next."""

from __future__ import annotations

import itertools

from pipeline.domain.session.notes import touched
from pipeline.domain.station import Session, Station


def line_up(station: Station, connector_id: int) -> None:
    """Sessions of a connector in order of their start: each knows the next one, which ends it if no stop comes."""
    known = _in_order(station, connector_id)
    for session, following in itertools.pairwise(known):
        if session.closed_by in ("", "CLOSED_BY_NEW_START", "ABORTED_BY_NEW_START"):
            session.superseded_at_us = following.started_at_us
            session.superseded_register_wh = following.start_register_wh


def disturb_next(station: Station, session: Session) -> None:
    """The end of a session came or changed late: what the next one found unattributed before it may be wrong."""
    started = session.started_at_us or 0
    for other in _in_order(station, session.connector_id):
        if (other.started_at_us or 0) > started:
            touched(station, other, "NEIGHBOUR_CHANGED")
            return


def _in_order(station: Station, connector_id: int) -> list[Session]:
    return sorted(
        (s for _, s in station.each_session() if s.connector_id == connector_id and s.started_at_us is not None),
        key=lambda s: s.started_at_us or 0,
    )
