"""The stage's outputs against the offline result of the same records: nothing lost, nothing doubled, nothing different.

An identity is what must exist once: a session's id and version, a receipt's key, an alert's id and state, a dead
letter's place.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from operator import itemgetter
from typing import Any, NamedTuple

from pipeline import topics
from pipeline.domain.station import Station
from pipeline.domain.station_codec import decode_station
from pipeline.runtime.partition.changelog import split_key
from pipeline.settings import Settings, clickhouse_password
from pipeline.storage.connection import connect
from pipeline.wire.sessions import decode_alert, decode_session
from tests.chaos.offline import Letter, Record, Told


class Difference(NamedTuple):
    """Counts of one kind of record."""

    expected: int
    lost: int
    doubled: int
    different: int

    @property
    def bad(self) -> int:
        return self.lost + self.doubled + self.different


def compare(
    told: Told, offline: Told, settings: Settings, judged_anew: Collection[bytes] | None, not_told: Collection[bytes]
) -> dict[str, Difference]:
    """By what was compared; every difference counts, `session-updates` too.

    Rows of stations `not_told` are passed over, because the two others do not tell of them.
    After an upgrade, of stations that are `judged_anew` only what nobody may do: lose a session, or tell a thing twice;
    and no state records, because what the former release wrote has its layout until it is written again.
    """
    apart = judged_anew or frozenset()
    loose = told.only(apart.__contains__), offline.only(apart.__contains__)
    told, offline = (each.only(lambda station: station not in apart) for each in (told, offline))
    found = {
        "sessions": _records(told.sessions, offline.sessions, _session),
        "receipts": _records(told.receipts, offline.receipts, itemgetter(0)),
        "anomalies": _records(told.anomalies, offline.anomalies, _alert),
        "session-updates": _multiset(told.updates, offline.updates),
        "dead-letters": _multiset(told.letters, offline.letters),
        "state records": _mapping(told.states, offline.states),
        "station counters": _mapping(counters(told.states), counters(offline.states)),
        "clickhouse sessions": _rows(_sessions_table(settings, {*apart, *not_told}), _latest(offline.sessions)),
        "clickhouse anomalies": _rows(
            _anomalies_table(settings, {*apart, *not_told}), [_alert(record) for record in offline.anomalies]
        ),
    }
    if judged_anew is not None:
        del found["state records"]
        found["sessions judged anew"] = _once(loose[0].sessions, loose[1].sessions, _session)
        found["receipts judged anew"] = _once(loose[0].receipts, Counter(), itemgetter(0))
    return found


def _once(told: Counter[Record], offline: Counter[Record], identity: Callable[[Record], object]) -> Difference:
    times: Counter[object] = Counter()
    for record, count in told.items():
        times[identity(record)] += count
    keys = {key for key, _ in told}
    return Difference(
        len(times), len({key for key, _ in offline} - keys), sum(count - 1 for count in times.values()), 0
    )


def counters(states: Mapping[bytes, bytes]) -> dict[bytes, tuple[int, ...]]:
    """Per station: received, used, duplicates, quarantined, outside sessions, pending."""
    stations: Iterable[tuple[bytes, Station]] = (
        (key, decode_station(value)) for key, value in states.items() if split_key(key)[1] is None
    )
    return {
        key: (each.received, each.used, each.duplicates, each.quarantined, each.outside, each.pending())
        for key, each in stations
    }


def unbalanced(found: Mapping[bytes, tuple[int, ...]]) -> int:
    """Stations whose received events are not all accounted for."""
    return sum(received != sum(parts) for received, *parts in found.values())


def _session(record: Record) -> tuple[object, ...]:
    session = decode_session(record[1])
    return session.session_id, session.generation, session.revision


def _alert(record: Record) -> tuple[object, ...]:
    alert = decode_alert(record[1])
    return alert.alert_id, alert.state


def _records(told: Counter[Record], offline: Counter[Record], identity: Any) -> Difference:
    """Each identity once, and the same bytes."""
    expected = {identity(record): record for record in offline}
    times: Counter[object] = Counter()
    for record, count in told.items():
        times[identity(record)] += count
    return Difference(
        len(expected),
        len(expected.keys() - times.keys()) + (len(offline) - len(expected)),  # two contents for one identity offline
        sum(count - 1 for count in times.values()),
        sum(1 for record in told if expected.get(identity(record)) != record),
    )


def _multiset(told: Counter[Record] | Counter[Letter], offline: Counter[Record] | Counter[Letter]) -> Difference:
    lost = sum((offline - told).values())  # type: ignore[operator]  # both are of one kind
    more = told - offline  # type: ignore[operator]  # as above
    doubled = sum(count for record, count in more.items() if record in offline)
    return Difference(sum(offline.values()), lost, doubled, sum(more.values()) - doubled)


def _mapping(told: Mapping[bytes, object], offline: Mapping[bytes, object]) -> Difference:
    different = sum(1 for key, value in told.items() if offline.get(key) != value)
    return Difference(len(offline), len(offline.keys() - told.keys()), 0, different)


def _rows(rows: list[tuple[object, ...]], expected: Iterable[tuple[object, ...]]) -> Difference:
    found, wanted = Counter(rows), set(expected)
    return Difference(
        len(wanted),
        len(wanted - found.keys()),
        sum(count - 1 for count in found.values()),
        len(found.keys() - wanted),
    )


def _latest(sessions: Iterable[Record]) -> list[tuple[object, ...]]:
    latest: dict[str, tuple[object, ...]] = {}
    for _, value in sessions:
        session = decode_session(value)
        row = (session.generation, session.revision, session.session_id, session.content_hash)
        latest[session.session_id] = max(row, latest.get(session.session_id, (0, 0)))
    return list(latest.values())


def _sessions_table(settings: Settings, apart: Collection[bytes]) -> list[tuple[object, ...]]:
    columns = "generation, revision, session_id, content_hash"
    return _query(settings, columns, topics.SESSIONS.name, apart)


def _anomalies_table(settings: Settings, apart: Collection[bytes]) -> list[tuple[object, ...]]:
    return _query(settings, "alert_id, state", topics.ANOMALIES.name, apart)


def _query(settings: Settings, columns: str, table: str, apart: Collection[bytes]) -> list[tuple[object, ...]]:
    client = connect(
        settings.clickhouse_url,
        settings.clickhouse_user,
        clickhouse_password(settings),
    )
    try:
        query = f"SELECT station_id, {columns} FROM {settings.clickhouse_database}.{table} FINAL"  # noqa: S608 - our own names
        return [tuple(row) for station, *row in client.query(query).result_rows if station.encode() not in apart]
    finally:
        client.close()
