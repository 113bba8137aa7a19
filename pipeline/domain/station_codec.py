"""The state of a station as bytes, and the archive record of a closed session. What the values mean: station.py."""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Iterator
from operator import sub
from typing import Any

import msgspec

from pipeline.domain.packing import pack, unpack
from pipeline.domain.station import (
    ABSENT,
    ENERGY,
    KIND,
    POWER,
    QUARTER,
    REGISTER,
    SHORTEST_GAP,
    STRIDE,
    TIME,
    Numbers,
    Session,
    Station,
)


def _plain(value: object) -> object:
    """Arrays travel as bytes; caches are not stored."""
    return value.tobytes() if isinstance(value, array) else None


def _restored(kind: type, value: Any) -> Any:
    numbers = array("q")
    numbers.frombytes(value)
    return numbers


BLOCK = 512
"""Readings of a sealed block; as many and up to twice as many of the newest ones are stored as they are."""
_ENCODER = msgspec.msgpack.Encoder(enc_hook=_plain)
_SESSION_DECODER = msgspec.msgpack.Decoder(Session, dec_hook=_restored)
_STATION_DECODER = msgspec.msgpack.Decoder(Station, dec_hook=_restored)


def encode_archived(session: Session, *, whole: bool = False) -> bytes:
    """The time of its end (8 bytes, us), then the session with its readings thinned to the bounds of each quarter.

    `whole`: all readings, because its bill is still to be made. So, too, where more than the register's way from start
    to end was judged: thinned evidence would be judged otherwise when a late message asks for a revision.
    """
    session.fold = None
    readings, sealed, thinned, unkept = session.readings, session.sealed, session.thinned, session.unkept
    if not whole and _is_plain(session):
        session.readings, session.sealed = _thinned(readings), []
        session.thinned = thinned or len(session.readings) < len(readings)
        session.unkept = unkept + values_in(readings) - values_in(session.readings)
    else:
        session.readings = readings[sealed_rows(session) * STRIDE :]
    ended = session.ended_at_us or session.last_at_us
    try:
        return max(ended, 0).to_bytes(8, "big") + _ENCODER.encode(session)
    finally:
        session.readings, session.sealed, session.thinned, session.unkept = readings, sealed, thinned, unkept


def values_in(readings: Numbers) -> int:
    """Of energy and power, for the account of the evidence (metering/account.py)."""
    columns = readings[ENERGY::STRIDE], readings[POWER::STRIDE]
    return sum(len(column) - column.count(ABSENT) for column in columns)


