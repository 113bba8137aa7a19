"""Several brokers of embedded/kafka.py as one cluster: each record on all of them, acknowledged by all but one.

What a fleet runs, on one machine: leaders move, and a broker may be killed while the others go on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

from pipeline.embedded.kafka import HOST, EmbeddedKafka, Member, free_port, new_cluster_id

BROKERS = 3
HEAP_MB = 256
REPLICATED: Mapping[str, str | int] = {
    "default.replication.factor": BROKERS,
    "min.insync.replicas": BROKERS - 1,
    "offsets.topic.replication.factor": BROKERS,
    "transaction.state.log.replication.factor": BROKERS,
    "transaction.state.log.min.isr": BROKERS - 1,
    "share.coordinator.state.topic.replication.factor": BROKERS,
    "share.coordinator.state.topic.min.isr": BROKERS - 1,
    "controlled.shutdown.enable": "true",
    "leader.imbalance.check.interval.seconds": 10,
    "num.replica.fetchers": 1,
}


class EmbeddedQuorum:
    """BROKERS brokers, each under a folder of its own in `folders`, or under `data`.

    `links`: for each broker its further listeners, as of EmbeddedKafka. Raises Unavailable as that does.
    """

    def __init__(
        self, folders: Sequence[Path], links: Sequence[Mapping[str, tuple[int, int]]] = ({},) * BROKERS
    ) -> None:
        cluster_id, controllers = new_cluster_id(), [f"{HOST}:{free_port()}" for _ in folders]
        self.brokers = [
            EmbeddedKafka(
                folder,
                0,
                heap_mb=HEAP_MB,
                member=Member(node_id=node, controllers=controllers, cluster_id=cluster_id, config=REPLICATED),
                links=links[node - 1],
            )
            for node, folder in enumerate(folders, 1)
        ]

    @property
    def bootstrap(self) -> str:
        return ",".join(broker.bootstrap for broker in self.brokers)

    def __enter__(self) -> Self:
        with ExitStack() as undo:
            for broker in self.brokers:
                undo.callback(broker.kill)
                broker.launch()
            for broker in self.brokers:
                broker.await_ready()
            undo.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for broker in self.brokers:  # at once: the last ones could not hand over their partitions to anybody
            broker.kill()
