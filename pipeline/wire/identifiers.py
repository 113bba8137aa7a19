"""The one place where identifiers leave events: every decoded event passes `conceal`, whatever it was decoded from.

Words that a station may choose freely are cut to the lists of domain/events.py here too, since free text can carry
an identifier. What becomes of each field is in ops/spec/privacy.md, section 1.
"""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import Final, assert_never

from pipeline.domain.events import (
    ERROR_CODES,
    STATUSES,
    STOP_REASONS,
    BillDecided,
    ChargeEvent,
    MeterRead,
    SessionAuthorized,
    SessionConfirmed,
    SessionEnded,
    SessionStarted,
    StationSeen,
    StatusReported,
)
from pipeline.domain.pseudonyms import Keyring
from pipeline.wire.timestamps import month

CODES: Final = frozenset({"ZONE_ASSUMED", "TIME_ASSUMED", "PHASE_MISMATCH", "SIGNED_EVIDENCE"})
"""The quality codes that a decoder, or a producer of canonical events, may attach. TIME_ASSUMED: the message had no
(readable) time of its own, `event_time_us` is when it was received."""


class Identifiers:
    """Replaces identifiers by keyed pseudonyms, in place."""

    def __init__(self, keyring: Keyring, remember: MutableMapping[str, str] | None = None) -> None:
        """`remember` collects transaction key -> id as sent: for offline commands on files, never in a worker."""
        self._keyring = keyring
        self._remember = remember
        self.call_key = keyring.call_key
        self.transaction = keyring.transaction_key if remember is None else self._remembered_transaction

    def _remembered_transaction(self, station_id: str, transaction_id: str) -> str:
        key: str = self._keyring.transaction_key(station_id, transaction_id)
        if self._remember is not None:
            self._remember[key] = transaction_id
        return key

    def conceal(self, event: ChargeEvent) -> None:
        if isinstance(event, MeterRead):  # the hot path: one cached look-up per reading
            if event.transaction_id is not None:
                event.transaction_id = self.transaction(event.station_id, event.transaction_id)
            if event.event_id:
                event.event_id = ""
            if event.codes:
                event.codes = _known(event.codes)
        else:
            self._conceal_rare(event)

    def _conceal_rare(
        self,
        event: SessionStarted
        | SessionAuthorized
        | SessionConfirmed
        | SessionEnded
        | StatusReported
        | StationSeen
        | BillDecided,
    ) -> None:
        event.event_id = ""
        match event:
            case StationSeen() | SessionConfirmed():
                pass  # a confirmation comes from Calls, which hold keys only
            case StatusReported():
                if event.status not in STATUSES:
                    event.status = "Other"
                if event.error_code not in ERROR_CODES:
                    event.error_code = "OtherError"
            case SessionStarted():
                if event.transaction_id is not None:
                    event.transaction_id = self.transaction(event.station_id, event.transaction_id)
                self._conceal_token(event)
                event.codes = _known(event.codes)
            case BillDecided():
                self._conceal_token(event)
            case SessionAuthorized():
                event.transaction_id = self.transaction(event.station_id, event.transaction_id)
                self._conceal_token(event)
            case SessionEnded():
                if event.transaction_id is not None:
                    event.transaction_id = self.transaction(event.station_id, event.transaction_id)
                if event.token is not None:
                    event.token = self._keyring.pseudonym("assembly", event.token_type, event.token)
                event.token_type = ""
                if event.reason not in STOP_REASONS:
                    event.reason = "Other"
                event.codes = _known(event.codes)
            case _:
                assert_never(event)

    def _conceal_token(self, event: SessionStarted | SessionAuthorized | BillDecided) -> None:
        token, token_type = event.token, event.token_type
        event.token_type = ""
        event.billing_token = event.analytics_token = None
        if token is None:
            return
        event.token, event.billing_token, event.analytics_token = self._keyring.pseudonyms(
            token_type, token, month(event.event_time_us)
        )


def _known(codes: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(code for code in codes if code in CODES) if codes else ()
