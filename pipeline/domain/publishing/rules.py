"""All rules of anomalies in one table: what each means, how severe it is, who raises it and when it is cleared.

Codes are data. A rule over a finished session is a predicate here, and fires when the session is published; one that
takes time or arrival fires where those are seen, and names that module. Thresholds are in limits.py. The table is
compared with ops/anomalies.md, schemas/messages/anomalies.v1.schema.json and the modules that raise.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from pipeline.domain.limits import Limits
from pipeline.domain.metering.measured import Measured
from pipeline.domain.outputs import Severity
from pipeline.domain.station import MINUTE

Holds = Callable[[Measured, Limits], bool]
IN_QUALITY: Literal["in quality"] = "in quality"
"""The code of the rule is one of the session's quality codes."""
Cleared = Literal[
    "never", "when the session ends", "when the fault is over", "at the next sign of life",
    "when most stations can be heard", "when it is released",
]  # fmt: skip
TICKS, STATUS, OUTAGES = "domain/session/ticks.py", "domain/session/status.py", "domain/sites/outages.py"
PUBLISHING, STAGE = "domain/publishing/__init__.py", "runtime"
STATION_QUARANTINED = "STATION_QUARANTINED"


@dataclass(frozen=True, slots=True)
class Rule:
    severity: Severity
    meaning: str
    holds: Holds | Literal["in quality"] | None = None
    """Of a session that is published: raised with its first revision that breaks the rule. None: by other means."""
    raised: tuple[str, ...] = (PUBLISHING,)
    """By which modules or packages below pipeline/; they clear it, too."""
    cleared: Cleared = "never"
    """`never`: it tells of an event, not of a state."""
    threshold: Callable[[Limits], str] = lambda _: ""


def minutes(duration_us: int) -> str:
    return f"{duration_us // MINUTE} min"


def lasted_too_long(measured: Measured, limits: Limits) -> bool:
    return measured.started_at_us is not None and measured.until_us - measured.started_at_us > limits.expected_us


def overstayed(measured: Measured, limits: Limits) -> bool:
    return measured.idle_us > limits.longest_idle_us


def drew_too_much_power(measured: Measured, limits: Limits) -> bool:
    """Average over the whole session, of five minutes and more, above the rating and its tolerance."""
    lasted = measured.until_us - (measured.started_at_us or measured.until_us)
    if limits.rating_w is None or measured.energy_wh is None or lasted < 5 * MINUTE:
        return False
    return measured.energy_wh * 60 * MINUTE * 100 > limits.rating_w * limits.tolerance_percent * lasted


RULES: Mapping[str, Rule] = {
    "LONG_SESSION": Rule(
        "warning", "The session lasts longer than expected for the connector.", lasted_too_long, (TICKS, PUBLISHING),
        cleared="when the session ends", threshold=lambda limits: minutes(limits.expected_us),
    ),
    "OVERSTAY": Rule(
        "warning", "Still plugged in long after the energy stopped flowing.", overstayed, (TICKS, PUBLISHING),
        cleared="when the session ends", threshold=lambda limits: minutes(limits.longest_idle_us),
    ),
    "IMPOSSIBLE_ENERGY": Rule(
        "critical", "More energy than the connector can deliver: not billed.", IN_QUALITY,
        threshold=lambda limits: f"{limits.rating_w} W" if limits.rating_w else "",
    ),
    "NEGATIVE_ENERGY": Rule("critical", "The meter ended below its start: not billed.", IN_QUALITY),
    "NEGATIVE_DURATION": Rule(
        "critical", "The stop is stamped before the start: not billed.", IN_QUALITY
    ),
    "IMPOSSIBLE_DURATION": Rule(
        "critical", "A session of more than 31 days: not billed.", IN_QUALITY,
        threshold=lambda _: "31 d",
    ),
    "METER_STUCK": Rule("critical", "The register stood still while power flowed.", IN_QUALITY),
    "REGISTER_RESET": Rule("warning", "The register fell to about 0 in a session.", IN_QUALITY),
    "OVER_POWER": Rule("warning", "Average power above the rating.", drew_too_much_power),
    "MISSING_STOP": Rule("info", "The session was closed because no stop came.", IN_QUALITY),
    "REPEATED_ABORTS": Rule("warning", "Three sessions without energy on a connector within an hour."),
    "STATION_FAULT": Rule(
        "critical", "A connector reports a fault for more than a minute.", raised=(TICKS, STATUS),
        cleared="when the fault is over", threshold=lambda _: "60 s",
    ),
    "STATION_SILENT": Rule(
        "warning", "No sign of life although a session is open or a car connected.", raised=(TICKS, OUTAGES),
        cleared="at the next sign of life", threshold=lambda limits: minutes(limits.silent_us),
    ),
    "SITE_SILENT": Rule(
        "critical",
        "Most stations of the site fell silent about together; the alerts of its stations are part of this one.",
        raised=(OUTAGES,), cleared="when most stations can be heard",
        threshold=lambda limits: f"more than half, {minutes(limits.silent_us)}",
    ),
    "REBOOT_LOOP": Rule("warning", "Two boots within five minutes.", raised=(STATUS,), threshold=lambda _: "5 min"),
    "INTERNAL_ERROR": Rule(
        "critical", "A message of the station met an error of ours; it is in dead-letters.", raised=(STAGE,)
    ),
    STATION_QUARANTINED: Rule(
        "critical",
        "The station is set aside: its messages are kept until it is released, its open sessions are held.",
        raised=(STAGE,), cleared="when it is released",
    ),
    "ID_CONFLICT": Rule(
        "warning", "Two different contents for one key; the first was kept.",
        raised=("domain/session/starts.py", "domain/session/readings.py"),
    ),
    "DOUBLE_STOP": Rule(
        "warning", "A second, different stop of a transaction; the first was kept.", raised=("domain/session/ends.py",)
    ),
}  # fmt: skip

CLEARED_AT_END = tuple(code for code, rule in RULES.items() if rule.cleared == "when the session ends")
_JUDGED = [(code, rule.holds) for code, rule in RULES.items() if rule.holds is not None]


def flags(measured: Measured, limits: Limits) -> tuple[str, ...]:
    """Codes of the rules that the finished (or open) session breaks."""
    quality = measured.quality
    return tuple(
        [code for code, holds in _JUDGED if (code in quality if holds == IN_QUALITY else holds(measured, limits))]
    )


def table() -> str:
    """The list as Markdown."""
    rows = [
        f"| `{code}` | {rule.severity} | {rule.meaning} | {rule.cleared} | "
        f"{', '.join(f'`{module}`' for module in rule.raised)} |"
        for code, rule in RULES.items()
    ]
    return "\n".join(
        ["| rule | severity | raised | cleared | by (below `pipeline/`) |", "|---|---|---|---|---|", *rows]
    )
