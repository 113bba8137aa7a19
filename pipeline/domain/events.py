"""What a charging station can tell us, as values. Everything downstream knows these types and no other input.

Times are integer microseconds since 1970-01-01 UTC, energy is integer Wh, power integer W. The types are msgspec
structs so that the canonical JSON of `meter-events` decodes straight into them (0.5 us an event); see
ops/decisions/0002. They are also the published contract: schemas/messages/meter-events.v1.schema.json.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

Micros = Annotated[int, msgspec.Meta(ge=0, le=253_402_300_799_999_999)]
"""Microseconds since 1970-01-01 UTC, up to the year 9999. The bounds are checked by the decoder, in C."""
Quantity = Annotated[int, msgspec.Meta(ge=0, le=1_000_000_000_000)]
"""Wh or W; the bound keeps sums inside 64 bits, what is physically possible is judged later."""
Percent = Annotated[int, msgspec.Meta(ge=0, le=100)]
HIGHEST_CONNECTOR = 65_535
ConnectorId = Annotated[int, msgspec.Meta(ge=0, le=HIGHEST_CONNECTOR)]
SeqNo = Annotated[int, msgspec.Meta(ge=0, le=1 << 53)]
Offset = Annotated[int, msgspec.Meta(ge=0, le=1 << 62)]
StationId = Annotated[str, msgspec.Meta(min_length=1, max_length=255)]
Text = Annotated[str, msgspec.Meta(max_length=255)]
Phases = Annotated[int, msgspec.Meta(ge=0, le=7)]
"""A set of phases as bits: 1 = L1, 2 = L2, 4 = L3."""
LONGEST_QUOTE_ID = 64
QuoteId = Annotated[str, msgspec.Meta(min_length=1, max_length=LONGEST_QUOTE_ID)]
Clock = Annotated[str, msgspec.Meta(min_length=1, max_length=255)]

ChargingState = Literal["charging", "suspended_ev", "suspended_evse", "idle"]
ReadingContext = Literal["begin", "periodic", "clock", "interruption", "end", "trigger", "other"]

BillDecision = Literal["waive", "bill", "withdraw"]
"""Ask for nothing; bill what somebody answers for; take the last decision back, so that the evidence decides again."""
Operator = Annotated[str, msgspec.Meta(pattern="^[a-z0-9._-]{0,64}$")]
"""Who decided: an operator's id, never a name, because receipts carry it."""

LIVE = "live"
"""The clock of real time. A replay or a simulation names its own clock and writes its own ticks."""

Sign = Literal["heartbeat", "authorize", "boot", "link_up", "link_down", "answer", "other"]

TxHint = Literal["", "unacknowledged", "zero"]
"""Why `transaction_id` is absent although the station meant one (OCPP 1.6). Empty: it is there, or none was sent at
all. `unacknowledged`: -1 or a number that no central system gives (problem 19: match by station, connector, tag and
time). `zero`: 0 (problem 20: the only open transaction of the connector)."""

PHASE_BESIDE_TOTAL = "PHASE_BESIDE_TOTAL"
OTHER_LOCATION = "OTHER_LOCATION"
NOT_A_PHASE = "NOT_A_PHASE"
SIGNED = "SIGNED"
BAD_VALUE = "BAD_VALUE"
SECOND_VALUE = "SECOND_VALUE"
"""Why a measured value was left out of its reading: it is a phase and there is a total; a meter nearer to the outlet
tells the same; it is measured from a phase to a phase or in the neutral; it is signed data; it cannot be read; another
value of the same key came before it."""


class _Event(msgspec.Struct, tag_field="type", kw_only=True, omit_defaults=True, gc=False):
    version: Literal[1] = 1
    """Of the meter event; absent: 1. Any other is refused as UNSUPPORTED_VERSION."""
    station_id: StationId
    event_time_us: Micros
    """When it happened, by the station's clock, as sent. Never corrected: identities are made from it."""
    received_time_us: Micros = 0
    """When the central system or gateway received it; 0 = not known."""
    event_id: Text = ""
    """The producer's idempotency key; duplicates are found by the natural keys of the content, so `wire` drops it."""
    clock: Clock = LIVE


