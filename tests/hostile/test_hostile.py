"""Short runs of `python -m tests.hostile`, seeded; and that they can fail."""

from __future__ import annotations

from random import Random

import pytest

from pipeline.agents.assembly import Assembly
from pipeline.domain.station import Station
from pipeline.runtime.partition.net import Net
from tests.hostile.injection import Scene, inject, scene
from tests.hostile.run import attack, mixed

pytestmark = [pytest.mark.internal_errors, pytest.mark.verify]

LINES = 6


@pytest.mark.parametrize("seed", [1, 2])
def test_hostile_records_cost_nobody_else_anything(seed: int) -> None:
    found = attack(seed, 1_500)
    assert (found.faults, found.errors) == ([], {})
    assert found.outputs > 1_000
    assert sum(found.refused.values()) > 300


def test_the_same_seed_is_the_same_attack() -> None:
    assert mixed(5, 200) == mixed(5, 200)
    assert mixed(5, 200) != mixed(6, 200)


def test_an_exception_that_gets_through_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    def interpret(self: Assembly, state: Station, *_: object) -> None:
        if state.station_id.startswith("HOSTILE"):
            raise ArithmeticError

    def not_caught(self: Net[Station], entry: object, message: object, error: Exception, produce: object) -> None:
        raise error

    monkeypatch.setattr(Assembly, "_frame", interpret)
    monkeypatch.setattr(Net, "record_raised", not_caught)
    monkeypatch.setattr(Net, "first_raised", not_caught)
    (fault,) = attack(1, 500).faults
    assert "ArithmeticError at pipeline/agents/assembly.py" in fault


@pytest.fixture(scope="module", params=[1, 2])
def played(request: pytest.FixtureRequest) -> Scene:
    """A station that sends frames, and one that sends events."""
    found = scene(request.param)
    assert len(found.lines) > 1_000
    return found


def test_an_exception_at_any_line_costs_its_station_only(played: Scene) -> None:
    lines = Random(f"few/{played.seed}").sample(list(played.lines), LINES)  # noqa: S311 - a test, not a secret
    outcomes = [faults for _, faults in inject(played, lines)]
    assert [fault for faults in outcomes for fault in faults or ()] == []
    assert outcomes.count(None) < LINES / 2
