"""How much goes wrong in one run: the full size is what the project promises, the short one is for `make verify`."""

from __future__ import annotations

from dataclasses import dataclass

ASSEMBLE_PHASES = ("apply", "flush", "offsets", "commit", "restore")
INSERT = "insert"
PHASES = (*ASSEMBLE_PHASES, INSERT)
"""In each of these at least one SIGKILL must hit."""

SESSION_TIMEOUT_S = 6.0
GRACE_S = 10.0
"""A worker that gets SIGTERM exits within this time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """`smoke`: each fault strikes only once."""

    name: str
    stations: int
    days: int
    sessions: float
    """Mean arrivals per connector and day."""
    least_events: int
    rate: int
    """Mean events per second while things go wrong; afterwards the rest comes as fast as the broker takes it."""
    kills: int
    pauses_s: tuple[float, ...]
    """Each longer than the session time-out; one longer than the transaction time-out, so that the broker aborts it."""
    stops: int
    joins: int
    broker_restarts: int
    clickhouse_away_s: float
    quiet_s: float
    """At the start of ClickHouse's absence nothing else goes wrong for so long: the latency of alerts is measured."""
    settle_s: float
    """Longest pause between two disruptions."""
    patience_s: float
    """Until everything is drained."""


FULL = Scale(
    name="full", stations=400, days=1, sessions=4.5, least_events=500_000, rate=1_500,
    kills=25, pauses_s=(8.0, 8.0, 8.0, 8.0, 17.0), stops=5, joins=2, broker_restarts=2,
    clickhouse_away_s=60, quiet_s=12, settle_s=2.0, patience_s=240,
)  # fmt: skip
SHORT = Scale(
    name="short", stations=50, days=1, sessions=4.0, least_events=50_000, rate=500,
    kills=7, pauses_s=(8.0,), stops=1, joins=0, broker_restarts=1,
    clickhouse_away_s=10, quiet_s=2, settle_s=0.5, patience_s=90,
)  # fmt: skip
MINI = Scale(
    name="mini", stations=24, days=1, sessions=3.0, least_events=15_000, rate=300,
    kills=6, pauses_s=(8.0,), stops=1, joins=0, broker_restarts=1,
    clickhouse_away_s=6, quiet_s=1, settle_s=0.5, patience_s=120,
)  # fmt: skip
SMOKE = Scale(
    name="smoke", stations=10, days=1, sessions=2.0, least_events=2_000, rate=250,
    kills=3, pauses_s=(), stops=0, joins=0, broker_restarts=0,
    clickhouse_away_s=3, quiet_s=0, settle_s=0.2, patience_s=120,
)  # fmt: skip
SCALES = {scale.name: scale for scale in (FULL, SHORT, MINI, SMOKE)}
