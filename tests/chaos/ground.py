"""What a run stands on: broker or brokers, ClickHouse, and the links and disks that its faults need."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from pipeline.cli.options import settings
from pipeline.cli.up import prepare
from pipeline.embedded.clickhouse import EmbeddedClickHouse
from pipeline.embedded.kafka import HOST, EmbeddedKafka, free_port
from pipeline.embedded.quorum import BROKERS, EmbeddedQuorum
from pipeline.settings import Settings
from tests.chaos.disks import Disk, mounted
from tests.chaos.link import Link, Links

QUORUM, LINKS, BROKER_DISK, CLICKHOUSE_DISK = "quorum", "links", "broker disk", "ClickHouse disk"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ground:
    """`settings`: as everybody but a worker with links finds the rest."""

    settings: Settings
    brokers: Sequence[EmbeddedKafka]
    clickhouse: EmbeddedClickHouse
    weather: Links | None
    links: Mapping[str, list[Link]]
    """By slot of a worker: one link to each broker; empty: it has none."""
    disks: Mapping[str, Disk]

    def bootstrap(self, slot: str) -> str:
        """What the worker of `slot` is told."""
        links = self.links.get(slot)
        return ",".join(f"{HOST}:{link.port}" for link in links) if links else self.settings.kafka


@contextmanager
def ground(folder: Path, needs: frozenset[str], slots: Sequence[str], seed: int) -> Iterator[Ground]:
    """With topics and tables; afterwards nothing of it runs. Raises PermissionError where a disk cannot be mounted."""
    with ExitStack() as stack:
        count = BROKERS if QUORUM in needs else 1
        folders = [folder / f"kafka-{number}" for number in range(count)]
        disks = {}
        for need, where in ((BROKER_DISK, folders[0]), (CLICKHOUSE_DISK, folder / "clickhouse")):
            if need in needs:
                disks[need] = stack.enter_context(mounted(where))
        weather = stack.enter_context(Links(seed)) if LINKS in needs else None
        links = {slot: [weather.open() for _ in range(count)] for slot in slots} if weather is not None else {}
        listeners = [_listeners(links, number) for number in range(count)]
        if count > 1:
            brokers = stack.enter_context(EmbeddedQuorum(folders, listeners)).brokers
        else:
            brokers = [stack.enter_context(EmbeddedKafka(folders[0], 0, links=listeners[0]))]
        clickhouse = stack.enter_context(EmbeddedClickHouse(folder / "clickhouse", 0))
        found = settings(
            kafka=",".join(each.bootstrap for each in brokers),
            clickhouse_url=clickhouse.url,
            clickhouse_user="default",
            clickhouse_password_file=clickhouse.password_file,
        )
        prepare(found, count)
        yield Ground(
            settings=found, brokers=brokers, clickhouse=clickhouse, weather=weather, links=links, disks=disks
        )  # fmt: skip


def _listeners(links: Mapping[str, list[Link]], broker: int) -> dict[str, tuple[int, int]]:
    """A listener for each worker: only so the addresses that a broker tells its clients lead through their links."""
    listeners = {}
    for number, each in enumerate(links.values()):
        each[broker].target = free_port()
        listeners[f"LINK{number}"] = each[broker].target, each[broker].port
    return listeners
