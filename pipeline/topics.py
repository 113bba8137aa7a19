"""Every Kafka topic of the pipeline. What is not in this list does not exist.

Partitions, retention, owners and readers are in schemas/topics/<name>.yaml; tests/schemas compares the two.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Topic:
    """`key` names the field that the record key holds (UTF-8). Identifiers: may a driver's token be inside?"""

    name: str
    key: str
    holds_identifiers: bool
    by_source: bool = False
    """Records go to the partition of the number that they were made from, not to that of their key: what a transaction
    of a dead worker left open there holds up nobody else's records."""


METER_EVENTS = Topic(name="meter-events", key="station_id", holds_identifiers=True)
STATION_STATE = Topic(name="station-state", key="station_id, or station_id and session_id", holds_identifiers=False)
SESSION_UPDATES = Topic(name="session-updates", key="session_id", holds_identifiers=False, by_source=True)
SESSIONS = Topic(name="sessions", key="session_id", holds_identifiers=False, by_source=True)
RECEIPTS = Topic(name="receipts", key="session_id, revision, BILL or CREDIT", holds_identifiers=False, by_source=True)
ANOMALIES = Topic(name="anomalies", key="station_id", holds_identifiers=False, by_source=True)
CONNECTOR_STATUS = Topic(name="connector-status", key="site_id", holds_identifiers=False)
SITE_STATE = Topic(name="site-state", key="site_id", holds_identifiers=False)
SITES = Topic(name="sites", key="site_id and version", holds_identifiers=False)
TARIFFS = Topic(name="tariffs", key="id and last_updated", holds_identifiers=False)
PRICE_SIGNALS = Topic(name="price-signals", key="series, start of the slot and revision", holds_identifiers=False)
REJECTIONS = Topic(name="rejections", key="none", holds_identifiers=False, by_source=True)
DEAD_LETTERS = Topic(name="dead-letters", key="key of the source record", holds_identifiers=True)
QUARANTINE = Topic(name="quarantine", key="station_id", holds_identifiers=True, by_source=True)

TOPICS: Mapping[str, Topic] = {
    topic.name: topic
    for topic in (
        METER_EVENTS,
        STATION_STATE,
        SESSION_UPDATES,
        SESSIONS,
        RECEIPTS,
        ANOMALIES,
        CONNECTOR_STATUS,
        SITE_STATE,
        SITES,
        TARIFFS,
        PRICE_SIGNALS,
        REJECTIONS,
        DEAD_LETTERS,
        QUARANTINE,
    )
}

BY_SOURCE = frozenset(topic.name for topic in TOPICS.values() if topic.by_source)

LARGEST_RECORD = 5_000_000
"""Bytes of the largest value in `meter-events`; its max.message.bytes leaves room for what Kafka adds."""
LARGEST: Mapping[str, int] = dict.fromkeys(TOPICS, 1_000_000) | dict.fromkeys(
    (each.name for each in (METER_EVENTS, STATION_STATE, SESSIONS, RECEIPTS, DEAD_LETTERS, QUARANTINE)), LARGEST_RECORD
)
"""Bytes of the largest value of each topic, with room below its max.message.bytes."""
