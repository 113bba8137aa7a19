"""What is known of a connector: the power that it can deliver, and the step and the beat of its register."""

from __future__ import annotations

from operator import sub

from pipeline.domain.limits import Limits
from pipeline.domain.metering.columns import Columns
from pipeline.domain.metering.evidence import Evidence as Gathered
from pipeline.domain.metering.measured import Measured
from pipeline.domain.metering.registers import Bound, beat, resolution
from pipeline.domain.station import ABSENT, ENERGY, STRIDE, Connector, Session

MANY = 5
"""Of so many readings two different values tell the step of the register: a finer one would have shown more of them."""
ENOUGH = 32
"""So many different values tell the step of a register for good."""


def bound_of(session: Session, connector: Connector, limits: Limits, columns: Columns, highest: int) -> Bound:
    """What the connector can deliver, and the step of its register as far as it was learned; `highest`: W stated."""
    watts = limits.rating_w
    if watts is None:
        seen = max(connector.highest_power_w, highest)
        watts = seen if seen > 0 else limits.unrated_w
    step = limits.register_step_wh
    registers = columns.registers
    few = {*registers[:3]} - {ABSENT, 0}
    if len(few) < 3 or resolution(few) > step:  # else more of them cannot make it coarser
        sent = {*registers, session.start_register_wh or 0, session.stop_register_wh or 0}
        sent -= {ABSENT, 0}
        step = max(step, resolution(sent) if len(sent) > 2 else connector.resolution_wh)
    return Bound(watts * limits.tolerance_percent // 100, step, max(watts, highest))


def refined(bound: Bound, found: Gathered) -> Bound:
    """With the step that the registers of this session show."""
    least = 2 if len(found.registers) >= MANY else 3
    step = max(bound.step_wh, resolution({register for _, register in found.registers}, least))
    return bound._replace(step_wh=step)


def learn(connector: Connector, session: Session, measured: Measured) -> None:
    """What a closed session tells of the connector's register: its step, and the beat on which it is refreshed."""
    if not measured.registers or measured.dropped_wh:
        return
    if connector.resolution_of < ENOUGH:
        sent = set(session.readings[ENERGY::STRIDE])
        sent.discard(ABSENT)
        sent = sent or set(measured.registers)
        step = resolution(sent, 3)
        if len(sent) > 2 and (step < connector.resolution_wh or len(sent) > connector.resolution_of):
            connector.resolution_wh, connector.resolution_of = step, max(len(sent), connector.resolution_of)
    if not measured.is_rising and 0 in map(sub, measured.registers[1:-1], measured.registers):
        connector.beat_us = beat(list(zip(measured.times, measured.registers, strict=True))) or connector.beat_us
