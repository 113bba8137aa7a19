"""What code, tests and pages cite exists: files, sections and rules of ops/spec, field problems, decisions, codes.

A page is cited by its path from the root, or by its name alone where that is the only one; `CASES` shows the forms.
"""

from __future__ import annotations

import json
import re
import subprocess
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
SPEC = ROOT / "ops" / "spec"
PAGE = re.compile(r"(?<![\w./-])((?:[\w-]+/)*[\w-]+\.md)\b")
FILE = re.compile(r"(?<![\w./-])((?:pipeline|tests|ops|schemas)/[\w/.-]+\.(?:py|yaml|yml|sql|sh|json))\b")
SECTION = re.compile(r"((?:[\w-]+/)*[\w-]+\.md)[`)]?,?\s+(?:sections? )?(\d+(?:\.\d+)?(?: to \d+)?)\b")
RULE = re.compile(r"(?<![\w/.-])([DI]\d{1,2})(?![\w-])")
PROBLEM = re.compile(r"\bproblems? (\d+[a-z]?(?:(?:, | and | to )\d+[a-z]?)*)")
DECISION = re.compile(r"\b(?:ops/)?decisions/(\d{4})")
CODE = re.compile(r"\b[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+\b")
FORM = ("Question", "Decision", "Why", "Instead of", "Consequences", "Shown by")
TTL = re.compile(r"^TTL .* INTERVAL (\d+) MONTH", re.MULTILINE)
HERE = "tests/test_citations.py"


def texts() -> dict[str, str]:
    """What is under version control and can cite something; CHANGELOG tells of the past."""
    command = [
        "git",
        "ls-files",
        "--cached",
        "--others",
        "--exclude-standard",
        "*.py",
        "*.md",
        "*.yaml",
        "*.sql",
        "*.toml",
    ]
    names = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()  # noqa: S603 - git
    return {name: (ROOT / name).read_text("utf-8") for name in names if name not in (HERE, "CHANGELOG.md")}


TEXTS = texts()
PAGES = {name for name in TEXTS if name.endswith(".md")} | {"CHANGELOG.md"}


def page(cited: str) -> list[str]:
    """The pages that a path or a name can mean."""
    if cited in PAGES:
        return [cited]
    return [] if "/" in cited else [name for name in PAGES if Path(name).name == cited]


@cache
def headings(name: str) -> set[str]:
    return set(re.findall(r"^#+ (\d+(?:\.\d+)?)\.? ", (ROOT / name).read_text("utf-8"), re.MULTILINE))


@cache
def rules() -> Sequence[str]:
    pricing = (SPEC / "pricing.md").read_text("utf-8")
    return re.findall(r"^(?:\| |- )([DI]\d+)(?: \| | )", pricing, re.MULTILINE)


@cache
def problems() -> set[str]:
    table = (ROOT / "ops" / "field-problems.md").read_text("utf-8").partition("\n## ")[0]
    rows = re.findall(r"^\| (\d+[a-z]?(?:, \d+)*) \|", table, re.MULTILINE)
    return {number for row in rows for number in row.split(", ")}


def numbers(cited: str) -> Iterator[str]:
    """`19 to 21` and `3 and 4`, one by one."""
    for part in re.split(r", | and ", cited):
        first, _, last = part.partition(" to ")
        yield from map(str, range(int(first), int(last) + 1)) if last else [first]


def dangling(text: str) -> list[str]:
    """What `text` cites and is not there."""
    wrong = [cited for cited in PAGE.findall(text) if len(page(cited)) != 1]
    wrong += [cited for cited in FILE.findall(text) if not (ROOT / cited).is_file()]
    wrong += [
        f"{cited} section {number}"
        for cited, several in SECTION.findall(text)
        for number in numbers(several)
        if len(page(cited)) == 1 and headings(page(cited)[0]) and number not in headings(page(cited)[0])
    ]
    wrong += [rule for rule in RULE.findall(text) if rule not in rules()]
    wrong += [f"problem {each}" for cited in PROBLEM.findall(text) for each in numbers(cited) if each not in problems()]
    decisions = {path.name[:4] for path in (ROOT / "ops" / "decisions").glob("[0-9]*.md")}
    return wrong + [f"decision {number}" for number in DECISION.findall(text) if number not in decisions]


CASES = {
    "ops/spec/princing.md": "ops/spec/princing.md",
    "as in tests/domain/test_prices.py": "tests/domain/test_prices.py",
    "see pricing.md 5.9": "pricing.md section 5.9",
    "(ops/spec/architecture.md, section 77)": "ops/spec/architecture.md section 77",
    "ops/spec/sessions.md, sections 5 to 8": "ops/spec/sessions.md section 8",
    "`ops/spec/sessions.md`, section 12": "ops/spec/sessions.md section 12",
    "by the carried remainder (D99)": "D99",
    "problems 40 to 42": "problem 42",
    "one id (problem 6b)": "problem 6b",
    "ops/decisions/0999": "decision 0999",
}


@pytest.mark.parametrize("text", CASES)
def test_each_kind_of_citation_is_seen_when_it_dangles(text: str) -> None:
    assert dangling(text) == [CASES[text]]


@pytest.mark.parametrize("name", TEXTS)
def test_nothing_that_is_cited_is_missing(name: str) -> None:
    assert dangling(TEXTS[name]) == []


