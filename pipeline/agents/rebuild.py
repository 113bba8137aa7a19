"""Published sessions and bills from their topics, and the corrections of a rebuild as records. No I/O."""

from __future__ import annotations

from collections.abc import Iterator

from pipeline.agents.records import FORMS, RECEIPTS, SESSIONS, records_of
from pipeline.domain.publishing import rebuilding
from pipeline.domain.publishing.rebuilding import Correction, Standing
from pipeline.runtime.logic import Output
from pipeline.wire.receipts import decode_receipt
from pipeline.wire.sessions import decode_session


class PublishedRecords(Standing):
    """The latest sessions and bills, read from records."""

    def take(self, topic: str, value: bytes | None, source: str) -> None:
        """Takes the next record of `sessions` or `receipts`, ignores other topics. Raises InvalidMessage."""
        if topic == SESSIONS and value is not None:
            self.session(decode_session(value))
        elif topic == RECEIPTS and value is not None:
            self.receipt(decode_receipt(value, source))


def corrections(published: PublishedRecords, rebuilt: PublishedRecords) -> Iterator[Correction]:
    """Corrections of every session in either argument, in order of session id."""
    return rebuilding.corrections(FORMS, published, rebuilt)


def outputs(correction: Correction) -> list[Output]:
    return records_of(correction.after.station_id, correction.published)
