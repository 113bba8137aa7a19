"""Each rule over an ended session: evidence that breaks it, and that the plain session beside it breaks none."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec import structs

from pipeline.domain.limits import DC, Limits
from pipeline.domain.metering.measured import Measured
from pipeline.domain.publishing.rules import RULES, flags
from pipeline.domain.station import DAY, HOUR, MINUTE

LIMITS = Limits(power_type="DC", rating_w=50_000, expected_us=DC.expected_us, longest_idle_us=HOUR)
PLAIN = Measured(
    started_at_us=DAY, ended_at_us=DAY + HOUR, since_us=DAY, until_us=DAY + HOUR, times=[], registers=[],
    energy_wh=20_000, low_wh=20_000, high_wh=20_000, estimated_wh=0, quarantined_wh=0, dropped_wh=0,
    start_register_wh=0, stop_register_wh=20_000, activity=[], charging_us=HOUR, idle_us=0, max_power_w=None,
    status="completed", evidence="complete", quality=(), clean=True, gaps=[],
)  # fmt: skip
BREAKS: dict[str, dict[str, Any]] = {
    "LONG_SESSION": {"until_us": DAY + 2 * HOUR + 1},
    "OVERSTAY": {"idle_us": HOUR + 1},
    "OVER_POWER": {"energy_wh": 57_501},  # 115 % of the rating for an hour, and 1 Wh
}
"""What of a plain session is other; of a rule that is a quality code: the code."""
BREAKS |= {code: {"quality": (code,)} for code, rule in RULES.items() if rule.holds is not None and code not in BREAKS}


def test_a_plain_session_breaks_no_rule() -> None:
    assert flags(PLAIN, LIMITS) == ()


@pytest.mark.parametrize("code", [code for code, rule in RULES.items() if rule.holds is not None])
def test_each_rule_is_broken_by_its_own_evidence_alone(code: str) -> None:
    assert flags(structs.replace(PLAIN, **BREAKS[code]), LIMITS) == (code,)


@pytest.mark.parametrize(
    "change",
    [
        {"until_us": DAY + 2 * HOUR},
        {"idle_us": HOUR},
        {"energy_wh": 57_500},
        {"energy_wh": 9_000, "until_us": DAY + 5 * MINUTE - 1},
    ],
)
def test_at_the_threshold_nothing_is_broken(change: dict[str, Any]) -> None:
    assert flags(structs.replace(PLAIN, **change), LIMITS) == ()
