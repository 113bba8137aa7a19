"""README and the pages below it say what is so: snippets run, and what they name (commands, settings, paths) exists.

A snippet stands after `<!-- test: <name> -->` and is the file ops/examples/<name>, so that it can be run as it is.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import click
import pytest

from pipeline import cli
from pipeline.cli.explaining import explained
from pipeline.domain.metering import measured
from pipeline.edge.chargers.registry import QUIRKS
from pipeline.settings import PREFIX, Settings
from pipeline.topics import TOPICS
from tests.integration.stack import REPOSITORY, Stack, chargeline, started

PAGES = ("README.md", "ops/connecting.md", "ops/settings.md", "ops/interpretation.md", "ops/performance.md")
README, CONNECTING, SETTINGS, INTERPRETATION, _ = (REPOSITORY.joinpath(page).read_text("utf-8") for page in PAGES)
TEXT = "\n".join(REPOSITORY.joinpath(page).read_text("utf-8") for page in PAGES)
EXAMPLES = sorted((REPOSITORY / "ops" / "examples").iterdir())
FENCED = re.compile(r"^```\w*\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SNIPPET = re.compile(r"^<!-- test: (\S+) -->\n```\w*\n(.*?)^```$", re.MULTILINE | re.DOTALL)
CODE = re.compile(r"`([^`\n]+)`")
QUALITY_LINE = re.compile(r"codes|\bnote\(|_add\(|_leave_out\(way|closed_by")
QUALITY_CODE = re.compile(r'"([A-Z][A-Z_]{2,})"')
TIMEOUT_S = 60


def code_spans() -> list[str]:
    """What stands in backticks, and every line of the fenced blocks."""
    lines = [line for block in FENCED.findall(TEXT) for line in block.splitlines()]
    return CODE.findall(FENCED.sub("", TEXT)) + lines


def section(title: str) -> str:
    _, found, rest = README.partition(f"\n## {title}\n")
    assert found, f"README has no section {title}"
    return rest.partition("\n## ")[0]


# --- snippets


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A pipeline that knows a site of the simulated fleet, with its day inside."""
    folder = tmp_path_factory.mktemp("readme")
    fleet = ["--seed", "7", "--stations", "5"]
    made = chargeline("simulate", *fleet, "--documents", folder, "--out", folder / "events.ndjson")
    assert made.returncode == 0, made.stderr
    documents = {"sites_file": str(folder / "sites.json"), "tariffs_file": str(folder / "tariffs.json")}
    with started(folder, **documents) as stack:
        done = stack.chargeline("simulate", *fleet)
        assert done.returncode == 0, done.stderr
        stack.wait()
        yield stack


def test_each_snippet_is_a_file_that_runs_and_each_file_is_shown() -> None:
    shown = dict(SNIPPET.findall(TEXT))
    assert sorted(shown) == [example.name for example in EXAMPLES]
    for example in EXAMPLES:
        assert shown[example.name] == example.read_text("utf-8"), f"the page shows another {example.name}"


def test_the_producer_s_session_reaches_the_analyst(stack: Stack) -> None:
    done = run_example("produce.py", stack.settings.kafka)
    assert (done.returncode, done.stdout) == (0, "sent a session of 9.000 kWh\n"), done.stderr
    stack.wait()
    (row,) = stack.rows("SELECT energy_wh, status, bill_state FROM sessions_current WHERE station_id = 'DEPOT-01'")
    assert row == {"energy_wh": 9_000, "status": "completed", "bill_state": "HELD"}
    assert stack.records("dead-letters") == []


def test_a_producer_that_reaches_nobody_is_told_so() -> None:
    source = (REPOSITORY / "ops" / "examples" / "produce.py").read_text("utf-8")
    quick = source.replace('"enable.idempotence": True', '"enable.idempotence": True, "message.timeout.ms": 1000')
    done = subprocess.run([sys.executable, "-c", quick, "127.0.0.1:1"], capture_output=True, text=True, check=False)  # noqa: S603 - our own example
    assert done.returncode == 1
    assert "31 events not delivered" in done.stderr
    assert "sent" not in done.stdout


