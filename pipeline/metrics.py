"""Every metric of the pipeline. What is not in METRICS does not exist; a test checks that each one is used.

Labels never hold an identifier. `python -m pipeline.metrics` prints the list as the table of ops/metrics.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.metrics import MetricWrapperBase

PREFIX = "chargeline_"


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """`stage` is the name of a stage or sink, or `gateway`; `reason` a code of a dead letter, or of a refusal."""

    kind: Literal["counter", "gauge", "histogram"]
    name: str
    labels: Sequence[str] = ("stage",)
    meaning: str
    remedy: str
    buckets: Sequence[float] = ()


EVENTS = Metric(
    kind="counter",
    name="events_total",
    meaning="Records read and applied, or stored by a sink.",
    remedy="Flat while lag grows: see waiting and the log.",
)
BATCHES = Metric(
    kind="counter",
    name="batches_total",
    meaning="Partition batches applied, or inserts done by a sink.",
    remedy="Few events a batch at high lag: raise fetch sizes of the broker.",
)
LAG = Metric(
    kind="gauge",
    name="lag_records",
    meaning="Records in the owned partitions that are not applied yet.",
    remedy="Growing: add a worker; growing on one worker only: one station sends too much.",
)
PARTITIONS = Metric(
    kind="gauge",
    name="partitions",
    labels=("stage", "state"),
    meaning="Owned partitions: live, or restoring.",
    remedy="Restoring for minutes: see restore_seconds and waiting.",
)
KEYS = Metric(
    kind="gauge",
    name="keys",
    meaning="Keys (stations) held in memory.",
    remedy="Near CHARGELINE_MAX_STATIONS: add a worker, or look for a producer that invents keys.",
)
CHECKPOINTS = Metric(
    kind="histogram",
    name="checkpoint_seconds",
    meaning="Duration of a committed checkpoint, during which nothing is applied.",
    remedy="Above 0.2 s: the broker is slow to acknowledge; see its disks and replicas.",
    buckets=(0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10),
)
CHECKPOINT_AGE = Metric(
    kind="gauge",
    name="checkpoint_age_seconds",
    meaning="Age of the oldest record applied and not committed; 0 when everything is committed.",
    remedy="Above a few seconds: see waiting; the worker exits at CHARGELINE_STALL_LIMIT_S.",
)
TRANSACTIONS_LOST = Metric(
    kind="counter",
    name="transactions_lost_total",
    meaning="Checkpoints given up (fenced, timed out, group changed); the state was restored in the same process.",
    remedy="Some at each rebalance are normal; steadily rising: two workers have the same CHARGELINE_SLOT.",
)
RESTORES = Metric(
    kind="histogram",
    name="restore_seconds",
    meaning="Time from assignment until the restored partitions are read on.",
    remedy="Above 10 s: compaction of station-state lags, or a dead worker's transaction was open.",
    buckets=(0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 60, 300),
)
DEAD_LETTERS = Metric(
    kind="counter",
    name="dead_letters_total",
    labels=("stage", "reason"),
    meaning="Records, or parts of them, that could not be used.",
    remedy="One reason rising: a firmware or a schema changed; `chargeline dead-letters show`.",
)
INTERNAL_ERRORS = Metric(
    kind="counter",
    name="internal_errors_total",
    meaning="Exceptions that records, ticks or releases of a key met; the log has types and places.",
    remedy="Not zero: an error of ours. Report the log's traceback; runbook quarantine.md says what to do meanwhile.",
)
SET_ASIDE = Metric(
    kind="gauge",
    name="stations_quarantined",
    meaning="Keys (stations) that are set aside: their records are kept, their open sessions held.",
    remedy="Not zero: `chargeline stations quarantined` says which and why; runbook quarantine.md.",
)
REFERENCE_REFUSED = Metric(
    kind="counter",
    name="reference_refused_total",
    labels=("stage", "topic"),
    meaning="Records of the reference topics that are wrong and therefore price nothing; the log names the offset.",
    remedy="Not zero: publish with `chargeline sites|tariffs|prices publish`, which checks; bills may be held.",
)
RECORDS_LOST = Metric(
    kind="counter",
    name="records_lost_total",
    meaning="Records that the topic no longer had when they were to be read; the log names partition and offsets.",
    remedy="Not zero: runbook lost-records.md; raise the retention of the topic.",
)
RESTORES_INCOMPLETE = Metric(
    kind="counter",
    name="restores_incomplete_total",
    meaning="Restores that found needed records or the committed offset gone; the log says which.",
    remedy="Not zero: runbook lost-records.md; compare with `chargeline audit`.",
)
TROUBLES = Metric(
    kind="gauge",
    name="troubles",
    meaning="What this worker cannot do and only an operator can mend; /readyz is 503 and says it in a sentence each.",
    remedy="Not zero for a minute: read /readyz or the log (ERROR) and do what it says.",
)
WAITING = Metric(
    kind="gauge",
    name="waiting",
    labels=("stage", "dependency"),
    meaning="1 while the worker waits for a dependency (broker, open transaction, ClickHouse): it is down or slow.",
    remedy="For minutes: look at that dependency; nothing is lost meanwhile, lag grows.",
)
RETRIES = Metric(
    kind="counter",
    name="retries_total",
    labels=("stage", "dependency"),
    meaning="Attempts that a dependency did not answer.",
    remedy="Rising without waiting: the dependency is slow; look at its load.",
)
LATENCY = Metric(
    kind="histogram",
    name="latency_seconds",
    meaning="From the append of a record to its source topic until its outputs are committed; one value per batch.",
    remedy="p99 above 1 s without lag: see checkpoint_seconds.",
    buckets=(0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1, 1.5, 2, 3, 5, 10, 60),
)
GATEWAY_CONNECTIONS = Metric(
    kind="gauge",
    name="gateway_connections",
    meaning="Chargers connected to the gateway.",
    remedy="Falls at once: network or certificate; gateway_refused_total says whether they knock.",
)
GATEWAY_FRAMES = Metric(
    kind="counter",
    name="gateway_frames_total",
    labels=("stage", "outcome"),
    meaning="Frames of chargers: answered, refused (CALLERROR), recorded (no answer due), unacknowledged (no Kafka).",
    remedy="Unacknowledged rising: Kafka is away, chargers keep their messages; runbook gateway.md.",
)
GATEWAY_REFUSED = Metric(
    kind="counter",
    name="gateway_refused_total",
    labels=("stage", "reason"),
    meaning="Connections refused (path, authentication, failures, protocol, full), dropped because they did not finish "
    "their handshake while too many were open (handshake), or replaced by a newer one of their station.",
    remedy="Authentication rising: a wrong password or guessing; failures: one address guesses, or a proxy hides many "
    "chargers with wrong passwords; handshake: a flood; replaced: two chargers with one identity.",
)
GATEWAY_ACKNOWLEDGED = Metric(
    kind="histogram",
    name="gateway_acknowledge_seconds",
    meaning="From a frame's arrival until Kafka has it and our answer.",
    remedy="Above 1 s: the broker is slow to acknowledge, or this process is out of CPU: run another gateway.",
    buckets=(0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20),
)
EVENTS_ACCOUNTED = Metric(
    kind="gauge",
    name="events_accounted",
    labels=("stage", "outcome"),
    meaning=(
        "Events of the stations that this worker holds, since ever, as of their last state records: "
        "received = used + duplicate + quarantined + outside + pending."
    ),
    remedy="A share that jumps: quarantined, see dead_letters_total; duplicate or outside, ask the station's vendor.",
)
ENERGY_ACCOUNTED = Metric(
    kind="gauge",
    name="energy_accounted_wh",
    labels=("stage", "part"),
    meaning=(
        "Energy of the same stations: movement of the registers = attributed (sessions) + quarantined + unattributed; "
        "estimated is no part of it."
    ),
    remedy="Unattributed or quarantined growing faster than attributed: `held_bills` and `chargeline audit`.",
)
UNBALANCED = Metric(
    kind="gauge",
    name="unbalanced",
    labels=("stage", "ledger"),
    meaning="Stations whose events, and connectors whose energy, do not add up; always 0.",
    remedy="Not zero: something was lost or counted twice, or a bug; `chargeline audit` over the log names the place.",
)
METRICS: Sequence[Metric] = (
    EVENTS, BATCHES, LAG, PARTITIONS, KEYS, CHECKPOINTS, CHECKPOINT_AGE, TRANSACTIONS_LOST, RESTORES, DEAD_LETTERS,
    INTERNAL_ERRORS, SET_ASIDE, REFERENCE_REFUSED, RECORDS_LOST, RESTORES_INCOMPLETE, TROUBLES, WAITING, RETRIES,
    LATENCY, GATEWAY_CONNECTIONS, GATEWAY_FRAMES, GATEWAY_REFUSED, GATEWAY_ACKNOWLEDGED, EVENTS_ACCOUNTED,
    ENERGY_ACCOUNTED, UNBALANCED,
)  # fmt: skip


class Meters:
    """The instruments behind METRICS; one object per process. Called per batch or rarer, never per record."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._instruments = {metric.name: _instrument(metric, self._registry) for metric in METRICS}

    def count(self, metric: Metric, *labels: str, amount: float = 1) -> None:
        instrument = self._instruments[metric.name].labels(*labels)
        assert isinstance(instrument, Counter)  # noqa: S101 - a programming error
        instrument.inc(amount)

    def set(self, metric: Metric, *labels: str, value: float) -> None:
        instrument = self._instruments[metric.name].labels(*labels)
        assert isinstance(instrument, Gauge)  # noqa: S101 - a programming error
        instrument.set(value)

    def observe(self, metric: Metric, *labels: str, value: float) -> None:
        instrument = self._instruments[metric.name].labels(*labels)
        assert isinstance(instrument, Histogram)  # noqa: S101 - a programming error
        instrument.observe(value)

    def text(self) -> bytes:
        """Prometheus' exposition format."""
        return generate_latest(self._registry)


def _instrument(metric: Metric, registry: CollectorRegistry) -> MetricWrapperBase:
    name, labels = PREFIX + metric.name, tuple(metric.labels)
    match metric.kind:
        case "counter":
            return Counter(name, metric.meaning, labels, registry=registry)
        case "gauge":
            return Gauge(name, metric.meaning, labels, registry=registry)
        case "histogram":
            return Histogram(name, metric.meaning, labels, registry=registry, buckets=tuple(metric.buckets))


def table() -> str:
    """The list as Markdown."""
    rows = [f"| `{PREFIX}{m.name}` | {m.kind} | {', '.join(m.labels)} | {m.meaning} | {m.remedy} |" for m in METRICS]
    return "\n".join(["| metric | kind | labels | meaning | what to do |", "|---|---|---|---|---|", *rows])


if __name__ == "__main__":
    print(table())
