"""Short runs with the faults of tests/chaos/faults.py that say most; `make chaos FAULTS=all` has all of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.chaos.run import chaos
from tests.chaos.scale import SMOKE


@pytest.mark.parametrize("faults", [("brokers",), ("partition", "lossy"), ("upgrade",)], ids=",".join)
def test_nothing_is_lost_doubled_or_different_under_each_fault(faults: tuple[str, ...], tmp_path: Path) -> None:
    figures = chaos(SMOKE, seed=11, folder=tmp_path, faults=faults)
    assert figures["failures"] == []
    assert (figures["lost"], figures["doubled"], figures["different"]) == (0, 0, 0)
    assert len(figures["strikes"]) == len(faults)
    assert figures["sessions"] > 10
