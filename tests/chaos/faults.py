"""The faults that have a switch each: what it does, how often in a run, and what it needs to stand on.

A strike ends what it began: when it returns, everything runs again, if not yet in peace.
"""

from __future__ import annotations

import logging
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import confluent_kafka as ck
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, ResourceType

from pipeline import topics
from pipeline.kafka_config import client_config
from pipeline.settings import Settings
from tests.chaos.ground import BROKER_DISK, CLICKHOUSE_DISK, LINKS, QUORUM
from tests.chaos.link import FAIR, Link, Weather
from tests.chaos.scale import Scale
from tests.chaos.workers import REPOSITORY

if TYPE_CHECKING:
    from tests.chaos.schedule import Schedule

log = logging.getLogger(__name__)

KILLS = "kills"
"""The schedule of schedule.py: workers, the broker and ClickHouse killed, paused, stopped."""
COPIED_LOG = "copied log"
LIVE_LOAD, POISON, CLOCKS, OLD_RELEASE, EAGER_COMPACTION = (
    "live load",
    "poison",
    "clocks",
    "old release",
    "eager compaction",
)
STRIKE_S = 10
"""One takes longer, with what is around it: the load must last as long as they do."""
FULL_LIMIT_S = 40.0
"""So long a broker may live on without space: it ends with its next write."""


@dataclass(frozen=True, slots=True)
class Fault:
    """`strike(scene)` returns what it did, in words; `times` in a run."""

    strike: Callable[[Schedule], str]
    times: int
    needs: frozenset[str] = frozenset()


def broker_dies(scene: Schedule) -> str:
    """One broker is killed, all leaders of it move; then it stops properly; then two are killed at nearly one time."""
    turn, brokers = scene.log.struck["brokers"] % 3, list(scene.ground.brokers)
    scene.random.shuffle(brokers)
    victims = brokers[: 2 if turn == 2 else 1]
    for broker in victims:
        if turn == 1:
            broker.stop()
        else:
            broker.kill()
        scene.rest(scene.random.random() * 0.5)
    scene.rest(3 + 4 * scene.random.random())  # longer than the controller waits for a silent broker
    for broker in victims:
        broker.launch()
    for broker in victims:
        broker.await_ready()
    scene.broker_was_back()
    scene.rest(6)
    return f"{len(victims)} of {len(brokers)} brokers {'stopped' if turn == 1 else 'killed'}"


def worker_is_cut_off(scene: Schedule) -> str:
    """From the brokers only, longer than its session; in the second turn longer than its transaction."""
    turn = scene.log.struck["partition"]
    victim = scene.random.choice([*scene.regular, scene.store])
    seconds = (9.0, 18.0)[turn % 2]
    cut = Weather(cut="silent" if scene.random.random() < 0.5 else "refused")
    _change(scene, scene.ground.links[victim.slot], cut, seconds)
    scene.rest(4)
    return f"{victim.slot} cut off ({cut.cut}) for {seconds:.0f} s"


def links_are_slow(scene: Schedule) -> str:
    weather = Weather(delay_s=0.04 + 0.06 * scene.random.random(), bytes_per_s=400_000)
    _change(scene, _all_links(scene), weather, 10)
    return f"{weather.delay_s * 1000:.0f} ms a chunk, {weather.bytes_per_s / 1000:.0f} kB/s"


def links_are_lossy(scene: Schedule) -> str:
    weather = Weather(loss=0.15, reset=0.004)
    links = _all_links(scene)
    before = sum(link.late for link in links), sum(link.resets for link in links)
    _change(scene, links, weather, 10)
    late, resets = sum(link.late for link in links) - before[0], sum(link.resets for link in links) - before[1]
    return f"{late} chunks sent again, {resets} resets"


def _all_links(scene: Schedule) -> list[Link]:
    return [link for links in scene.ground.links.values() for link in links]


def _change(scene: Schedule, links: Sequence[Link], weather: Weather, seconds: float) -> None:
    assert scene.ground.weather is not None
    scene.ground.weather.change(links, weather)
    scene.rest(seconds)
    scene.ground.weather.change(links, FAIR)


def broker_has_no_space(scene: Schedule) -> str:
    """It ends with the first write that fails; with space again, whoever looks after it starts it."""
    broker, disk = scene.ground.brokers[0], scene.ground.disks[BROKER_DISK]
    disk.fill()
    until = time.monotonic() + FULL_LIMIT_S
    while broker.pid is not None and time.monotonic() < until:
        scene.rest(0.1)
    ended = broker.pid is None
    scene.rest(3)
    disk.free()
    if not ended:
        broker.kill()  # it neither wrote nor ended: a broker in doubt is not believed
    broker.start()
    scene.broker_was_back()
    scene.rest(4)
    return f"{disk.used_kb() // 1024} MiB were all, the broker {'ended by itself' if ended else 'was killed'}"


def clickhouse_has_no_space(scene: Schedule) -> str:
    """It refuses every insert; the store repeats its batch until there is space."""
    disk, read_to = scene.ground.disks[CLICKHOUSE_DISK], scene.store.log.stat().st_size
    disk.fill()
    until = time.monotonic() + FULL_LIMIT_S
    while b"not enough space" not in scene.store.log.read_bytes()[read_to:] and time.monotonic() < until:
        scene.rest(0.2)
    refused = time.monotonic() < until
    scene.rest(6)
    behind = scene.outputs_behind()
    disk.free()
    return f"{behind} outputs waited, inserts {'were refused' if refused else 'were NOT refused'}"


