"""What leaves the pipeline: one type per output topic, each built field by field from an allow-list.

None of them can hold an identifier of a driver: `driver` is a keyed pseudonym, `session_id` a keyed hash. Money is a
decimal string (4 decimals, payable amounts those of the currency), times are integer us UTC, energy integer Wh.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

Status = Literal["completed", "open", "aborted", "void"]
Evidence = Literal["complete", "estimated", "incomplete"]
BillState = Literal["FINAL", "HELD", "RUNNING"]
Severity = Literal["info", "warning", "critical"]
ConnectorState = Literal["free", "occupied", "unavailable", "faulted", "silent", "unknown", "gone"]


class SessionSlot(msgspec.Struct, frozen=True, gc=False):
    """A quarter of an hour UTC of a session; the slots of a session re-add to it to the Wh and second."""

    start_us: int
    energy_wh: int
    occupied_s: int
    charging_s: int


class Line(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One stretch of one dimension at one unit price (ops/spec/pricing.md 6.1). Decimals are text; null is unknown."""

    kind: str
    dimension: str = ""
    from_us: int = 0
    to_us: int = 0
    local_from: str = ""
    local_to: str = ""
    quantity: str = "0"
    billed_quantity: str = "0"
    unit: str = ""
    unit_price: str | None = None
    amount_excl: str | None = None
    tax_rate: str | None = None
    tax_amount: str | None = None
    amount_incl: str | None = None
    tariff_id: str = ""
    tariff_version: str = ""
    element_index: int | None = None
    component_index: int | None = None
    window: str = ""
    """The element's restrictions in words, e.g. `22:00-06:00 MON-FRI`, `always`: what analysts group revenue by."""
    reason: str = ""
    assumptions: tuple[str, ...] = ()
    evidence: tuple[str, ...] = ()
    price_parts: tuple[tuple[str, str], ...] = ()


class StrippedSession(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """All that analysts may have of a session: topic `sessions`, ClickHouse `charging.sessions`."""

    session_id: str
    generation: int = 1
    """A higher generation begins with a deliberate rebuild; the version is (generation, revision)."""
    station_id: str
    connector_id: int
    site_id: str | None = None
    time_zone: str | None = None
    power_type: str | None = None
    started_at_us: int | None
    ended_at_us: int | None
    duration_s: int
    charging_s: int
    idle_s: int
    energy_wh: int | None
    """Null: not known (quarantined as impossible); never 0 for unknown."""
    energy_low_wh: int | None = None
    energy_high_wh: int | None = None
    """Between them the true energy lies; both are `energy_wh` where the evidence proves it. Null: not known."""
    unobserved_s: int = 0
    """Time in which nobody observed the session: it counts as charging, never as idle."""
    estimated_wh: int
    """The part of `energy_wh` that no register proves."""
    unattributed_wh: int
    """Register movement of the connector before this session that no session reported; not billed."""
    start_register_wh: int | None
    stop_register_wh: int | None
    max_power_w: int | None = None
    status: Status
    evidence: Evidence
    quality: tuple[str, ...]
    """Codes of the field problems, see ops/interpretation.md, Quality codes."""
    flags: tuple[str, ...]
    """Anomaly rules that this session broke."""
    billable: bool
    stop_reason: str | None = None
    driver: str | None
    """Pseudonym (purpose analytics), 26 base32 characters; null: no token was presented."""
    bill_state: BillState
    held_reason: str | None = None
    currency: str | None = None
    total_excl_vat: str | None = None
    total_incl_vat: str | None = None
    payable_excl_vat: str | None = None
    payable_incl_vat: str | None = None
    tariff_id: str | None = None
    tariff_version: str | None = None
    lines: tuple[Line, ...] = ()
    slots: tuple[SessionSlot, ...] = ()
    superseded_by: str | None = None
    clock: str = "live"
    revision: int = 0
    revision_reason: str = ""
    content_hash: str = ""
    """32 hex characters of the sha256 over all fields before `revision`: equal hashes, equal facts. Two hashes for
    one version are an audit failure. The last three fields stay last: wire/sessions.py hashes what is before them."""


class SessionUpdate(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Live view of an open session, for drivers' apps: topic `session-updates`."""

    session_id: str
    station_id: str
    connector_id: int
    started_at_us: int | None
    as_of_us: int
    energy_wh: int | None
    power_w: int | None = None
    soc_percent: int | None = None
    state: str
    running_cost_excl_vat: str | None = None
    running_cost_incl_vat: str | None = None
    currency: str | None = None
    eta_target: str | None = None
    eta_method: str | None = None
    eta_p10_min: float | None = None
    eta_p50_min: float | None = None
    eta_p90_min: float | None = None


class Alert(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """An anomaly, raised or cleared: topic `anomalies`. Holds no identifier of a person."""

    alert_id: str
    """Keyed hash of rule, place and the event time of its cause: the same for every replay."""
    rule: str
    state: Literal["raised", "cleared"]
    severity: Severity
    station_id: str
    connector_id: int
    site_id: str | None = None
    session_id: str | None = None
    at_us: int
    """Event time of the cause (raised) or of its end (cleared)."""
    raised_at_us: int
    value: str = ""
    threshold: str = ""
    detail: str = ""
    evidence: tuple[str, ...] = ()
    clock: str = "live"


class ConnectorChanged(msgspec.Struct, frozen=True, kw_only=True, gc=False, tag_field="type", tag="connector_changed"):
    """A connector of a site is in another state than was told before: topic `connector-status`."""

    site_id: str
    station_id: str
    connector_id: int
    """0: the whole station."""
    state: ConnectorState
    """Of the whole station, `free` is in service. `silent`: no sign of life; `unknown`: its status says nothing;
    `gone`: the station stands at another site now."""
    since_us: int
    """Event time of the change; of silence: of the last sign of life."""
    clock: str


class Quarantined(msgspec.Struct, frozen=True, gc=False):
    """A part of an event that was not used: becomes a dead letter with the original bytes."""

    reason: str
    detail: str = ""
    event: Any = None
    """The event itself, where it was kept for a while and its bytes are gone; its identifiers are pseudonyms."""
