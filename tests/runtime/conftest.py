"""Arenas on the broker of the run; whatever a test leaves running there is killed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.runtime.workers import Arena

NewArena = Callable[..., Arena]


@pytest.fixture
def new_arena(kafka: str, tmp_path: Path) -> Iterator[NewArena]:
    """Makes an arena; keyword arguments go into its StageConfig."""
    made: list[Arena] = []

    def make(**stage: Any) -> Arena:
        made.append(Arena(kafka, tmp_path, **stage))
        return made[-1]

    yield make
    for process in (process for arena in made for process in arena.processes.values()):
        process.kill()
        process.wait(10)


@pytest.fixture
def arena(new_arena: NewArena) -> Arena:
    return new_arena()
