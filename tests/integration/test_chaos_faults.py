"""Short runs with the faults of tests/chaos/faults.py that say most; `make chaos FAULTS=all` has all of them."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.chaos.release import UPGRADED_FROM
from tests.chaos.run import chaos
from tests.chaos.scale import SMOKE
from tests.chaos.workers import REPOSITORY

pytestmark = pytest.mark.verify


@pytest.mark.parametrize("faults", [("brokers",), ("partition", "lossy"), ("upgrade",)], ids=",".join)
def test_nothing_is_lost_doubled_or_different_under_each_fault(faults: tuple[str, ...], tmp_path: Path) -> None:
    if "upgrade" in faults and not _has(UPGRADED_FROM):
        pytest.skip(f"this clone has no commit {UPGRADED_FROM}, the release to upgrade from: fetch its history")
    figures = chaos(SMOKE, seed=11, folder=tmp_path, faults=faults)
    assert figures["failures"] == []
    assert (figures["lost"], figures["doubled"], figures["different"]) == (0, 0, 0)
    assert len(figures["strikes"]) == len(faults)
    assert figures["sessions"] > 10


def _has(commit: str) -> bool:
    command = ["git", "-C", str(REPOSITORY), "cat-file", "-e", f"{commit}^{{commit}}"]
    return not subprocess.run(command, capture_output=True, check=False).returncode  # noqa: S603
