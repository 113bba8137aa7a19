"""The rules of anomalies: codes are data, a rule over a finished session is a predicate, its severity stands beside it.

Rules on open sessions and stations fire in session/ticks.py, where time passes; those over the evidence as a whole fire
here, when a session is rated. Thresholds are in limits.py.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from pipeline.domain.limits import Limits
from pipeline.domain.metering.measured import Measured
from pipeline.domain.outputs import Severity
from pipeline.domain.station import MINUTE

Holds = Callable[[Measured, Limits], bool]


@dataclass(frozen=True, slots=True)
class Rule:
    severity: Severity
    meaning: str
    holds: Holds | None = None
    """None: fires where time or arrival tells (session/), not on the finished session."""
    threshold: Callable[[Limits], str] = lambda _: ""


def lasted_too_long(measured: Measured, limits: Limits) -> bool:
    return measured.started_at_us is not None and measured.until_us - measured.started_at_us > limits.expected_us


def overstayed(measured: Measured, limits: Limits) -> bool:
    return measured.idle_us > limits.longest_idle_us


def has(code: str) -> Holds:
    return lambda measured, _: code in measured.quality


def drew_too_much_power(measured: Measured, limits: Limits) -> bool:
    """Average over the whole session, of five minutes and more, above the rating and its tolerance."""
    lasted = measured.until_us - (measured.started_at_us or measured.until_us)
    if limits.rating_w is None or measured.energy_wh is None or lasted < 5 * MINUTE:
        return False
    return measured.energy_wh * 60 * MINUTE * 100 > limits.rating_w * limits.tolerance_percent * lasted


RULES: Mapping[str, Rule] = {
    "LONG_SESSION": Rule(
        "warning",
        "The session lasts longer than expected for the connector.",
        lasted_too_long,
        lambda limits: f"{limits.expected_us // MINUTE} min",
    ),
    "OVERSTAY": Rule(
        "warning",
        "Still plugged in long after the energy stopped flowing.",
        overstayed,
        lambda limits: f"{limits.longest_idle_us // MINUTE} min",
    ),
    "IMPOSSIBLE_ENERGY": Rule(
        "critical",
        "More energy than the connector can deliver: not billed.",
        has("IMPOSSIBLE_ENERGY"),
        lambda limits: f"{limits.rating_w} W" if limits.rating_w else "",
    ),
    "NEGATIVE_ENERGY": Rule("critical", "The meter ended below its start: not billed.", has("NEGATIVE_ENERGY")),
    "NEGATIVE_DURATION": Rule(
        "critical", "The stop is stamped before the start: not billed.", has("NEGATIVE_DURATION")
    ),
    "IMPOSSIBLE_DURATION": Rule(
        "critical", "A session of more than 31 days: not billed.", has("IMPOSSIBLE_DURATION"), lambda _: "31 d"
    ),
    "METER_STUCK": Rule("critical", "The register stood still while power flowed.", has("METER_STUCK")),
    "REGISTER_RESET": Rule("warning", "The register fell to about 0 in a session.", has("REGISTER_RESET")),
    "OVER_POWER": Rule("warning", "Average power above the rating.", drew_too_much_power),
    "MISSING_STOP": Rule("info", "The session was closed because no stop came.", has("MISSING_STOP")),
    "REPEATED_ABORTS": Rule("warning", "Three sessions without energy on a connector within an hour."),
    "STATION_FAULT": Rule(
        "critical", "A connector reports a fault for more than a minute.", threshold=lambda _: "60 s"
    ),
    "STATION_SILENT": Rule(
        "warning",
        "No sign of life although a session is open or a car connected.",
        threshold=lambda limits: f"{limits.silent_us // MINUTE} min",
    ),
    "SITE_SILENT": Rule(
        "critical",
        "Most stations of the site fell silent about together; the alerts of its stations are part of this one.",
        threshold=lambda limits: f"more than half, {limits.silent_us // MINUTE} min",
    ),
    "REBOOT_LOOP": Rule("warning", "Two boots within five minutes.", threshold=lambda _: "5 min"),
    "INTERNAL_ERROR": Rule("critical", "A message of the station met an error of ours; it is in dead-letters."),
    "STATION_QUARANTINED": Rule(
        "critical", "The station is set aside: its messages are kept until it is released, its open sessions are held."
    ),
    "ID_CONFLICT": Rule("warning", "Two different contents for one key; the first was kept."),
    "DOUBLE_STOP": Rule("warning", "A second, different stop of a transaction; the first was kept."),
}

_JUDGED = [(code, rule.holds) for code, rule in RULES.items() if rule.holds is not None]


def flags(measured: Measured, limits: Limits) -> tuple[str, ...]:
    """Codes of the rules that the finished (or open) session breaks."""
    return tuple([code for code, holds in _JUDGED if holds(measured, limits)])
