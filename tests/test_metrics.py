"""The list of metrics is the whole truth: what is listed is measured, what is measured is listed and documented."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pipeline import metrics
from pipeline.metrics import METRICS, Meters, Metric, table

ROOT = Path(__file__).parents[1]
SOURCES = [path for path in (ROOT / "pipeline").rglob("*.py") if path.name != "metrics.py"]


def names() -> dict[str, Metric]:
    return {name: value for name, value in vars(metrics).items() if isinstance(value, Metric)}


def test_every_metric_of_the_module_is_in_the_list() -> None:
    assert list(names().values()) == list(METRICS)
    assert len({metric.name for metric in METRICS}) == len(METRICS) > 10


@pytest.mark.parametrize("name", names())
def test_every_metric_is_used(name: str) -> None:
    used = re.compile(rf"\b(metrics\.{name}|{name}), (self|stage|\*)")
    assert any(used.search(path.read_text("utf-8")) for path in SOURCES), f"nothing measures {name}"


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)
def test_a_metric_says_what_it_means_and_what_to_do(metric: Metric) -> None:
    assert metric.meaning.endswith(".")
    assert metric.remedy.endswith(".")
    assert bool(metric.buckets) == (metric.kind == "histogram")
    assert metric.name.endswith("_total") == (metric.kind == "counter")


def test_the_text_for_prometheus_holds_what_was_measured() -> None:
    meters = Meters()
    meters.count(metrics.EVENTS, "assemble", amount=3)
    meters.set(metrics.LAG, "assemble", value=7)
    meters.observe(metrics.LATENCY, "assemble", value=0.4)
    text = meters.text().decode()
    assert 'chargeline_events_total{stage="assemble"} 3.0' in text
    assert 'chargeline_lag_records{stage="assemble"} 7.0' in text
    assert 'chargeline_latency_seconds_bucket{le="0.5",stage="assemble"} 1.0' in text
    assert 'chargeline_latency_seconds_bucket{le="0.3",stage="assemble"} 0.0' in text


def test_the_document_of_the_metrics_is_the_generated_one() -> None:
    document = (ROOT / "ops" / "metrics.md").read_text("utf-8")
    assert table() in document, "run: python -m pipeline.metrics, and put its table into ops/metrics.md"
