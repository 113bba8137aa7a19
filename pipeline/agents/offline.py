"""The sessions of a finished log without a broker: same functions as in the stream, latest revision of each session.

For the operator only: unlike every topic and table it has the transaction ids as the stations sent them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import msgspec

from pipeline.agents.assembly import Assembly
from pipeline.agents.records import FORMS, SESSIONS
from pipeline.domain.outputs import StrippedSession
from pipeline.domain.pseudonyms import Keyring
from pipeline.domain.publishing import Publishing
from pipeline.domain.publishing.receipts import account_of
from pipeline.domain.rating import Rated, Rating
from pipeline.domain.receipts import Account
from pipeline.domain.station import Session, Station
from pipeline.domain.station_codec import decode_archived
from pipeline.errors import InvalidMessage
from pipeline.runtime.offline import Offline
from pipeline.wire.dead_letters import reason_of
from pipeline.wire.meter_events import Decoder
from pipeline.wire.sessions import decode_session

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Explaining(Publishing):
    """Keeps the latest account of the evidence of each session."""

    def __init__(self, rating: Rating, accounts: dict[str, Account]) -> None:
        super().__init__(rating, FORMS)
        self._accounts = accounts

    def draft(self, station: Station, session: Session) -> tuple[StrippedSession, Rated]:
        record, rated = super().draft(station, session)
        self._accounts[record.session_id] = account_of(rated.measured.account)
        return record, rated


class OfflineSessions:
    """Takes records by `feed`, then gives `rows`. `refused` counts unused records by reason.

    `explain`: each row also has the `account` of its evidence.
    """

    def __init__(self, rating: Rating, keyring: Keyring, *, explain: bool = False) -> None:
        self.refused: Counter[str] = Counter()
        self._ids: dict[str, str] = {}
        self._latest: dict[str, StrippedSession] = {}
        self._accounts: dict[str, Account] | None = {} if explain else None
        self._publishing = Publishing(rating, FORMS) if self._accounts is None else Explaining(rating, self._accounts)
        logic = Assembly(rating, Decoder(keyring, self._ids), publishing=self._publishing)
        self.stage: Offline[Station] = Offline(logic)

    def feed(self, key: bytes | None, value: bytes) -> None:
        """The next record of `meter-events`; a key of None is a tick for every station."""
        try:
            for output in self.stage.feed(key, value):
                if output.topic == SESSIONS and output.value is not None:
                    record = decode_session(output.value)
                    self._latest[record.session_id] = record
                elif output.headers:
                    self.refused[reason_of(output.headers)] += 1
        except InvalidMessage as error:
            self.refused[error.reason] += 1

    def rows(self) -> Iterator[dict[str, object]]:
        """One JSON-ready object per session, the latest state of each, in order of start."""
        transactions: dict[str, str] = {}
        for key, station in list(self.stage.states.items()):
            try:
                for session in self._sessions(station):
                    if not session.ended() or session.dirty or not session.revision:
                        self._show(station, session)
                    transactions[session.session_id] = self._ids.get(session.transaction, "")
            except Exception as error:
                self.stage.put_aside(key, error)
        ordered = sorted(self._latest.values(), key=lambda r: (r.started_at_us or r.ended_at_us or 0, r.session_id))
        for record in ordered:
            shown = row(record, transactions.get(record.session_id) or None)
            if self._accounts is not None:
                shown["account"] = msgspec.to_builtins(self._accounts.get(record.session_id))
            yield shown

    def _sessions(self, station: Station) -> Iterator[Session]:
        for _, session in station.each_session():
            yield session
        for name, value in station.archive.items():
            if name.decode() not in station.sessions:
                yield decode_archived(value)

    def _show(self, station: Station, session: Session) -> None:
        """What the log has not emitted yet: an open session, or one whose late evidence waits for a tick."""
        record = self._publishing.preview(station, session)
        if record is not None:
            self._latest[record.session_id] = record


def row(record: StrippedSession, transaction_id: str | None) -> dict[str, object]:
    """A session as `assemble` prints it: times as UTC ISO 8601, `complete` spelled out."""
    fields: dict[str, object] = msgspec.to_builtins(record)
    return {
        "session_id": record.session_id,
        "revision": record.revision,
        "station_id": record.station_id,
        "connector_id": record.connector_id,
        "transaction_id": transaction_id,
        "started_at": _iso(record.started_at_us),
        "ended_at": _iso(record.ended_at_us),
        "complete": record.evidence == "complete",
        **{name: value for name, value in fields.items() if name not in ("started_at_us", "ended_at_us")},
    }


def _iso(at_us: int | None) -> str | None:
    return None if at_us is None else (_EPOCH + timedelta(microseconds=at_us)).isoformat().replace("+00:00", "Z")