def test_each_rule_of_pricing_is_there_once() -> None:
    expected = [f"D{number}" for number in range(1, 27)] + [f"I{number}" for number in range(1, 10)]
    assert Counter(rules()) == Counter(expected)


@pytest.mark.parametrize("path", sorted(SPEC.glob("*.md")), ids=lambda path: path.name)
def test_every_code_of_the_specification_is_in_the_code(path: Path) -> None:
    """A code of which the code is put together from parts is found in a test."""
    found = "\n".join(text for name, text in TEXTS.items() if name.endswith((".py", ".sql", ".toml")))
    assert {code for code in CODE.findall(path.read_text("utf-8")) if not re.search(rf"\b{code}\b", found)} == set()


def test_the_specification_has_each_topic_with_its_identifiers_and_retention() -> None:
    architecture = (SPEC / "architecture.md").read_text("utf-8").partition("\n## 2.")[2].partition("\n## 3.")[0]
    listed = re.findall(r"^\| `([\w-]+)` \| .* \| (\w+) \| ([\w ,]+) \|$", architecture, re.MULTILINE)
    topics = [yaml.safe_load(path.read_text("utf-8")) for path in (ROOT / "schemas" / "topics").glob("*.yaml")]
    assert sorted(name for name, _, _ in listed) == sorted(topic["name"] for topic in topics)
    said = {name: (holds, kept) for name, holds, kept in listed}
    for topic in topics:
        name, days = topic["name"], int(topic["config"].get("retention.ms", 0)) // 86_400_000
        assert (said[name][0] == "yes") == topic["identifiers"], name
        cleanup = ["compacted"] * ("compact" in topic["config"]["cleanup.policy"])
        assert said[name][1].split(", ") == cleanup + [f"{days} day{'s' * (days > 1)}"] * bool(days), name


def test_the_privacy_page_says_how_long_topics_and_tables_are_kept() -> None:
    privacy = (SPEC / "privacy.md").read_text("utf-8").partition("\n## 2.")[2].partition("\n## 3.")[0]
    kept = {
        names: re.findall(r"\d+", kept)
        for names, kept in re.findall(r"^\| (.+?) \| .* \| (.+?) \|$", privacy, re.MULTILINE)
    }
    files = {
        path.stem: yaml.safe_load(path.read_text("utf-8")) for path in (ROOT / "schemas" / "topics").glob("*.yaml")
    }
    for names, days in kept.items():
        held = [files[name]["config"].get("retention.ms") for name in re.findall(r"`([\w-]+)`", names) if name in files]
        expected = [str(int(milliseconds) // 86_400_000) for milliseconds in held if milliseconds is not None]
        assert days == expected or not expected, names
    assert {"sessions", "receipts", "dead-letters"} <= {
        name for names in kept for name in re.findall(r"`([\w-]+)`", names)
    }
    months = {
        month
        for path in (ROOT / "schemas" / "clickhouse").glob("*.sql")
        for month in TTL.findall(path.read_text("utf-8"))
    }
    assert months == set(kept["ClickHouse `charging`"])


def test_the_specification_has_each_restriction_of_tariffs() -> None:
    schema = json.loads((ROOT / "schemas" / "messages" / "tariffs.v1.schema.json").read_text("utf-8"))
    section = (SPEC / "pricing.md").read_text("utf-8").partition("\n### 2.2 ")[2].partition("\n### ")[0]
    listed = [
        name for row in re.findall(r"^\| (`[^|]+) \|", section, re.MULTILINE) for name in re.findall(r"`(\w+)`", row)
    ]
    assert sorted(listed) == sorted(schema["$defs"]["restrictions"]["properties"])


def test_decisions_have_one_form_and_an_index() -> None:
    folder = ROOT / "ops" / "decisions"
    index = re.findall(
        r"^\| \[\d{4}\]\((.+)\) \| (.+) \| (.+) \|$", (folder / "README.md").read_text("utf-8"), re.MULTILINE
    )
    found = []
    for path in sorted(folder.glob("[0-9]*.md")):
        text = path.read_text("utf-8")
        head = re.match(rf"# {path.name[:4]} (.+)\n\n\*\*Status:\*\* (.+)\.\n\n## Question\n", text)
        assert head is not None, path.name
        found.append((path.name, head[1], head[2]))
        parts = re.findall(r"^## (.+)$", text, re.MULTILINE)
        assert parts == [part for part in FORM if part in parts], path.name
        assert "Decision" in parts, path.name
    assert index == found


def test_the_changelog_has_versions_newest_first_with_known_parts() -> None:
    changelog = (ROOT / "CHANGELOG.md").read_text("utf-8")
    versions = re.findall(r"^## (\S+)(?: \((\d{4}-\d{2}-\d{2})\))?$", changelog, re.MULTILINE)
    assert versions[0] == ("Unreleased", "")
    dates = [date for _, date in versions[1:]]
    assert dates == sorted(dates, reverse=True)
    assert all(dates)
    parts = set(re.findall(r"^### (.+)$", changelog, re.MULTILINE))
    known = {"Figures that change", "Security", "Added", "Changed", "Fixed"}
    assert {part for part in parts if not part.startswith("Upgrade from ")} <= known


def test_the_glossary_stays_short() -> None:
    words = re.findall(r"^\| (?!word )([\w, ]+) \|", (SPEC / "glossary.md").read_text("utf-8"), re.MULTILINE)
    assert len(words) <= 40
    assert words == sorted(words)
