"""How the id of a station may be spelt: so that one station has one id, in every table and on every screen."""

from __future__ import annotations

import unicodedata

from pipeline.errors import InvalidMessage


def check_station_id(station_id: str) -> None:
    """Raises InvalidMessage SCHEMA_VIOLATION unless it is printable and composed (NFC); OCPP's own ids are ASCII.

    `é` may be one character or two that look like one: as two ids they would be two stations, with a session each.
    """
    if station_id.isascii() and station_id.isprintable():  # all but a few; 0.1 us of the hot path
        return
    if not station_id.isprintable():
        raise InvalidMessage("SCHEMA_VIOLATION", "station_id must be of printable characters")
    if not unicodedata.is_normalized("NFC", station_id):
        raise InvalidMessage("SCHEMA_VIOLATION", "station_id must be in Unicode's composed form (NFC)")
