"""README names the files of five frequent changes: those of an example of each that is there, no more and no fewer."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[1]
ROW = re.compile(r"^\| (.+) \(as (`[^|]+`)\) \| (\d+)(?:, [^:`]+)?: (.+) \|$", re.MULTILINE)
CODE = re.compile(r"`([^`\n]+)`")
PATH = re.compile(r"`([^`\n]*/[^`\n]*|[\w-]+\.yml)`")


class Change(NamedTuple):
    words: list[str]
    """What names the example, and nothing else."""
    number: int
    listed: list[str]


def changes() -> dict[str, Change]:
    found = ROW.findall((ROOT / "README.md").read_text("utf-8"))
    return {name: Change(CODE.findall(words), int(count), PATH.findall(files)) for name, words, count, files in found}


CHANGES = changes()


def files(path: str) -> set[str]:
    """What a path of README stands for: a file, all of a folder, or those of a pattern."""
    pattern = re.sub(r"<[^>]*>", "*", path) + ("**/*" if path.endswith("/") else "")
    return {str(each.relative_to(ROOT)) for each in ROOT.glob(pattern) if each.is_file()}


def naming(words: list[str], *folders: str) -> set[str]:
    """Files that hold one of the words, or have it in their name."""
    options = [argument for word in words for argument in ("-e", word)]
    command = ["git", "grep", "--files-with-matches", "--fixed-strings", "--word-regexp", *options, "--", *folders]
    found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False).stdout.split()  # noqa: S603 - git
    named = [path for folder in folders for path in (ROOT / folder).rglob("*.py")]
    lower = {word.lower() for word in words}
    return {*found, *(str(path.relative_to(ROOT)) for path in named if path.stem in lower)}


def test_the_five_changes_are_there() -> None:
    assert len(CHANGES) == 5


@pytest.mark.parametrize("name", CHANGES)
def test_the_number_of_files_is_that_of_the_list(name: str) -> None:
    assert len(CHANGES[name].listed) == CHANGES[name].number
    assert [path for path in CHANGES[name].listed if not files(path)] == []


@pytest.mark.parametrize("name", CHANGES)
def test_whatever_names_the_example_is_listed(name: str) -> None:
    listed = {file for path in CHANGES[name].listed for file in files(path)}
    found = naming(CHANGES[name].words, "pipeline", "schemas")
    assert found
    assert found - listed == set()


@pytest.mark.parametrize("name", CHANGES)
def test_whatever_of_the_package_is_listed_names_the_example(name: str) -> None:
    found = naming(CHANGES[name].words, "pipeline")
    assert [path for path in CHANGES[name].listed if path.startswith("pipeline/") and path not in found] == []
