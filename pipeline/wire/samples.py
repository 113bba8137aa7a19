"""Sampled values of OCPP 1.6, 2.0.1 and 2.1 -> readings. All versions send the same shape; only what we use is read. A
bad value costs its sample, not its batch.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

import msgspec

from pipeline.domain.events import BAD_VALUE, ChargingState, MeterRead, ReadingContext, TxHint
from pipeline.domain.outputs import Quarantined
from pipeline.wire.instants import Instant
from pipeline.wire.messages import Meaning, Message
from pipeline.wire.quantities import QUANTITIES, REGISTER, SampledValue
from pipeline.wire.timestamps import micros


class MeterValue(msgspec.Struct, rename="camel", gc=False):
    """Samples of one instant; one frame may hold several with the same timestamp."""

    timestamp: str = ""
    sampled_value: list[SampledValue] = []


_CONTEXTS: Final[Mapping[str, ReadingContext]] = {
    "Transaction.Begin": "begin",
    "Sample.Periodic": "periodic",
    "Sample.Clock": "clock",
    "Interruption.Begin": "interruption",
    "Interruption.End": "interruption",
    "Transaction.End": "end",
    "Trigger": "trigger",
}
_ALL_PHASES: Final = 7


def readings(
    message: Message,
    entries: Iterable[MeterValue],
    *,
    connector_id: int | None,
    transaction_id: str | None = None,
    tx_hint: TxHint = "",
    seq_no: int | None = None,
    state: ChargingState | None = None,
) -> Meaning:
    """One MeterRead per distinct timestamp and context with a measurand that we use, in the order of the message; also
    where all its values were left out, so that a session knows that there was one."""
    groups: dict[tuple[int, str, bool], Instant] = {}
    meaning = Meaning([], [])
    for entry in entries:
        used = [sample for sample in entry.sampled_value if (sample.measurand or REGISTER) in QUANTITIES]
        if not used:
            continue  # problem 28: what we do not use never makes a reading
        try:
            at, zone_assumed = micros(entry.timestamp)
        except ValueError:
            meaning.quarantined.append(Quarantined("BAD_TIMESTAMP", f"{message.action}: meterValue.timestamp"))
            # The time of receipt is no time of the session: no code, only the fact that there was a reading.
            _at(groups, message.received_us, "", False).leave_out(BAD_VALUE, len(used))
            continue
        for sample in used:
            _at(groups, at, sample.context or "Sample.Periodic", zone_assumed).take(sample, meaning.quarantined)
    for (at, context, zone_assumed), instant in groups.items():
        instant.settle(meaning.quarantined)
        values = instant.values
        meaning.events.append(
            MeterRead(
                station_id=message.station_id,
                event_time_us=at,
                received_time_us=message.received_us,
                clock=message.clock,
                connector_id=connector_id,
                transaction_id=transaction_id,
                tx_hint=tx_hint,
                register_wh=values.get("register_wh"),
                interval_wh=values.get("interval_wh"),
                power_w=values.get("power_w"),
                offered_w=values.get("offered_w"),
                soc_percent=values.get("soc_percent"),
                state=state,
                context=_CONTEXTS.get(context, "other"),
                from_phases=instant.register_phases == _ALL_PHASES,
                seq_no=seq_no,
                codes=(*instant.codes, "ZONE_ASSUMED") if zone_assumed else tuple(instant.codes),
                phases=instant.register_phases,
                left_out=tuple(sorted(instant.left_out.items())) if instant.left_out else (),
            )
        )
    return meaning


def _at(groups: dict[tuple[int, str, bool], Instant], at: int, context: str, zone_assumed: bool) -> Instant:
    instant = groups.get((at, context, zone_assumed))
    if instant is None:
        instant = groups[at, context, zone_assumed] = Instant()
    return instant
