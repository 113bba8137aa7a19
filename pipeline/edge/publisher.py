"""Reference data into its compacted topic: each version once, and never changed.

A published version prices sessions. The same key with other content is therefore refused before anything is sent:
with it, a replay would give other prices than the first run.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from pipeline.edge.producer import Report, produce, sending
from pipeline.edge.reading import Properties, read_topic, watermarks
from pipeline.edge.reading import reader as open_reader
from pipeline.errors import Unavailable, WrongUsage

FILLER = b"filler"
"""Key of records that only fill the topic; they have no value, so compaction removes them."""

Document = tuple[str, bytes]
"""Key (the version's identity), and the content in canonical form."""


class Published(NamedTuple):
    new: int
    known: int
    """Versions that the topic had with the same content."""


Agree = Callable[[Mapping[str, bytes], Mapping[str, bytes]], None]
"""Gets the content of the topic and the new versions; raises WrongUsage if they contradict each other."""


def always(_known: Mapping[str, bytes], _fresh: Mapping[str, bytes]) -> None:
    """Versions of documents never contradict each other."""


MOST_FILLED = 1_000_000


def fill(topic: str, end: int, reader: Properties, writer: Properties) -> int:
    """Writes records without content up to offset `end`, which clock ticks name; returns how many.

    Raises WrongUsage when `end` is not plausible, Unavailable.
    """
    consumer = open_reader(reader, topic)
    try:
        _, found = watermarks(consumer, topic, 0, reader)
    finally:
        consumer.close()
    lacking = end - found
    if lacking > MOST_FILLED:
        raise WrongUsage(
            f"{topic}: {lacking:,} records to {end}, more than {MOST_FILLED:,}: no tick of ours names that"
        )
    report = Report()
    with sending(topic, writer, report) as send:
        for _ in range(lacking):
            send(FILLER, None, 0)
    if report.failed:
        raise Unavailable(f"{topic}: {report.failed} records refused by the broker: {report.first_error}")
    return max(0, lacking)


def publish(
    topic: str, documents: Sequence[Document], reader: Properties, writer: Properties, agree: Agree = always
) -> Published:
    """Sends what the topic does not hold yet, in the given order, and waits for the broker's answers.

    `reader`, `writer`: properties of a client and of an idempotent producer (kafka_config.py).

    Raises WrongUsage (a version that exists with other content, or that `agree` refuses; then nothing was sent) or
    Unavailable.
    """
    found = read_topic(reader, topic)
    known = {(each.key() or b"").decode(errors="replace"): each.value() or b"" for each in found if each.value()}
    fresh: dict[str, bytes] = {}
    for key, value in documents:
        if known.get(key, value) != value or fresh.get(key, value) != value:
            raise WrongUsage(
                f"{topic}: {key} is published with other content; a version never changes: give it a new one"
            )
        if key not in known:
            fresh[key] = value
    agree(known, fresh)
    if fresh:
        report = produce([(0, key.encode(), value) for key, value in fresh.items()], topic, writer)
        if report.failed:
            raise Unavailable(f"{topic}: {report.failed} records refused by the broker: {report.first_error}")
    return Published(len(fresh), len(documents) - len(fresh))