def _is_plain(session: Session) -> bool:
    """Nothing but a register that rises from reading to reading, without a gap: thinned, it is judged as before."""
    if session.suspect or session.states or None in (session.start_register_wh, session.stop_register_wh):
        return False
    if any(session.readings[KIND::STRIDE]):
        return False
    registers, times = session.readings[ENERGY::STRIDE].tolist(), session.readings[TIME::STRIDE].tolist()
    spans = sorted(map(sub, times[1:], times))
    return (
        len(spans) > 1
        and min(map(sub, registers[1:], registers)) > 0
        and spans[-1] <= max(2 * spans[len(spans) // 2], SHORTEST_GAP)
    )


def _thinned(readings: Numbers) -> Numbers:
    kept = array("q")
    first = 0
    for index in _ends_of_quarters(readings[0::STRIDE]):
        if index > first:
            kept.extend(readings[first * STRIDE : (first + 1) * STRIDE])
        kept.extend(readings[index * STRIDE : (index + 1) * STRIDE])
        first = index + 1
    return kept


def _ends_of_quarters(times: Numbers) -> Iterator[int]:
    """Index of the last reading in each quarter of an hour that has one."""
    index = 0
    while index < len(times):
        index = bisect_left(times, times[index] // QUARTER * QUARTER + QUARTER, index)
        yield index - 1


def decode_archived(value: bytes) -> Session:
    session = _SESSION_DECODER.decode(memoryview(value)[8:])
    session.slow = True  # it ended; older records do not say
    session.thinned |= _was_thinned(session.readings_v4)  # nor do they say this
    _restore(session)
    return session


def encode_station(station: Station) -> bytes:
    """The state without its archive. A fold is a cache and is not stored; sealed readings are stored as sealed."""
    long = [each for each in station.sessions.values() if each.sealed]
    if not long:
        return _ENCODER.encode(station)
    whole = {id(each): (each, each.readings) for each in long}  # once each, whatever its names
    for session, readings in whole.values():
        session.readings = readings[sealed_rows(session) * STRIDE :]
    try:
        return _ENCODER.encode(station)
    finally:
        for session, readings in whole.values():
            session.readings = readings


def sealed_rows(session: Session) -> int:
    """How many of its readings, from the oldest on, are stored as sealed blocks."""
    return sum(rows for rows, _ in session.sealed)


def seal(session: Session) -> None:
    """Packs the older readings of a long session once, so that a state record has few bytes and costs little."""
    done = sealed_rows(session)
    while len(session.readings) > (done + 2 * BLOCK) * STRIDE:
        block = session.readings[done * STRIDE : (done + BLOCK) * STRIDE]
        session.sealed.append((BLOCK, pack(block, STRIDE)))
        done += BLOCK


def unseal(session: Session, place: int) -> None:
    """The reading at this index of `readings` changed, or there is a new one: blocks from there on are packed anew."""
    while session.sealed and sealed_rows(session) * STRIDE > place:
        session.sealed.pop()


def decode_station(value: bytes) -> Station:
    """The inverse of `encode_station`. Sessions with aliases are one object again."""
    station = _STATION_DECODER.decode(value)
    for connector in station.connectors.values():
        if connector.states_v4:
            connector.reports = [(at, state, 0) for at, state in connector.states_v4]
            connector.states_v4 = []
    _rejoin(station.sessions)
    for _, session in station.each_session():
        session.slow = session.slow or session.ended()  # older records do not say
        _restore(session)
    return station


def _rejoin(sessions: dict[str, Session]) -> None:
    """What was one object under several names is one again; a name may have gone over to another session since."""
    for key in list(sessions):
        session = sessions[key]
        for alias in session.aliases:
            if (other := sessions.get(alias)) is not session and other == session:
                sessions[alias] = session


def _was_thinned(old: Numbers) -> bool:
    """Of readings as codec versions up to 4 kept them: no quarter of an hour with more than its first and last one."""
    quarters = [at // QUARTER for at in old[0::4]]
    return bool(quarters) and all(a != b for a, b in zip(quarters, quarters[2:], strict=False))


def _restore(session: Session) -> None:
    """Unpacks what is sealed. Readings of codec versions up to 4 had four numbers, at times that were corrected
    already; up to 5 each missing sequence number was listed."""
    if session.sealed:
        tail, session.readings = session.readings, array("q")
        for _, block in session.sealed:
            session.readings.extend(unpack(block))
        session.readings.extend(tail)
    for number in sorted(session.seq_missing_v5):
        if session.seq_gaps and session.seq_gaps[-1][1] == number:
            session.seq_gaps[-1] = session.seq_gaps[-1][0], number + 1
        else:
            session.seq_gaps.append((number, number + 1))
    session.seq_missing_v5 = []
    old = session.readings_v4
    for at, register, power, soc in zip(*(old[column::4] for column in range(4)), strict=True):
        session.readings.extend((at, register, power, soc, REGISTER, 0))
    if old:
        session.readings_v4 = array("q")
    if session.started_at_us is not None and not session.start_sent_us:
        session.start_sent_us = session.started_at_us
    if session.ended_at_us is not None and session.closed_by == "STOP" and not session.stop_sent_us:
        session.stop_sent_us = session.ended_at_us
