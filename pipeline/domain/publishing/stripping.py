"""The gate that identifiers do not pass: what may be published of a session, field by field from the allow-list."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from pipeline.domain.bounds import LONGEST_SESSION_US
from pipeline.domain.metering.measured import Measured, seconds
from pipeline.domain.metering.slots import spread
from pipeline.domain.outputs import StrippedSession
from pipeline.domain.pricing.bill import Bill
from pipeline.domain.publishing.rules import flags
from pipeline.domain.rating import Rated, is_billable
from pipeline.domain.station import SECOND, Session, Station


def strip(station: Station, session: Session, session_id: str, rated: Rated) -> StrippedSession:
    """Nothing of the session is copied that is not named here. `session_id` is what it is published under."""
    measured, bill, site, limits, unattributed = rated
    energy, until = measured.energy_wh, measured.until_us
    lasted = _lasted(measured)
    priced = bill if isinstance(bill, Bill) else None
    given_up = priced is None and session.decision == "waive"
    nothing = "0.0000" if given_up else None
    evidence, quality = measured.evidence, measured.quality
    gaps = [*measured.gaps, *measured.lags]
    if gaps and priced is not None and evidence == "complete" and _price_changed_in(gaps, priced):
        evidence = "estimated"  # problem 9: how the energy spreads over the prices is an assumption
    is_way = _is_way(measured)
    return StrippedSession(
        session_id=session_id,
        generation=session.generation,
        station_id=station.station_id,
        connector_id=max(session.connector_id, 0),
        site_id=site.site_id if site else None,
        time_zone=site.time_zone if site else None,
        power_type=limits.power_type,
        started_at_us=measured.started_at_us,
        ended_at_us=measured.ended_at_us,
        duration_s=seconds(lasted),
        charging_s=seconds(measured.charging_us),
        idle_s=seconds(lasted) - seconds(measured.charging_us),
        energy_wh=energy,
        energy_low_wh=measured.low_wh,
        energy_high_wh=measured.high_wh,
        unobserved_s=-(-measured.unseen_us // SECOND),
        estimated_wh=measured.estimated_wh,
        unattributed_wh=unattributed,
        start_register_wh=measured.start_register_wh if is_way else None,
        stop_register_wh=measured.stop_register_wh if is_way else None,
        max_power_w=measured.max_power_w,
        status=measured.status,
        evidence=evidence,
        quality=quality,
        flags=flags(measured, limits),
        billable=is_billable(session, measured),
        stop_reason=session.stop_reason,
        driver=session.analytics_token,
        bill_state=priced.state if priced else "FINAL" if given_up else "HELD",
        held_reason=None if given_up else bill.held_reason if isinstance(bill, Bill) else bill.code,
        currency=priced.currency if priced else None,
        total_excl_vat=priced.total_excl if priced else nothing,
        total_incl_vat=priced.total_incl if priced else nothing,
        payable_excl_vat=priced.payable_excl if priced else nothing,
        payable_incl_vat=priced.payable_incl if priced else nothing,
        tariff_id=priced.tariff_id if priced else None,
        tariff_version=priced.tariff_version if priced else None,
        lines=priced.lines if priced else (),
        slots=()
        if lasted > LONGEST_SESSION_US
        else spread(measured.times, measured.registers, measured.activity, until),
        clock=station.clock,
    )


def nothing_of(
    session_id: str, generation: int, place: tuple[str, int, str], ended_at_us: int | None, superseded_by: str | None
) -> StrippedSession:
    """Takes back a session that is none (any more). `place`: station, connector and clock."""
    return StrippedSession(
        session_id=session_id,
        generation=generation,
        station_id=place[0],
        connector_id=place[1],
        started_at_us=None,
        ended_at_us=ended_at_us,
        duration_s=0,
        charging_s=0,
        idle_s=0,
        energy_wh=0,
        energy_low_wh=0,
        energy_high_wh=0,
        estimated_wh=0,
        unattributed_wh=0,
        start_register_wh=None,
        stop_register_wh=None,
        status="void",
        evidence="complete",
        quality=(),
        flags=(),
        billable=False,
        driver=None,
        bill_state="FINAL",
        total_excl_vat="0.0000",
        total_incl_vat="0.0000",
        superseded_by=superseded_by,
        clock=place[2],
    )


def _is_way(measured: Measured) -> bool:
    """Is it the way of the register that is billed? By a decision it may be another one, which the receipt tells."""
    start, stop, energy = measured.start_register_wh, measured.stop_register_wh, measured.energy_wh
    if not measured.settled or start is None or stop is None:
        return True
    return energy == stop - start + measured.dropped_wh


def _lasted(measured: Measured) -> int:
    return measured.until_us - measured.since_us


def _price_changed_in(gaps: Sequence[tuple[int, int]], bill: Bill) -> bool:
    """Does a bound between two energy prices lie where nothing was read?"""
    energy = [line for line in bill.lines if line.dimension == "ENERGY"]
    bounds = [line.to_us for line, after in pairwise(energy) if line.unit_price != after.unit_price]
    return any(begin < bound < end for bound in bounds for begin, end in gaps)
