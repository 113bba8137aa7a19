"""Commands on the topic `quarantine`: which stations are set aside, and the record that releases one.

The release is an event of the source like any other, so that it has its place among the station's records.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from confluent_kafka import Message

from pipeline.edge.producer import BY_KEY, Report, sending
from pipeline.edge.reading import Properties, read_topic
from pipeline.errors import Unavailable
from pipeline.topics import CONNECTOR_STATUS, METER_EVENTS, QUARANTINE
from pipeline.wire.control import Control
from pipeline.wire.dead_letters import headers_of
from pipeline.wire.quarantine import RELEASE, SEPARATOR, SIGNATURE, Mark, decode_mark

SOURCES = (METER_EVENTS.name, CONNECTOR_STATUS.name)
"""The stages that can set stations or sites aside."""


@dataclass(slots=True)
class SetAside:
    """A station of `meter-events`, or a site of `connector-status`."""

    key: str
    source: str
    partition: int
    offset: int
    """Of the record at which it was set aside."""
    mark: Mark
    records: int = 0
    """How many records are kept, without ticks."""


def set_aside(config: Properties, on_progress: Callable[[int], None] = lambda records: None) -> list[SetAside]:
    """All of them, in order of time. Raises Unavailable, WrongUsage without the topic."""
    latest: dict[bytes, Message] = {}
    for message in read_topic(config, QUARANTINE.name, on_progress):
        latest[message.key() or b""] = message
    found: dict[tuple[bytes, bytes], SetAside] = {}
    kept: list[tuple[bytes, bytes]] = []
    for key, message in latest.items():
        value, headers = message.value(), _headers(message)
        if value is None:
            continue
        owner, separator, _ = key.partition(SEPARATOR)
        source = headers.get("topic", b"")
        if not separator:
            place, offset = message.partition() or 0, int(headers.get("offset", b"0"))
            found[source, owner] = SetAside(owner.decode(), source.decode(), place, offset, decode_mark(value))
        elif headers.get("kind") == b"record":
            kept.append((source, owner))
    for each in kept:
        if each in found:
            found[each].records += 1
    return sorted(found.values(), key=lambda each: (each.mark.at_ms, each.key))


def release(config: Properties, aside: SetAside, way: bytes, control: Control) -> None:
    """`way` as in wire.quarantine.WAYS; `control` is of its source. Raises Unavailable."""
    key = aside.key.encode()
    signature = control.sign_release(key, way, aside.mark.at_ms)
    report = Report()
    with sending(aside.source, config, report) as send:
        send(key, None, BY_KEY, {RELEASE: way} | ({SIGNATURE: signature} if signature else {}))
    if report.failed:
        raise Unavailable(f"topic {aside.source}: the release was refused: {report.first_error}")


def _headers(message: Message) -> Mapping[str, bytes]:
    return {name: value for name, value in headers_of(message.headers()) if value is not None}
