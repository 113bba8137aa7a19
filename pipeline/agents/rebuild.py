"""Topics -> what stands of sessions and bills, and what a rebuild corrects of it -> records. No I/O."""

from __future__ import annotations

from collections.abc import Iterator

from pipeline.agents.records import FORMS, RECEIPTS, SESSIONS, records_of
from pipeline.domain.publishing import rebuilding
from pipeline.domain.publishing.rebuilding import Correction, Standing
from pipeline.runtime.logic import Output
from pipeline.wire.receipts import decode_receipt
from pipeline.wire.sessions import decode_session


class Told(Standing):
    """Fed with records."""

    def take(self, topic: str, value: bytes | None, source: str) -> None:
        """The next record of `sessions` or `receipts`; others are passed over. Raises InvalidMessage."""
        if topic == SESSIONS and value is not None:
            self.session(decode_session(value))
        elif topic == RECEIPTS and value is not None:
            self.receipt(decode_receipt(value, source))


def corrections(stands: Told, rebuilt: Told) -> Iterator[Correction]:
    """Of every session that either knows, in order of its id."""
    return rebuilding.corrections(FORMS, stands, rebuilt)


def outputs(correction: Correction) -> list[Output]:
    return records_of(correction.after.station_id, correction.published)
