"""Conservation of energy, per connector: what the register moved is attributed, quarantined or unattributed.

    attributed + quarantined + unattributed = closing register - opening register

The left side is summed over sessions and over the gaps between them, the right side is read off the meter, so energy
that is counted twice or lost shows as a difference. A session that is revised gives back what it had booked. Estimated
energy, which no register proves, stands in a column of its own and is no part of the equation. A register that falls
(reset, replaced meter) is carried on by an offset, so that the scale of the ledger only rises.

Two sessions that claim one stretch of the register (messages of one charge whose ids were altered) are a difference
for as long as both stand: that is what it is for. It goes when all of them are given back, or booked apart. No honest
station has any; on stations that send altered records nearly all of these sessions are held for a missing start.
"""

from __future__ import annotations

from typing import NamedTuple

from pipeline.domain.bounds import MOST_LEDGER
from pipeline.domain.metering.ends import CLOSE_STARTS
from pipeline.domain.metering.measured import Measured
from pipeline.domain.station import LATENESS_HORIZON, Connector, Session, Station


def book(connector: Connector, session: Session, measured: Measured) -> None:
    """Puts an ended session into the ledger, in place of what it had booked before."""
    before = session.booked
    if before is not None:
        withdraw(connector, session)
    start, stop = measured.start_register_wh, measured.stop_register_wh
    if start is None or stop is None or "SESSIONS_OVERLAP" in measured.quality:
        return
    newest = measured.until_us >= connector.register_at_us
    offset = connector.offset_wh if newest else _offset_at(connector, measured.until_us)
    came_after = measured.since_us >= connector.register_at_us - CLOSE_STARTS
    if before is None and newest and came_after and connector.register_wh is not None and start < connector.register_wh:
        offset += connector.register_wh - start  # the meter was reset or replaced between two sessions
    low = start + offset if before is None else before[0]
    high = max(low + stop - start + measured.dropped_wh, low)  # a fall that nothing explains moves nothing
    session.booked = (low, high, measured.energy_wh is not None, measured.estimated_wh)
    session.unbilled_wh = measured.quarantined_wh if measured.settled else 0
    _take(connector, session.booked, session.unbilled_wh)
    if newest:
        began = measured.started_at_us if measured.started_at_us is not None else measured.until_us
        _carry_on(connector, began, high - stop)  # also when a revision has found out that the register fell
        connector.register_wh, connector.register_at_us = stop, measured.until_us


def withdraw(connector: Connector, session: Session) -> None:
    """Gives back what a session had booked: it is booked anew, or is another one now, joined or with its own start."""
    if session.booked is not None:
        _give_back(connector, session.booked, session.unbilled_wh)
        session.booked, session.unbilled_wh = None, 0


def _offset_at(connector: Connector, at_us: int) -> int:
    """A session that is booked after later ones (its start is missing) stands where the register was in its time."""
    return next((before for reset_us, before in connector.resets if at_us <= reset_us), connector.offset_wh)


def _carry_on(connector: Connector, at_us: int, offset_wh: int) -> None:
    if offset_wh != connector.offset_wh:
        kept = [reset for reset in connector.resets if reset[0] > at_us - LATENESS_HORIZON]
        connector.resets = [*kept, (at_us, connector.offset_wh)][-MOST_LEDGER:]
        connector.offset_wh = offset_wh


def _take(connector: Connector, booking: tuple[int, int, bool, int], unbilled: int = 0) -> None:
    """`unbilled`: Wh of an attributed movement that a decision left out; they stay quarantined."""
    low, high, attributed, estimated = booking
    if attributed:
        connector.attributed_wh += high - low - unbilled
        connector.quarantined_wh += unbilled
    else:
        connector.quarantined_wh += high - low
    connector.estimated_wh += estimated
    if connector.opening_wh is None:
        connector.opening_wh = connector.closing_wh = low
    gaps = connector.gaps
    if low > connector.closing_wh:
        gaps.append((connector.closing_wh, low))
    if high < connector.opening_wh:
        gaps.append((high, connector.opening_wh))
    if gaps:
        connector.gaps = [part for gap in gaps for part in _without(gap, low, high)]
    if len(connector.gaps) > MOST_LEDGER:
        _settle(connector)
    connector.opening_wh = min(connector.opening_wh, low)
    connector.closing_wh = max(connector.closing_wh, high)


def _settle(connector: Connector) -> None:
    """Of the older half of the gaps only their sum is kept: the sessions that could claim them are long forgotten."""
    gaps = sorted(connector.gaps)
    older, connector.gaps = gaps[: MOST_LEDGER // 2], gaps[MOST_LEDGER // 2 :]
    connector.settled_wh += sum(end - begin for begin, end in older)


def _without(gap: tuple[int, int], low: int, high: int) -> list[tuple[int, int]]:
    """What is left of a gap when a session takes from `low` to `high`."""
    begin, end = gap
    return [(a, b) for a, b in ((begin, min(end, low)), (max(begin, high), end)) if a < b]


def _give_back(connector: Connector, booking: tuple[int, int, bool, int], unbilled: int = 0) -> None:
    low, high, attributed, estimated = booking
    if attributed:
        connector.attributed_wh -= high - low - unbilled
        connector.quarantined_wh -= unbilled
    else:
        connector.quarantined_wh -= high - low
    connector.estimated_wh -= estimated
    if low < high:  # what another session left or claimed there is not counted a second time
        connector.gaps = [*(part for gap in connector.gaps for part in _without(gap, low, high)), (low, high)]


class Tally(NamedTuple):
    """What became of the events and the energy of a station; adds up over stations, member by member."""

    received: int
    used: int
    duplicate: int
    quarantined: int
    outside: int
    pending: int
    movement_wh: int
    attributed_wh: int
    quarantined_wh: int
    unattributed_wh: int
    estimated_wh: int
    stations_off: int
    """1 if received = used + duplicate + quarantined + outside + pending does not hold."""
    connectors_off: int
    """Connectors whose ledger does not balance."""


def tally(station: Station) -> Tally:
    """From the durable counters; costs a few microseconds, so it is for a checkpoint, not for an event."""
    pending = station.pending()
    accounted = station.used + station.duplicates + station.quarantined + station.outside + pending
    moved = attributed = quarantined = outside = estimated = off = 0
    for connector in station.connectors.values():
        if connector.opening_wh is None:
            continue
        unknown = unattributed(connector)
        movement = connector.closing_wh - connector.opening_wh
        moved += movement
        attributed += connector.attributed_wh
        quarantined += connector.quarantined_wh
        outside += unknown
        estimated += connector.estimated_wh
        off += connector.attributed_wh + connector.quarantined_wh + unknown != movement
    return Tally(
        station.received, station.used, station.duplicates, station.quarantined, station.outside, pending,
        moved, attributed, quarantined, outside, estimated, int(accounted != station.received), off,
    )  # fmt: skip


def unattributed(connector: Connector) -> int:
    """Wh that the register moved while no session was known."""
    gaps = connector.gaps
    return connector.settled_wh + (sum([end - begin for begin, end in gaps]) if gaps else 0)


def difference(connector: Connector) -> int:
    """0 when the ledger balances; Wh that were counted twice (positive) or lost (negative)."""
    moved = connector.closing_wh - (connector.opening_wh or 0) if connector.opening_wh is not None else 0
    return connector.attributed_wh + connector.quarantined_wh + unattributed(connector) - moved
