"""Configuration of a stage and of a sink. app.py fills it from Settings; it never changes afterwards."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

Client = Mapping[str, str | int | float | bool]
"""librdkafka properties of every client: bootstrap servers and security."""


STEADY: Client = {"metadata.recovery.strategy": "none"}
"""For every client of the runtime: librdkafka 2.16 otherwise forgets its brokers while all are down, and afterwards
`send_offsets_to_transaction` never returns, whatever its time-out (measured; tests/runtime/process/test_worker.py)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupConfig:
    """Membership of a consumer group."""

    name: str
    """Name of the stage or sink: in logs, metric labels, the group and the transactional id."""
    topics: Sequence[str]
    group: str
    client: Client
    session_timeout_ms: int = 6000


@dataclass(frozen=True, slots=True, kw_only=True)
class StageConfig(GroupConfig):
    """`topics` holds the one source topic."""

    changelog: str
    """Compacted topic with as many partitions as the source."""
    outputs: Sequence[str] = ()
    """Output topics that need as many partitions as the source (topics.BY_SOURCE)."""
    writes: Sequence[str] = ()
    """All other topics that the stage writes."""
    reads: Sequence[str] = ()
    """Topics that the stage reads whole beside its source (kafka/reference.py)."""
    slot: str
    """Stable name of this worker among its peers: a restarted worker aborts its predecessor's transaction at once."""
    checkpoint_s: float = 0.3
    state_write_s: float = 10.0
    transaction_timeout_ms: int = 15_000
    max_keys: int = 500_000
    max_state_bytes: int = 900_000
    reference_wait_s: float = 60.0
    """How long a tick may name missing reference data before that is reported as a trouble."""
    dead_letter_run: int = 10_000
    dead_letter_percent: int = 50
    key_errors: int = 10
    release_keys: int = 25

    @property
    def source(self) -> str:
        return self.topics[0]

    @property
    def transactional_id(self) -> str:
        return f"{self.group}-{self.slot}"


@dataclass(frozen=True, slots=True, kw_only=True)
class SinkConfig(GroupConfig):
    batch_rows: int = 20_000
    batch_s: float = 1.0
    patience_s: float = 2.0
    """An insert that takes longer is a declared wait for the store: it may accept a connection and never answer."""