class PriceQuote(msgspec.Struct, frozen=True, gc=False):
    """A price that the driver was shown before the start. It names an offer, never a driver."""

    quote_id: QuoteId
    """Opaque: whoever made the offer finds it again by this."""
    shown_at_us: Micros
    """When it was shown, by the clock of whoever showed it; what that binds: pricing/quotes.py."""


class SessionStarted(_Event, tag="session_started"):
    """A transaction began. `transaction_id` absent: not acknowledged yet (OCPP 1.6 before StartTransaction.conf)."""

    connector_id: ConnectorId | None = None
    """OCPP 2.0.1: the EVSE's id. Absent: not known yet, a later event of the transaction names it."""
    transaction_id: Text | None = None
    """On the wire as the station sent it; `wire` replaces it by a keyed hash, as in every event below."""
    register_wh: Quantity | None = None
    """Lifetime import register of the connector at the start; absent: unknown, never 0 by default."""
    token: Text | None = None
    """On the wire the driver's token; `wire` replaces it by a pseudonym before anybody else sees it."""
    token_type: Text = ""
    """OCPP 2.0.1 idToken type; part of the pseudonym, then dropped."""
    call: str | None = None
    """Key of the unanswered OCPP call, to pair it with SessionConfirmed; made by `wire`, never sent by a producer."""
    seq_no: SeqNo | None = None
    reservation: bool = False
    billing_token: str | None = None
    """Pseudonym for the purpose `billing`; made by `wire`, never sent by a producer."""
    analytics_token: str | None = None
    """Pseudonym for the purpose `analytics`, epoch by the month of `event_time_us`; made by `wire` too."""
    codes: tuple[str, ...] = ()
    """Quality codes that the decoder found, e.g. ZONE_ASSUMED, PHASE_MISMATCH."""
    quote: PriceQuote | None = None
    """A price shown to the driver before; under a LOCKED tariff it binds for 300 s. OCPP knows none."""


class SessionAuthorized(_Event, tag="session_authorized"):
    """A token was presented for a transaction that already runs (OCPP 2.0.1: idToken first sent in an Updated)."""

    transaction_id: Text
    token: Text
    """As in SessionStarted; so are all below."""
    connector_id: ConnectorId | None = None
    token_type: Text = ""
    billing_token: str | None = None
    analytics_token: str | None = None
    reservation: bool = False
    """As in SessionStarted: it was not known whose reservation this is before the token was presented."""


class SessionConfirmed(_Event, tag="session_confirmed"):
    """The central system gave the pending start of `call` its transaction id (OCPP 1.6 StartTransaction.conf)."""

    call: str
    transaction_id: str | None = None
    accepted: bool = True


class MeterRead(_Event, tag="meter_read"):
    """One instant of meter data. Absent values were not measured; they never mean 0."""

    connector_id: ConnectorId | None = None
    """0 = the station's main meter: never part of a session. Absent: not known, `transaction_id` tells (readings in
    OCPP 1.6 StopTransaction, OCPP 2.0.1 Updated)."""
    transaction_id: Text | None = None
    tx_hint: TxHint = ""
    register_wh: Quantity | None = None
    interval_wh: Quantity | None = None
    power_w: Quantity | None = None
    offered_w: Quantity | None = None
    soc_percent: Percent | None = None
    state: ChargingState | None = None
    context: ReadingContext = "periodic"
    from_phases: bool = False
    """The register is the sum of L1, L2 and L3, because the station sends no total: `phases` is 7."""
    seq_no: SeqNo | None = None
    """OCPP 2.0.1: of the message; all readings of one message share it."""
    codes: tuple[str, ...] = ()
    phases: Phases = 0
    """Which phases `register_wh` is the sum of, because the station sends no total; 0: it is the total itself."""
    left_out: tuple[tuple[str, int], ...] = ()
    """Values of this instant that bear on a session and were not used: reason and how many, in order of the reasons.
    Made by `wire`, never sent by a producer. A reading of which nothing was used has it and no values."""


class SessionEnded(_Event, tag="session_ended"):
    """A transaction ended. `connector_id` absent: OCPP 1.6 StopTransaction does not carry it."""

    transaction_id: Text | None = None
    tx_hint: TxHint = ""
    connector_id: ConnectorId | None = None
    register_wh: Quantity | None = None
    reason: Text = "Local"
    """A word of STOP_REASONS; `wire` turns every other into `Other`."""
    token: Text | None = None
    token_type: Text = ""
    seq_no: SeqNo | None = None
    codes: tuple[str, ...] = ()


