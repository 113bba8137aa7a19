"""Sessions of ClickHouse -> Recorded, for what-if: the same facts as in a file of the topic `sessions`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipeline.domain.checking.rerating import Recorded
from pipeline.domain.outputs import Line, SessionSlot
from pipeline.storage.reader import Question, Reader

_SLOTS = ("slot_starts", "slot_energies", "slot_occupied", "slot_charging")
_LINES = ("kinds", "dimensions", "froms", "tos", "quantities", "reasons")


def recorded_sessions(reader: Reader, question: Question) -> list[Recorded]:
    """Completed, billable sessions of the period, each in its latest revision, in order of start."""
    return [_recorded(row) for row in reader.answer("recorded", question).rows]


def _recorded(row: Mapping[str, Any]) -> Recorded:
    slots = zip(*(row[name] for name in _SLOTS), strict=True)
    lines = zip(*(row[name] for name in _LINES), strict=True)
    return Recorded(
        site_id=row["site_id"],
        start_us=row["start_us"],
        end_us=row["end_us"],
        slots=[SessionSlot(*slot) for slot in slots],
        lines=[
            Line(kind=kind, dimension=dimension, from_us=since, to_us=until, quantity=str(quantity), reason=reason)
            for kind, dimension, since, until, quantity, reason in lines
        ],
        billed_excl=row["billed_excl"],
    )
