"""The alerting rules name metrics that exist, with labels that these have."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from pipeline.metrics import METRICS, PREFIX, Metric

FILE = Path(__file__).parents[1] / "ops" / "alerts.yaml"
RULES = [rule for group in yaml.safe_load(FILE.read_text("utf-8"))["groups"] for rule in group["rules"]]
LABELS = {PREFIX + metric.name: set(metric.labels) for metric in METRICS}


def test_there_are_rules_and_each_has_a_name_of_its_own() -> None:
    assert len({rule["alert"] for rule in RULES}) == len(RULES) > 2


@pytest.mark.parametrize("metric", [each for each in METRICS if "Not zero" in each.remedy], ids=lambda m: str(m.name))
def test_what_must_stay_zero_has_a_rule(metric: Metric) -> None:
    assert any(re.search(rf"\b{PREFIX}{metric.name}\b", str(rule["expr"])) for rule in RULES)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: str(rule["alert"]))
def test_a_rule_measures_what_a_worker_exports(rule: dict[str, str]) -> None:
    (name,) = re.findall(rf"{PREFIX}\w+", rule["expr"])
    assert name in LABELS
    assert set(re.findall(r"(\w+)=~?\"", rule["expr"])) <= LABELS[name]
    assert set(re.findall(r"\$labels\.(\w+)", str(rule["annotations"]))) <= LABELS[name]