class StatusReported(_Event, tag="status_reported"):
    """Status of a connector (0 = the whole station). A hint ordered by its own time: it opens and closes nothing."""

    connector_id: ConnectorId
    status: Text
    """A word of STATUSES; `wire` turns every other into `Other`."""
    error_code: Text = "NoError"
    """A word of ERROR_CODES; `wire` turns every other into `OtherError`."""


class StationSeen(_Event, tag="station_seen"):
    """Any other sign of life of the station: heartbeat, authorize, link up, boot, its answer to a call.

    `link_down` is the one exception: the connection is gone. What the central system says is no sign of life.
    """

    what: Sign = "heartbeat"


class ClockTicked(msgspec.Struct, tag_field="type", tag="clock_ticked", kw_only=True, omit_defaults=True, gc=False):
    """Time has reached `time_us` on `clock`, for every station of the partition that follows this clock."""

    time_us: Micros
    clock: Clock = LIVE
    version: Literal[1] = 1
    reference: tuple[Offset, Offset, Offset] | None = None
    """How much of `sites`, `tariffs` and `price-signals` counts from now on: the records below these offsets."""
    signature: str = ""
    """By the key of purpose `control`, see wire/control.py; without it time does not move where ours are signed."""


class BillDecided(_Event, tag="bill_decided"):
    """Somebody decided about a bill that is held: `chargeline bills decide`, `bills release`. Never sent by a station.

    What it states takes the place of evidence that is missing or doubted; the latest decision counts. With `waive` and
    `withdraw` nothing of it is given.
    """

    session_id: Text
    """As published."""
    decision: BillDecision
    hypothesis: Text = ""
    """One of those in the account of its evidence, such as REGISTER_WRAPPED; its energy is billed."""
    start_register_wh: Quantity | None = None
    stop_register_wh: Quantity | None = None
    energy_wh: Quantity | None = None
    """To be billed as it is, whatever the registers say."""
    started_at_us: Micros | None = None
    ended_at_us: Micros | None = None
    reserved_from_us: Micros | None = None
    """When the reservation began whose price is in the tariff ..."""
    without_reservation: bool = False
    """... or that it is not billed."""
    token: Text | None = None
    """Whose session it is, where no start told: as in SessionStarted, like all that follow up to `analytics_token`."""
    token_type: Text = ""
    billing_token: str | None = None
    analytics_token: str | None = None
    by: Operator = ""
    why: Text = ""
    """Free text: in receipts, never in what analysts read."""


ChargeEvent = (
    SessionStarted
    | SessionAuthorized
    | SessionConfirmed
    | MeterRead
    | SessionEnded
    | StatusReported
    | StationSeen
    | BillDecided
)

STATUSES = frozenset({
    "Available", "Preparing", "Charging", "SuspendedEV", "SuspendedEVSE", "Finishing", "Reserved", "Unavailable",
    "Faulted", "Occupied",
})  # fmt: skip
"""OCPP 1.6 ChargePointStatus; OCPP 2.0.1 ConnectorStatusEnumType adds Occupied."""
ERROR_CODES = frozenset({
    "ConnectorLockFailure", "EVCommunicationError", "GroundFailure", "HighTemperature", "InternalError",
    "LocalListConflict", "NoError", "OtherError", "OverCurrentFailure", "OverVoltage", "PowerMeterFailure",
    "PowerSwitchFailure", "ReaderFailure", "ResetFailure", "UnderVoltage", "WeakSignal",
})  # fmt: skip
"""OCPP 1.6 ChargePointErrorCode."""
STOP_REASONS = frozenset({
    "DeAuthorized", "EmergencyStop", "EVDisconnected", "HardReset", "Local", "Other", "PowerLoss", "Reboot", "Remote",
    "SoftReset", "UnlockCommand",
    "EnergyLimitReached", "GroundFault", "ImmediateReset", "LocalOutOfCredit", "MasterPass", "OvercurrentFault",
    "PowerQuality", "SOCLimitReached", "StoppedByEV", "TimeLimitReached", "Timeout",
})  # fmt: skip
"""OCPP 1.6 Reason, and what OCPP 2.0.1 ReasonEnumType adds; its DeAuthorized and EVDisconnected are spelled alike."""
