"""Alerts with an identity that every replay repeats: it follows from the rule, its place and the time of its cause."""

from __future__ import annotations

from typing import NamedTuple

from pipeline.domain.limits import UNKNOWN, Limits
from pipeline.domain.outputs import Alert
from pipeline.domain.pseudonyms import Keyring
from pipeline.domain.publishing.rules import RULES
from pipeline.domain.rating import Rating
from pipeline.domain.sites.occupancy import WHOLE_STATION
from pipeline.domain.sites.outages import Silence
from pipeline.domain.station import Session, Station


class Place(NamedTuple):
    """What an alert is about."""

    station_id: str
    connector_id: int
    site_id: str | None
    clock: str
    session_id: str | None = None
    limits: Limits = UNKNOWN


class Course(NamedTuple):
    """When the cause began, us UTC, and when it ended; None: it lasts, or it is over as soon as it happened."""

    raised_us: int
    cleared_us: int | None = None


def of_station(
    rating: Rating, station: Station, rule: str, connector_id: int, session: Session | None, course: Course
) -> Alert:
    place = _place(rating, station, connector_id, session)
    identity = station.station_id, str(connector_id), place.session_id or "", str(course.raised_us)
    return _alert(rating.keyring, rule, identity, place, course)


def of_station_in_trouble(rating: Rating, station: Station, rule: str, reason: str, course: Course) -> Alert:
    """An error of ours at a record of it, or the station is set aside."""
    identity = station.station_id, str(WHOLE_STATION), "", str(course.raised_us)
    return _alert(rating.keyring, rule, identity, _place(rating, station, WHOLE_STATION, None), course, reason)


def of_site_in_trouble(keyring: Keyring, site_id: str, clock: str, rule: str, reason: str, course: Course) -> Alert:
    """The same of a site, under its name: which of its stations it was is not known."""
    identity = site_id, "", str(course.raised_us)
    return _alert(keyring, rule, identity, Place(site_id, WHOLE_STATION, site_id, clock), course, reason)


def of_silence(keyring: Keyring, site_id: str, clock: str, silence: Silence) -> Alert:
    """A site or one of its stations is silent, or can be heard again."""
    identity = site_id, silence.station_id, str(silence.since_us)  # from the topic alone: all workers make the same
    place = Place(silence.station_id, WHOLE_STATION, site_id, clock)
    missing = f"{len(silence.silent)} of {silence.stations} stations" if silence.stations else ""
    course = Course(silence.since_us, None if silence.raised else silence.at_us)
    return _alert(keyring, silence.rule, identity, place, course, missing, silence.silent)


def _place(rating: Rating, station: Station, connector_id: int, session: Session | None) -> Place:
    site = rating.terms.site(station.station_id, session, None)
    return Place(
        station.station_id,
        max(connector_id, 0),
        None if site is None else site.site_id,
        station.clock,
        None if session is None else rating.session_id(station, session),
        rating.terms.limits(station.station_id, connector_id),
    )


def _alert(
    keyring: Keyring,
    rule: str,
    identity: tuple[str, ...],
    place: Place,
    course: Course,
    value: str = "",
    evidence: tuple[str, ...] = (),
) -> Alert:
    found = RULES[rule]
    return Alert(
        alert_id=keyring.keyed_id(rule, *identity),
        rule=rule,
        state="raised" if course.cleared_us is None else "cleared",
        severity=found.severity,
        station_id=place.station_id,
        connector_id=place.connector_id,
        site_id=place.site_id,
        session_id=place.session_id,
        at_us=course.raised_us if course.cleared_us is None else course.cleared_us,
        raised_at_us=course.raised_us,
        value=value,
        threshold=found.threshold(place.limits),
        detail=found.meaning,
        evidence=evidence,
        clock=place.clock,
    )
