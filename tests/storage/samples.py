"""Sessions and alerts with every field set, to vary by the field that a test is about."""

from __future__ import annotations

import msgspec

from pipeline.domain.outputs import Alert, Line, SessionSlot, StrippedSession

HOUR_US = 3_600_000_000
QUARTER_US = HOUR_US // 4
NOON_US = 1_790_078_400_000_000
"""2026-09-22T12:00:00Z."""


def a_line(number: int = 0, **fields: object) -> Line:
    """A quarter of an hour of energy for 2.0000 / 2.3800."""
    line = Line(
        kind="USAGE",
        dimension="ENERGY",
        from_us=NOON_US + number * QUARTER_US,
        to_us=NOON_US + (number + 1) * QUARTER_US,
        local_from="2026-09-22T14:00:00+02:00",
        local_to="2026-09-22T14:15:00+02:00",
        quantity="10.000000",
        billed_quantity="10.000000",
        unit="kWh",
        unit_price="0.2",
        amount_excl="2.0000",
        tax_rate="19",
        tax_amount="0.3800",
        amount_incl="2.3800",
        tariff_id="T1",
        tariff_version="2026-01-01",
        element_index=0,
        component_index=1,
        window="06:00-22:00 MON-FRI",
        reason="FIRST_MATCH",
        assumptions=("INTERPOLATED",),
        evidence=("r1", "r2"),
        price_parts=(("spot", "0.15"), ("fee", "0.05")),
    )
    return msgspec.structs.replace(line, **fields)


def a_session(number: int = 0, *, lines: int = 2, slots: int = 2, **fields: object) -> StrippedSession:
    """A final bill with `lines` lines of 2.0000 and `slots` quarters of 10 kWh each, from noon on."""
    session = StrippedSession(
        session_id=f"s{number:05d}",
        generation=1,
        revision=1,
        station_id=f"ST-{number % 7}",
        connector_id=1,
        site_id="SITE-1",
        time_zone="Europe/Berlin",
        power_type="DC",
        started_at_us=NOON_US,
        ended_at_us=NOON_US + slots * QUARTER_US,
        duration_s=slots * 900,
        charging_s=slots * 890,
        idle_s=slots * 10,
        energy_wh=slots * 10_000,
        estimated_wh=0,
        unattributed_wh=3,
        start_register_wh=1_000_000,
        stop_register_wh=1_000_000 + slots * 10_000,
        max_power_w=50_000,
        status="completed",
        evidence="complete",
        quality=("DUPLICATE_READING",),
        flags=("overstayed",),
        billable=True,
        stop_reason="Local",
        driver="abcdefghijklmnopqrstuvwxyz",
        bill_state="FINAL",
        held_reason=None,
        currency="EUR",
        total_excl_vat=f"{2 * lines}.0000",
        total_incl_vat=f"{2.38 * lines:.4f}",
        payable_excl_vat=f"{2 * lines}.00",
        payable_incl_vat=f"{2.38 * lines:.2f}",
        tariff_id="T1",
        tariff_version="2026-01-01",
        lines=tuple(a_line(each) for each in range(lines)),
        slots=tuple(SessionSlot(NOON_US + each * QUARTER_US, 10_000, 900, 890) for each in range(slots)),
        revision_reason="ENDED",
        superseded_by=None,
        clock="live",
        content_hash="0" * 32,
    )
    return msgspec.structs.replace(session, **fields)


def an_alert(number: int = 0, **fields: object) -> Alert:
    alert = Alert(
        alert_id=f"a{number:05d}",
        rule="overstayed",
        state="raised",
        severity="warning",
        station_id="ST-1",
        connector_id=1,
        site_id="SITE-1",
        session_id="s00001",
        at_us=NOON_US + HOUR_US,
        raised_at_us=NOON_US + HOUR_US,
        value="3600",
        threshold="1800",
        detail="idle for 60 min",
        evidence=("r1",),
    )
    return msgspec.structs.replace(alert, **fields)