def test_the_analyst_s_questions_have_answers(stack: Stack) -> None:
    statements = (REPOSITORY / "ops" / "examples" / "analyse.sql").read_text("utf-8").split(";\n")
    answers = [stack.rows(statement) for statement in statements if statement.strip()]
    assert len(answers) == 4
    per_site, demand, wrong, held = answers
    simulated = [row for row in per_site if row["site_id"]]
    assert simulated
    assert all(row["kwh"] > 0 and row["revenue"] > 0 and row["currency"] == "EUR" for row in simulated)
    assert len(demand) == 10
    assert demand == sorted(demand, key=lambda row: -row["energy_kwh"])
    assert {row["rule"] for row in wrong} <= {row["rule"] for row in stack.rows("SELECT rule FROM anomalies")}
    assert all(row["held_reason"] for row in held)


def test_the_alert_consumer_prints_what_is_in_the_topic(stack: Stack) -> None:
    told = [json.loads(record.value() or b"") for record in stack.records("anomalies")]
    expected = sorted(alert_line(alert) for alert in told)
    assert len(expected) > 5
    command = [sys.executable, str(REPOSITORY / "ops" / "examples" / "alerts.py"), stack.settings.kafka]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)  # noqa: S603 - our own example
    assert process.stdout is not None
    try:
        assert sorted(process.stdout.readline().strip() for _ in expected) == expected
    finally:
        process.terminate()
        process.wait(20)
        process.stdout.close()


def alert_line(alert: dict[str, Any]) -> str:
    place = f"{alert['station_id']}/{alert['connector_id']}"
    return f"{alert['state']} {alert['severity']} {alert['rule']} {place} {alert['alert_id']}"


def run_example(name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(REPOSITORY / "ops" / "examples" / name), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)  # noqa: S603 - our own example


def test_the_page_shows_the_account_that_a_dispute_asks_for(tmp_path: Path) -> None:
    frames = [
        (start := "2025-06-16T19:40:00Z", [2, "1", "StartTransaction", {
            "connectorId": 1, "idTag": "04A1B2C3", "meterStart": 99_998_000, "timestamp": start}]),
        (start, [3, "1", {"idTagInfo": {"status": "Accepted"}, "transactionId": 7}]),
        (pause := "2025-06-16T20:25:00Z", [2, "2", "StatusNotification", {
            "connectorId": 1, "errorCode": "NoError", "status": "SuspendedEV", "timestamp": pause}]),
        (stop := "2025-06-16T20:40:00Z", [2, "3", "StopTransaction", {
            "transactionId": 7, "meterStop": 2_500, "timestamp": stop}]),
    ]  # fmt: skip
    log = tmp_path / "my-log.ndjson"
    log.write_text("".join(
        json.dumps({"station_id": "CP-1", "received_at": at, "frame": frame,
                    "direction": "cp->csms" if frame[0] == 2 else "csms->cp"}) + "\n"
        for at, frame in frames
    ))  # fmt: skip
    done = chargeline("assemble", log, "--explain")
    assert done.returncode == 0, done.stderr
    shown = re.search(r"^\$ \S+ assemble --explain .*\n((?:.*\n)+?)```", CONNECTING, re.MULTILINE)
    assert shown is not None
    (row,) = map(json.loads, done.stdout.splitlines())
    name = len(row["session_id"])  # by a key of this run
    assert [line[name * (not at) :] for at, line in enumerate(explained(row))] == [
        line[name * (not at) :] for at, line in enumerate(shown[1].splitlines())
    ]


# --- names


def test_every_command_exists() -> None:
    called = {
        call for span in code_spans() for call in re.findall(r"\bchargeline ([a-z-]+)(?: ([a-z]+)(?=\s|$))?", span)
    }
    assert {"demo", "assemble", "worker"} <= {name for name, _ in called}
    context = click.Context(cli.chargeline)
    for name, rest in called:
        command = cli.chargeline.get_command(context, name)
        assert command is not None, f"chargeline {name}"
        if isinstance(command, click.Group) and rest:
            assert rest in command.commands, f"chargeline {name} {rest}"


