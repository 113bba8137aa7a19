"""The table of anomaly rules against whoever raises, publishes and documents them."""

from __future__ import annotations

import ast
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.agents.assembly import Assembly
from pipeline.agents.records import ANOMALIES
from pipeline.domain.publishing.rules import PUBLISHING, RULES, table
from pipeline.domain.station import Station
from pipeline.edge.faults import parse_faults
from pipeline.edge.simulator import FleetConfig, simulate
from pipeline.runtime.offline import Offline
from pipeline.wire.meter_events import Decoder
from tests.receipts import KEYRING, rating
from tests.schemas.declarations import schema_of

ROOT = Path(__file__).parents[3]
RAISING = frozenset({"alert", "of_station", "Silence"})
"""What makes an alert of the rule that it is handed."""


def raised_in(source: str) -> Iterator[str]:
    """Codes that a module hands to something that raises."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") in RAISING:
            yield from (each.value for each in node.args if isinstance(each, ast.Constant) and type(each.value) is str)


def sources(place: str) -> list[str]:
    path = ROOT / "pipeline" / place
    return [each.read_text("utf-8") for each in (path.rglob("*.py") if path.is_dir() else [path])]


def test_whatever_raises_an_alert_is_in_the_table_with_its_module() -> None:
    domain = ROOT / "pipeline" / "domain"
    found = {
        (code, path.relative_to(ROOT / "pipeline").as_posix())
        for path in domain.rglob("*.py")
        for code in raised_in(path.read_text("utf-8"))
    }
    assert len(found) > 5
    assert found <= {(code, module) for code, rule in RULES.items() for module in rule.raised}


@pytest.mark.parametrize("code", RULES)
def test_the_modules_of_a_rule_know_it(code: str) -> None:
    rule = RULES[code]
    for module in rule.raised:
        known = any(f'"{code}"' in source for source in sources(module))
        assert known or (module == PUBLISHING and rule.holds is not None), module


def test_a_rule_that_is_raised_nowhere_is_noticed() -> None:
    assert list(raised_in('alert(step, "NEW_RULE", connector, None, at)')) == ["NEW_RULE"]
    assert not any('"NEW_RULE"' in source for source in sources("domain/session"))


def test_the_document_is_the_generated_one() -> None:
    document = (ROOT / "ops" / "anomalies.md").read_text("utf-8")
    assert table() in document, "print rules.table() and put it into ops/anomalies.md"


def test_the_schema_lists_all_rules_and_takes_others() -> None:
    rule = schema_of("anomalies")["properties"]["rule"]
    assert rule["examples"] == list(RULES)
    assert "enum" not in rule, "an open list: a consumer must not break at a new rule"


def test_alerts_of_a_fleet_are_cleared_as_the_table_says() -> None:
    plan = FleetConfig(seed=3, stations=4, sites=1, days=2, faults=parse_faults("all"))
    stage: Offline[Station] = Offline(Assembly(rating(), Decoder(KEYRING)))
    alerts = [
        json.loads(output.value or b"")
        for _, key, value in simulate(plan)
        for output in stage.feed(key, value)
        if output.topic == ANOMALIES
    ]
    states: dict[str, set[str]] = {}
    for each in alerts:
        states.setdefault(each["rule"], set()).add(each["state"])
        assert each["severity"] == RULES[each["rule"]].severity
    cleared = {rule for rule, seen in states.items() if "cleared" in seen}
    assert cleared == {rule for rule in states if RULES[rule].cleared != "never"}
    assert len(cleared) >= 2
