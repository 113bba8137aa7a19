"""Energy of a session whose evidence is not plain: one source for each stretch of time, a code for each repair.

The precedence (ops/field-problems.md): registers of start and stop with the samples between them, samples alone,
phases that provably stand for the total, intervals, power. The rule of this file: never negative, never clamped to 0,
never more than physically possible, never a guess between two explanations. What is billed without proof says between
which bounds the truth lies; where nothing or more than one thing explains the evidence, the energy is None.
"""

from __future__ import annotations

from pipeline.domain.metering.evidence import AT_THE_END, Evidence
from pipeline.domain.metering.judgement import Judgement, leave_out_one, nothing, unknown
from pipeline.domain.metering.of_intervals import leave_out_intervals, of_intervals
from pipeline.domain.metering.of_registers import of_registers
from pipeline.domain.metering.phases import explain_phases, use_phases
from pipeline.domain.metering.power import integrated
from pipeline.domain.metering.registers import Bound


def judge(found: Evidence, bound: Bound, previous_wh: int | None) -> Judgement:
    """The energy from everything that the session left; `previous_wh`: where the register stood before it."""
    phases = use_phases(found, bound) if found.phases else []
    if found.registers or found.stop_wh is not None:
        leave_out_intervals(found)
        return of_registers(found, bound, previous_wh)
    if found.intervals:
        return of_intervals(found, bound)
    if len(found.powers) > 1:
        return _of_power(found, bound)
    if phases:
        explain_phases(found, phases)
        return unknown(found, ["PHASES_PARTIAL"])
    codes = ["MISSING_START"] if found.started_us is None else []
    if found.by_stop and found.until_us > found.since_us + AT_THE_END:
        return unknown(found, [*codes, "STOP_REGISTER_MISSING"])  # nothing was measured, which never means 0
    if found.start_wh is not None or found.begins:
        return of_registers(found, bound, previous_wh)
    return unknown(found, codes)


def _of_power(found: Evidence, bound: Bound) -> Judgement:
    judged = integrated(found, bound, nothing(found, []))
    if judged.energy_wh is None:
        return unknown(found, judged.codes)
    leave_out_one(found.account, "NO_SECOND_REGISTER", found.since_us, found.start_wh)
    found.account.leave_out("NO_SECOND_REGISTER", found.begins)
    return judged
