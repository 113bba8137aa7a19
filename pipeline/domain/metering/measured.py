"""The judgement on one session, and what its quality codes mean: which hold the bill, which make it an estimate."""

from __future__ import annotations

import msgspec

from pipeline.domain.bounds import LONGEST_SESSION_US
from pipeline.domain.metering.account import Account
from pipeline.domain.outputs import Evidence, Status
from pipeline.domain.pricing.facts import ActivityPeriod
from pipeline.domain.station import SECOND

HELD_BY = (
    "SESSIONS_OVERLAP", "STOP_AMBIGUOUS", "IMPOSSIBLE_ENERGY", "NEGATIVE_ENERGY", "BASELINE_UNCLEAR", "PHASES_PARTIAL",
    "NEGATIVE_DURATION", "IMPOSSIBLE_DURATION", "MISSING_START",
)  # fmt: skip
"""Codes that hold the bill, the gravest first."""
INCOMPLETE = frozenset({*HELD_BY, "MISSING_STOP", "CLOSED_BY_NEW_START", "SEQ_GAP"})
ESTIMATED = frozenset({
    "REGISTER_RESET", "METER_REPLACED", "METER_STUCK", "STOP_REPLACED", "STOP_REGISTER_MISSING", "POWER_INTEGRATED",
    "INTERVAL_MISSING", "POST_STOP_READING", "TIME_UNCERTAIN", "ACTIVITY_UNCLEAR", "BILL_DECIDED", "DOUBLE_STOP",
    "EVIDENCE_THINNED",
})  # fmt: skip
NOT_QUALITY = frozenset({"SIGNED_EVIDENCE"})
"""What decoders note that says nothing about the quality of a session."""


class Measured(msgspec.Struct, kw_only=True, gc=False):
    """The judgement on one session. Parallel lists: `times` us and `registers` Wh, start and end included."""

    started_at_us: int | None
    ended_at_us: int | None
    """None while the session is open."""
    since_us: int
    """The start, or the first evidence of a session whose start is not known."""
    until_us: int
    times: list[int]
    registers: list[int]
    energy_wh: int | None
    low_wh: int | None
    high_wh: int | None
    """Between them the true energy lies; equal to it where it is proven. None: not known."""
    estimated_wh: int
    quarantined_wh: int
    dropped_wh: int
    """By how much the register fell in the session (reset); part of the ledger of the connector."""
    start_register_wh: int | None
    stop_register_wh: int | None
    activity: list[ActivityPeriod]
    charging_us: int
    idle_us: int
    max_power_w: int | None
    status: Status
    evidence: Evidence
    quality: tuple[str, ...]
    clean: bool
    """Nothing had to be judged: the readings are as they were sent."""
    is_rising: bool = False
    """It is known that no two of the registers are equal, unless perhaps the last two."""
    gaps: list[tuple[int, int]]
    """Stretches without readings, longer than twice the usual interval."""
    lags: list[tuple[int, int]] = []
    """Stretches in which the register stood still before it caught up."""
    unseen_us: int = 0
    """Time in which nobody observed the session."""
    powers: list[int] = []
    """W that the charger stated at each of `times`; -1: none."""
    powers_between: list[tuple[int, int]] = []
    """(us, W) stated between them, with no register of its own."""
    account: Account = msgspec.field(default_factory=Account)
    settled: tuple[str, ...] = ()
    """Codes that hold the bill no longer, because somebody decided."""

    @property
    def reserved_from_us(self) -> int | None:
        """Since when the connector was reserved, as far as that is to be billed: only a decision tells."""
        decided = self.account.decided
        return decided.reserved_from_us if decided is not None and self.account.outcome == "applied" else None

    @property
    def held(self) -> str | None:
        """Why this session must not be billed as it is."""
        if self.until_us - self.since_us > LONGEST_SESSION_US:
            return "IMPOSSIBLE_DURATION"  # whatever was decided
        if not self.quality:
            return None
        return next((code for code in HELD_BY if code in self.quality and code not in self.settled), None)


def seconds(us: int) -> int:
    """Whole seconds, half up."""
    return (us + SECOND // 2) // SECOND
