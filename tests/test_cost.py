"""`make cost` compares what it says: two trees, over the same log, whatever becomes of them."""

from __future__ import annotations

import json
import subprocess
import tempfile
from pathlib import Path

import pytest

from tests.cost.__main__ import REPOSITORY, line, main
from tests.cost.compare import Refused, Run, cost, run_pair, unpack
from tests.cost.logs import EVENTS, FRAMES, write_logs

pytestmark = pytest.mark.skipif(not (REPOSITORY / ".git").exists(), reason="not a git checkout: no other revision")


def test_a_tiny_comparison_reports_figures_and_leaves_nothing_behind(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    assert main(["HEAD", "--pairs", "1", "--stations", "4", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [each["log"] for each in found["logs"]] == [EVENTS, FRAMES]
    for each in found["logs"]:
        assert each["events"] > 200
        assert 1 < each["this_us"] < 1_000
        assert each["difference_us"] == pytest.approx(each["this_us"] - each["base_us"])
        assert each["outputs"][0] > 100
        assert each["state_bytes"][0] > 100
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_revision_is_refused_in_one_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["no-such-branch", "--pairs", "1"]) == 2
    assert capsys.readouterr().err == (
        "cost: 'no-such-branch' is no revision of this repository; name a commit, a tag or a branch\n"
    )


def test_make_asks_what_to_compare_with() -> None:
    done = subprocess.run(["make", "cost"], cwd=REPOSITORY, capture_output=True, text=True, check=False)  # noqa: S607 - make by PATH
    assert done.returncode == 2
    assert "make cost BASE=" in done.stderr


def test_each_process_runs_the_tree_it_is_given(tmp_path: Path) -> None:
    """One with a slower decoder is found to be slower; one that does not start is named."""
    unpack(REPOSITORY, "HEAD", tmp_path / "base")
    unpack(REPOSITORY, "HEAD", tmp_path / "slow")
    assembly = tmp_path / "slow/pipeline/agents/assembly.py"
    text = assembly.read_text("utf-8")
    slowed = text.replace("event = self._decode(value)", "event = [self._decode(value) for _ in range(20)][0]")
    assert slowed != text
    assembly.write_text(slowed, "utf-8")
    write_logs(tmp_path, 4)
    before, after = run_pair(tmp_path / "base", tmp_path / "slow", tmp_path, EVENTS)
    assert (before.events, before.outputs, before.state) == (after.events, after.outputs, after.state)
    assert after.us > 1.5 * before.us
    assembly.write_text("broken", "utf-8")
    with pytest.raises(Refused, match="NameError: name 'broken'"):
        run_pair(tmp_path / "base", tmp_path / "slow", tmp_path, EVENTS)


def test_the_figures_are_medians_over_pairs() -> None:
    def run(us: int, outputs: int = 7) -> Run:
        return Run(events=1_000, cpu_ns=us * 1_000_000, outputs=outputs, state=9)

    pairs = [
        (run(10), run(11, 8)),
        (run(20), run(18, 8)),
        (run(10), run(12, 8)),
        (run(30), run(33, 8)),
        (run(9), run(99)),
    ]
    found = cost(EVENTS, pairs)
    assert (found.base_us, found.this_us, found.difference_us) == (10, 18, 2)
    assert (found.quartiles_us, found.range_us) == ((1, 3), (-2, 90))
    assert found.ratio == 1.1
    assert line(found).startswith("events  10.00 -> 18.00: +2.000 (+1.000 to +3.000; -2.000 to +90.000), x 1.1000")
    assert line(found).endswith("; outputs 7 -> 8")


def test_the_logs_are_the_same_bytes_each_time(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        write_logs(tmp_path / name, 4)
    for name in (EVENTS, FRAMES, "sites.json", "tariffs.json"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