def test_every_option_of_a_command_exists() -> None:
    for span in code_spans():
        if (call := re.search(r"\bchargeline ([a-z-]+)\b(.*)", span)) is None:
            continue
        command = cli.chargeline.get_command(click.Context(cli.chargeline), call[1])
        assert command is not None, span
        commands = [command, *(command.commands.values() if isinstance(command, click.Group) else ())]
        known = {option for each in commands for parameter in each.params for option in parameter.opts}
        assert set(re.findall(r"(?<!\S)--[a-z-]+", call[2].partition("#")[0])) <= known | {"--help"}, span


def test_every_make_target_exists() -> None:
    makefile = (REPOSITORY / "Makefile").read_text("utf-8")
    named = {target for span in code_spans() for target in re.findall(r"\bmake ([a-z]+)\b", span)}
    assert {"demo", "test", "chaos"} <= named
    for target in named:
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), f"make {target}"


def test_the_table_of_settings_is_that_of_the_code() -> None:
    rows = dict(re.findall(rf"^\| `{PREFIX}(\w+)` \| *(.*?) *\|", SETTINGS, re.MULTILINE))
    known = {each.name.upper(): each.default for each in fields(Settings)}
    assert rows.keys() == known.keys()
    for name, default in known.items():
        assert rows[name].strip("`") == ("" if default is None else str(default)), name
    assert set(re.findall(rf"{PREFIX}(\w+)", TEXT)) <= known.keys()


def test_every_path_exists() -> None:
    tops = "|".join(sorted(each.name for each in REPOSITORY.iterdir() if each.is_dir() and each.name[0] != "."))
    tops = tops.replace("build|", "")  # there or not, with whatever was run
    named = {path for span in code_spans() for path in re.findall(rf"(?<![\w./-])(?:{tops})/[\w./<>*-]*", span)}
    named |= set(re.findall(r"\]\((?!https?:|#)([^)#]+)", TEXT))
    assert len(named) > 15
    for path in named:
        pattern = re.sub(r"<[^>]*>", "*", path.rstrip("/."))
        assert list(REPOSITORY.glob(pattern)), path


@pytest.mark.parametrize(
    ("package", "begins"), [("pipeline", "The folders:"), ("pipeline/domain", "Inside the domain:")]
)
def test_every_folder_of_the_package_is_named_and_no_other(package: str, begins: str) -> None:
    packages = {each.parent.name for each in (REPOSITORY / package).glob("*/__init__.py")}
    sentence = re.search(rf"^{begins}.*?(?:\n\n|\Z)", section("Where do I change..."), re.MULTILINE | re.DOTALL)
    assert sentence is not None
    assert set(re.findall(r"`(\w+)/`", sentence[0])) == packages


def test_the_number_of_quirks_is_that_of_the_registry() -> None:
    assert f"{len(QUIRKS)} quirks" in " ".join(README.split())


def test_every_topic_and_view_exists() -> None:
    views = set()
    for migration in (REPOSITORY / "schemas" / "clickhouse").glob("*.sql"):
        views |= set(re.findall(r"CREATE VIEW IF NOT EXISTS (\w+)", migration.read_text("utf-8")))
    analysts = re.search(r"^## Analysts\n\n.*?\n\n", CONNECTING, re.MULTILINE | re.DOTALL)
    assert analysts is not None
    named = set(CODE.findall(analysts[0]))
    assert {"sessions_current", "charging"} <= named
    assert {name for name in named if re.fullmatch(r"[a-z_]+", name)} <= views | {"charging"}
    assert {"meter-events", "anomalies"} <= set(CODE.findall(CONNECTING)) & TOPICS.keys()


def test_the_table_of_quality_codes_covers_the_code() -> None:
    table = INTERPRETATION.partition("## Quality codes")[2]
    listed = {code for row in re.findall(r"^\| (`.*?) \|", table, re.MULTILINE) for code in CODE.findall(row)}
    used = measured.INCOMPLETE | measured.ESTIMATED | frozenset(measured.HELD_BY)
    for folder in ("domain", "wire"):
        for module in (REPOSITORY / "pipeline" / folder).rglob("*.py"):
            if "pricing" in module.parts or "checking" in module.parts:
                continue  # bills have codes of their own
            for line in module.read_text("utf-8").splitlines():
                if QUALITY_LINE.search(line):
                    used |= set(QUALITY_CODE.findall(line))
    assert len(used) > 20
    assert used - measured.NOT_QUALITY - {"STOP"} == listed, "closed by its stop, a session has no problem"