def clocks_step(scene: Schedule) -> str:
    """Of some workers, forwards or backwards, a little and much; then right again."""
    ahead = scene.random.choice([-7200.0, -61.0, -4.0, 4.0, 61.0, 7200.0])
    victims = scene.random.sample(scene.regular, scene.random.randint(1, len(scene.regular)))
    for each in victims:
        each.clock.write_text(str(ahead), "ascii")
    scene.rest(5)
    for each in victims:
        each.clock.write_text("0", "ascii")
    return f"{ahead:+.0f} s at {len(victims)} workers"


def restore_while_compacting(scene: Schedule) -> str:
    """All restore at once, from a changelog that is compacted and loses its tombstones every few seconds."""
    for each in scene.regular:
        each.kill()
    for each in scene.regular:
        each.start()
    for each in scene.regular:
        each.await_start()
    scene.rest(6)
    return "all workers killed while the changelog is compacted every second"


def compact_eagerly(settings: Settings) -> None:
    """The changelog is cleaned all the time, and a tombstone goes at once: declared is one hour."""
    entries = {
        "segment.ms": "1500", "min.cleanable.dirty.ratio": "0.01", "max.compaction.lag.ms": "1500",
        "delete.retention.ms": "100", "segment.bytes": str(1024 * 1024),
    }  # fmt: skip
    configs = [ConfigEntry(n, v, incremental_operation=AlterConfigOpType.SET) for n, v in entries.items()]
    resource = ConfigResource(ResourceType.TOPIC, topics.STATION_STATE.name, incremental_configs=configs)
    admin = AdminClient(client_config(settings))
    for done in admin.incremental_alter_configs([resource]).values():
        done.result(10)


def fleet_is_upgraded(scene: Schedule) -> str:
    """One worker after another is stopped and started with this release; no record is read twice for it."""
    for worker in (*scene.regular, scene.store):
        scene.stop_gracefully(worker)
        worker.tree = REPOSITORY
        scene.rest(scene.random.random() * 2)
        worker.start()
        worker.await_start()
        scene.rest(5)
    return f"{len(scene.regular) + 1} workers replaced"


def retention_overtakes(scene: Schedule) -> str:
    """What a worker has not read yet is removed while it stands; it keeps its partitions."""
    assert scene.archive is not None
    for each in scene.regular:
        each.look()
    victim = max(scene.regular, key=lambda each: len(each.owned))
    scene.rest(1)
    victim.signal(signal.SIGSTOP)
    scene.rest(2.5)
    settings = scene.ground.settings
    reader, admin = ck.Consumer(client_config(settings) | {"group.id": "faults"}), AdminClient(client_config(settings))
    ends = {}
    for number in sorted(victim.owned):
        place = ck.TopicPartition(topics.METER_EVENTS.name, number)
        place.offset = ends[number] = reader.get_watermark_offsets(place, 10)[1]
        scene.archive.reach(number, place.offset)
        admin.delete_records([place])[place].result(10)
    reader.close()
    victim.signal(signal.SIGCONT)
    scene.rest(8)
    return f"partitions {sorted(ends)} emptied under {victim.slot}"


def workers_meet_poison(scene: Schedule) -> str:
    """From now on hostile records are in the load; a worker that is killed meets them again."""
    (scene.store.folder / POISON).touch()
    scene.rest(10)
    victim = scene.random.choice(scene.regular)
    phase = victim.kill()
    victim.start()
    scene.rest(10)
    return f"{victim.slot} killed in {phase or 'no step'} between hostile records"


FAULTS: Mapping[str, Fault] = {
    "brokers": Fault(broker_dies, 3, frozenset({QUORUM})),
    "partition": Fault(worker_is_cut_off, 2, frozenset({LINKS})),
    "slow": Fault(links_are_slow, 1, frozenset({LINKS})),
    "lossy": Fault(links_are_lossy, 1, frozenset({LINKS})),
    "broker-full": Fault(broker_has_no_space, 1, frozenset({BROKER_DISK})),
    "clickhouse-full": Fault(clickhouse_has_no_space, 1, frozenset({CLICKHOUSE_DISK})),
    "clock": Fault(clocks_step, 4, frozenset({CLOCKS, LIVE_LOAD})),
    "compaction": Fault(restore_while_compacting, 3, frozenset({EAGER_COMPACTION})),
    "retention": Fault(retention_overtakes, 2, frozenset({COPIED_LOG})),
    "poison": Fault(workers_meet_poison, 2, frozenset({POISON})),
    "upgrade": Fault(fleet_is_upgraded, 1, frozenset({OLD_RELEASE})),
}
ALL = (KILLS, *FAULTS)


def parse_faults(text: str) -> tuple[str, ...]:
    """Names from `a,b`; `all` is every one. Raises ValueError that names what is not known."""
    names = ALL if text == "all" else tuple(dict.fromkeys(text.split(",")))
    if unknown := [name for name in names if name not in ALL]:
        raise ValueError(f"unknown: {', '.join(unknown)}; there are {', '.join(ALL)}, and all of them as `all`")
    return names


def strikes(scale: Scale, names: Sequence[str]) -> int:
    """How many there are in a run; the schedule of KILLS has its own."""
    return sum(times(scale, name) for name in names if name in FAULTS) + (scale.kills if KILLS in names else 0)


def times(scale: Scale, name: str) -> int:
    return 1 if scale.name == "smoke" else FAULTS[name].times


def needs(names: Sequence[str]) -> frozenset[str]:
    return frozenset[str]().union(*(FAULTS[name].needs for name in names if name in FAULTS))
