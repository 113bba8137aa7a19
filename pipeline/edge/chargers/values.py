"""meterValue as both protocols write it; they differ in how a number and its unit are written."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from pipeline.edge.chargers.tape import PERIODIC, Entry, Sample, Tape

WriteNumber = Callable[[Sample], dict[str, Any]]
"""`value` and the unit of a sample."""


def meter_value(tape: Tape, entries: Iterable[Entry], number: WriteNumber) -> list[dict[str, Any]]:
    return [
        {"timestamp": tape.stamp(entry.at_us), "sampledValue": [_sample(sample, number) for sample in entry.samples]}
        for entry in entries
    ]


def _sample(sample: Sample, number: WriteNumber) -> dict[str, Any]:
    sent = number(sample) | {"measurand": sample.measurand}
    if sample.context != PERIODIC:
        sent["context"] = sample.context
    if sample.phase:
        sent["phase"] = sample.phase
    if sample.location:
        sent["location"] = sample.location
    return sent
