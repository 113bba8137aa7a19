"""The composition root: Settings -> clients, stages, agents. Nothing happens at import.

Which stages a process runs is the caller's choice; each has a Faust app, a consumer and a group of its own, so one that
waits stops no other.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import faust
from confluent_kafka import Producer

from pipeline import topics
from pipeline.agents import assemble, occupy, store, tick
from pipeline.agents.assembly import Assembly
from pipeline.agents.occupancy import Occupancy
from pipeline.agents.reference import TOPICS as REFERENCE_TOPICS
from pipeline.agents.reference import Reference, TopicReference
from pipeline.domain.pseudonyms import Keyring
from pipeline.domain.rating import Rating
from pipeline.domain.sites.availability import SiteState
from pipeline.domain.station import Station
from pipeline.kafka_config import client_config
from pipeline.metrics import Meters
from pipeline.runtime.kafka.config import SinkConfig, StageConfig
from pipeline.runtime.kafka.reference import ReferenceReader
from pipeline.runtime.process.phases import Phases
from pipeline.runtime.process.transport import faust_app
from pipeline.runtime.process.worker import ProbeAddress, Unit, run_worker
from pipeline.runtime.stage.durable import DurableStage
from pipeline.runtime.stage.sink import Sink
from pipeline.settings import Settings, clickhouse_password
from pipeline.storage.writer import ClickHouseWriter
from pipeline.topics import Topic
from pipeline.wire.control import Control
from pipeline.wire.meter_events import Decoder

log = logging.getLogger(__name__)

UNSIGNED = (
    "the keyring has no key of purpose control, so whoever can write to meter-events moves time and waives bills; when "
    "all workers are of this version, add it with `chargeline keys complete FILE NEW`"
)
ASSEMBLED = (topics.SESSION_UPDATES, topics.SESSIONS, topics.RECEIPTS, topics.ANOMALIES, topics.CONNECTOR_STATUS)
OCCUPIED = (topics.PRICE_SIGNALS, topics.ANOMALIES)
"""What the stages write, apart from their states and what every stage writes."""


class Secrets(NamedTuple):
    """Read only by a stage that needs it: the store never holds a key."""

    rating: Callable[[], Rating]
    keyring: Callable[[], Keyring]


async def run(settings: Settings, stages: Sequence[str], secrets: Secrets) -> None:
    """Runs `stages` (names in STAGES) until SIGTERM. Raises what ended one of them."""
    meters, phases = Meters(), Phases(settings.phase_file)
    units = [STAGES[name](settings, secrets, meters, phases) for name in stages]
    probes = ProbeAddress(settings.web_host, settings.web_port) if settings.web_port else None
    await run_worker(units, meters, stall_limit_s=settings.stall_limit_s, probes=probes)


def _assemble(settings: Settings, secrets: Secrets, meters: Meters, phases: Phases) -> Unit:
    config, rating = assemble_config(settings), secrets.rating()
    reader = ReferenceReader(config.client, REFERENCE_TOPICS, config.group)
    reference = TopicReference(rating.catalog, reader, meters, config.name)
    stage: DurableStage[Station] = DurableStage(
        config, Assembly(rating, Decoder(secrets.keyring()), reference), meters, phases
    )
    reader.start(stage.waits)
    app = faust_app(config.name)
    assemble.attach(app, stage)
    _tick(settings, secrets.keyring(), app, stage, reference)
    return Unit(app, stage)


def _occupy(settings: Settings, secrets: Secrets, meters: Meters, phases: Phases) -> Unit:
    config = _config(settings, "occupy", topics.CONNECTOR_STATUS, topics.SITE_STATE, OCCUPIED)
    stage: DurableStage[SiteState] = DurableStage(config, Occupancy(secrets.keyring()), meters, phases)
    app = faust_app(config.name)
    occupy.attach(app, stage)
    _tick(settings, secrets.keyring(), app, stage)
    return Unit(app, stage)


def assemble_config(settings: Settings) -> StageConfig:
    config = _config(settings, "assemble", topics.METER_EVENTS, topics.STATION_STATE, ASSEMBLED)
    return replace(config, outputs=sorted(topics.BY_SOURCE), reads=REFERENCE_TOPICS)


def _config(settings: Settings, name: str, source: Topic, changelog: Topic, writes: Sequence[Topic]) -> StageConfig:
    return StageConfig(
        name=name,
        topics=[source.name],
        changelog=changelog.name,
        writes=[topic.name for topic in (*writes, topics.DEAD_LETTERS, topics.REJECTIONS, topics.QUARANTINE)]
        + [source.name] * bool(settings.tick_ms),
        group=f"{settings.group}-{name}",
        slot=settings.slot,
        client=client_config(settings),
        session_timeout_ms=settings.session_timeout_ms,
        transaction_timeout_ms=settings.transaction_timeout_ms,
        checkpoint_s=settings.checkpoint_ms / 1000,
        state_write_s=settings.state_write_s,
        max_keys=settings.max_stations,
        dead_letter_run=settings.dead_letter_run,
        dead_letter_percent=settings.dead_letter_percent,
        max_state_bytes=settings.station_state_bytes,
        key_errors=settings.station_errors,
        release_keys=settings.release_stations,
        reference_wait_s=settings.reference_wait_s,
    )


def _tick(
    settings: Settings, keyring: Keyring, app: faust.App, stage: DurableStage[Any], reference: Reference | None = None
) -> None:
    if keyring.control_key is None:
        log.warning(UNSIGNED)
    if settings.tick_ms:
        ticks = Producer(dict(stage.config.client) | {"message.timeout.ms": tick.TICK_LASTS_MS})
        topic = stage.config.source
        control = Control(keyring.control_key, topic)
        if keyring.control_key is not None:
            stage.before_joining = partial(tick.sign_in, stage.config.client, topic, control)
        tick.attach(app, ticks, topic, stage.owned, settings.tick_ms / 1000, control, stage.waits, reference)


def _store(settings: Settings, _: Secrets, meters: Meters, phases: Phases) -> Unit:
    writer = ClickHouseWriter(
        settings.clickhouse_url,
        settings.clickhouse_user,
        clickhouse_password(settings),
        settings.clickhouse_database,
    )
    config = SinkConfig(
        name="store",
        topics=store.TOPICS,
        group=f"{settings.group}-store",
        client=client_config(settings),
        session_timeout_ms=settings.session_timeout_ms,
        batch_rows=settings.sink_batch_rows,
        batch_s=settings.sink_batch_ms / 1000,
    )
    sink = Sink(config, store.rows_into(writer), meters, phases)
    app = faust_app(config.name)
    store.attach(app, sink)
    return Unit(app, sink)


STAGES: Mapping[str, Callable[[Settings, Secrets, Meters, Phases], Unit]] = {
    "assemble": _assemble,
    "occupy": _occupy,
    "store": _store,
}
