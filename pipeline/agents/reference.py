"""The catalog of a worker: filled from the topics `sites`, `tariffs` and `price-signals`, in order of offsets.

The publish commands check what they write. A record that is wrong all the same (another producer wrote it) is logged
and counted, stays in its topic, and prices nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Protocol

from pipeline import metrics, topics
from pipeline.domain.catalog import Catalog, ReferenceWatermark
from pipeline.errors import InvalidMessage
from pipeline.metrics import Meters
from pipeline.runtime.kafka.reference import Record
from pipeline.runtime.logic import NEVER
from pipeline.wire.price_signals import decode_signals
from pipeline.wire.sites import decode_sites
from pipeline.wire.tariffs import decode_tariffs

log = logging.getLogger(__name__)

TOPICS = (topics.SITES.name, topics.TARIFFS.name, topics.PRICE_SIGNALS.name)
"""In the order of the fields of domain.catalog.ReferenceWatermark."""


class Reference(Protocol):
    """How much of the reference topics is in the catalog."""

    reached: ReferenceWatermark

    def absorb(self) -> None:
        """Adds the records that have arrived to the catalog."""
        ...


class Source(Protocol):
    def drain(self) -> Sequence[Record]: ...


class Given:
    """Implements Reference without topics: all data is there from the start."""

    reached = ReferenceWatermark(NEVER, NEVER, NEVER)

    def absorb(self) -> None:
        """Nothing ever arrives."""


class TopicReference:
    """Implements Reference over a runtime.kafka.reference.ReferenceReader."""

    def __init__(self, catalog: Catalog, reader: Source, meters: Meters, stage: str) -> None:
        self.reached = ReferenceWatermark()
        self._catalog = catalog
        self._reader = reader
        self._meters = meters
        self._stage = stage

    def absorb(self) -> None:
        for record in self._reader.drain():
            if record.value is None:
                place = TOPICS.index(record.topic)
                grown = list(self.reached)
                grown[place] = max(grown[place], record.offset)
                self.reached = ReferenceWatermark(*grown)
                continue
            try:
                add(self._catalog, record)
            except InvalidMessage as error:
                self._meters.count(metrics.REFERENCE_REFUSED, self._stage, record.topic)
                log.error("%s offset %d is not used: %s", record.topic, record.offset, error)


def add(catalog: Catalog, record: Record) -> None:
    """Adds one record of a reference topic. Raises InvalidMessage."""
    source, value = f"{record.topic} offset {record.offset}", record.value or b""
    if record.topic == topics.SITES.name:
        for site in decode_sites(value, source):
            catalog.add_site(record.offset, site)
    elif record.topic == topics.TARIFFS.name:
        for tariff in decode_tariffs(value, source):
            catalog.add_tariff(record.offset, tariff)
    else:
        for slot in decode_signals(value, source):
            catalog.add_price_slot(record.offset, slot)
