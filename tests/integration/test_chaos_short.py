"""The short chaos run: real broker, real ClickHouse, four worker processes, and everything that can go wrong once."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.chaos.run import chaos
from tests.chaos.scale import SHORT

pytestmark = pytest.mark.verify


def test_nothing_is_lost_doubled_or_different_whatever_is_killed(tmp_path: Path) -> None:
    figures = chaos(SHORT, seed=7, folder=tmp_path)
    assert figures["failures"] == []
    assert (figures["lost"], figures["doubled"], figures["different"]) == (0, 0, 0)
    assert figures["sessions"] > 100
