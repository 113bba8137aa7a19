"""`chargeline demo` prints to the last Wh and cent what `assemble` makes of the same events, and what README shows.

It runs with its defaults, as README says; nothing of it is left running.
"""

from __future__ import annotations

import json
import re
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple
from uuid import uuid4

import clickhouse_connect
import pytest

from pipeline.cli.report_tables import TABLES
from pipeline.embedded.clickhouse import EmbeddedClickHouse
from tests.endpoint import owner_url
from tests.integration.stack import COMMAND, REPOSITORY, chargeline, environment, json_lines

README = (REPOSITORY / "README.md").read_text("utf-8")
QUESTION = REPOSITORY / "ops" / "examples" / "demo.sql"
PROC = Path("/proc")


class Demo(NamedTuple):
    """One run: its report, what it said, its data folder, and its processes while it ran and afterwards."""

    report: dict[str, Any]
    said: str
    folder: Path
    while_running: int
    afterwards: list[str]


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Demo:
    folder, mark = tmp_path_factory.mktemp("demo"), uuid4().hex
    command = ["demo", "--data", str(folder), "--json"]
    out, said = folder.with_suffix(".out"), folder.with_suffix(".err")  # a pipe that nobody reads would fill
    with out.open("w") as stdout, said.open("w") as stderr:
        process = subprocess.Popen(  # noqa: S603 - our own command
            [*COMMAND, *command],
            env=environment({}) | {"DEMO_OF_A_TEST": mark}, cwd=REPOSITORY,
            stdin=subprocess.DEVNULL, stdout=stdout, stderr=stderr,
        )  # fmt: skip
        most = 0
        deadline = time.monotonic() + 400
        while process.poll() is None and time.monotonic() < deadline:
            most = max(most, len(processes(mark, folder)))
            time.sleep(0.5)
        if process.poll() is None:
            process.terminate()
            process.wait(60)
    assert process.returncode == 0, said.read_text("utf-8")
    return Demo(json.loads(out.read_text("utf-8")), said.read_text("utf-8"), folder, most, processes(mark, folder))


@pytest.fixture(scope="module")
def offline(demo: Demo, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """The sessions of the same simulated events, sites and tariffs, without a broker."""
    events = tmp_path_factory.mktemp("offline") / "events.ndjson"
    simulated = chargeline("simulate", "--out", events)
    assert simulated.returncode == 0, simulated.stderr
    sites, tariffs = demo.folder / "sites.json", demo.folder / "tariffs.json"
    keys = {"keys_file": str(demo.folder / "keys.json")}
    done = chargeline("assemble", events, "--format", "events", "--sites", sites, "--tariffs", tariffs, settings=keys)
    assert done.returncode == 0, done.stderr
    return [row for row in json_lines(done.stdout) if row["status"] != "void"]


def processes(mark: str, folder: Path) -> list[str]:
    """Command lines of the processes that inherited the mark or work in the folder."""
    if not PROC.is_dir():
        pytest.skip("no /proc on this machine: processes cannot be counted")
    return list(_processes(mark.encode(), str(folder).encode()))


def _processes(mark: bytes, folder: bytes) -> Iterator[str]:
    for process in PROC.glob("[0-9]*"):
        try:
            environment, command = (process / "environ").read_bytes(), (process / "cmdline").read_bytes()
        except OSError:  # it has just ended, or it is not ours
            continue
        if command and (mark in environment or folder in command):
            yield command.replace(b"\0", b" ").decode(errors="replace")


def test_sessions_energy_and_revenue_are_those_of_assemble(demo: Demo, offline: list[dict[str, Any]]) -> None:
    assert len(offline) > 10
    totals = demo.report["totals"]
    assert totals["sessions"] == len(offline)
    assert totals["energy_wh"] == sum(row["energy_wh"] or 0 for row in offline) > 100_000
    assert totals["estimated_wh"] == sum(row["estimated_wh"] for row in offline)
    states = Counter(row["bill_state"] for row in offline)
    assert totals["held"] == states["HELD"]
    assert totals["open"] == sum(row["status"] == "open" for row in offline)
    final = [row for row in offline if row["bill_state"] == "FINAL"]
    (revenue,) = totals["revenue"]
    assert revenue["bills"] == len(final) > 10
    assert {row["currency"] for row in final} == {revenue["currency"]}
    for in_report, in_row in {"excl_vat": "total_excl_vat", "incl_vat": "total_incl_vat"}.items():
        assert Decimal(revenue[in_report]) == sum(Decimal(row[in_row]) for row in final) > 0
    for name in ("payable_excl_vat", "payable_incl_vat"):
        assert Decimal(revenue[name]) == sum(Decimal(row[name]) for row in final)


def test_windows_and_demand_add_up_to_the_totals(demo: Demo) -> None:
    report = demo.report
    assert sum(row["energy_wh"] for row in report["station_demand"]) == report["totals"]["energy_wh"]
    for name in ("excl_vat", "incl_vat"):
        by_window = sum(Decimal(row[name]) for row in report["revenue_by_window"])  # lines of rounding among them
        assert by_window == Decimal(report["totals"]["revenue"][0][f"payable_{name}"])


def test_each_row_in_clickhouse_is_the_session_of_assemble(demo: Demo, offline: list[dict[str, Any]]) -> None:
    with EmbeddedClickHouse(demo.folder / "clickhouse", port=0) as server:
        client = clickhouse_connect.get_client(dsn=f"{owner_url(server)}/charging")
        found = client.query("SELECT session_id, revision, content_hash FROM sessions_current").result_rows
        client.close()
    assert sorted(map(tuple, found)) == sorted(
        (row["session_id"], row["revision"], row["content_hash"]) for row in offline
    )


def test_readme_shows_the_figures_of_the_demo(demo: Demo) -> None:
    shown = README.partition("What `make demo` prints (shortened):")[2].split("```")[1].strip().splitlines()
    (simulated,) = [line for line in shown if "acknowledged by Kafka" in line]
    assert simulated.rpartition(" in ")[0] in demo.said  # how long it took differs
    totals = TABLES["totals"][1]([demo.report["totals"]])
    windows = TABLES["revenue_by_window"][1](demo.report["revenue_by_window"])
    printed = [tuple(totals[0]), *(tuple(row.values()) for row in (*totals, *windows))]
    rows = [tuple(cell.strip() for cell in line.strip("│").split("│")) for line in shown if line.startswith("│")]
    assert len(rows) > 4
    assert [row for row in rows if row not in printed] == []


def test_readme_shows_the_answer_of_its_question(demo: Demo) -> None:
    shown = re.search(r"<!-- test: demo.sql -->.*?^and prints$.*?^```\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
    assert shown is not None
    with EmbeddedClickHouse(demo.folder / "clickhouse", port=0) as server:
        client = clickhouse_connect.get_client(dsn=owner_url(server))
        answer = client.raw_query(QUESTION.read_text("utf-8"))
        client.close()
    assert answer.decode() == shown[1]


def test_nothing_is_left_running(demo: Demo) -> None:
    assert demo.while_running >= 5, "the demo, Kafka, ClickHouse and two workers"
    assert demo.afterwards == []


def test_progress_and_hints_are_on_stderr(demo: Demo) -> None:
    assert "records acknowledged by Kafka" in demo.said
    assert "To look around yourself" in demo.said
    assert "Traceback" not in demo.said
