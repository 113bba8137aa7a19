"""What `make install` puts onto a machine is decided here and nowhere else: exact versions, hashes, no address."""

from __future__ import annotations

import re
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
RUNTIME, DEV = ROOT / "ops" / "container" / "requirements.txt", ROOT / "constraints.txt"
ADDRESS = re.compile(r"https?://|--(?:extra-)?index-url|--find-links|--trusted-host| @ |^-e ", re.MULTILINE)


def faults(text: str) -> list[str]:
    """Why a requirements file does not fix what is installed; empty when it does."""
    logical = re.sub(r"\\\n\s*", " ", text).splitlines()
    lines = [line for line in logical if line.strip() and not line.lstrip().startswith("#")]
    found = [
        f"not pinned with hashes: {line[:60]}" for line in lines if not re.match(r"\S+==\S+ .*--hash=sha256:", line)
    ]
    return found + [f"an address: {match}" for match in ADDRESS.findall(text)]


def pins(file: Path) -> dict[str, list[str]]:
    """Versions by package; several where they depend on the Python version."""
    found: dict[str, list[str]] = {}
    for name, version in re.findall(r"^([A-Za-z0-9._-]+)==([^\s;\\]+)", file.read_text(), re.MULTILINE):
        found.setdefault(canonicalize_name(name), []).append(version)
    return found


@pytest.mark.parametrize("file", [RUNTIME, DEV], ids=lambda file: file.name)
def test_every_requirement_is_pinned_with_hashes_and_no_address_is_named(file: Path) -> None:
    assert pins(file)
    assert faults(file.read_text()) == []


@pytest.mark.parametrize(
    "bad",
    [
        "click==8.3.3\n",
        "click>=8 --hash=sha256:00\n",
        "--index-url https://example.org/simple\nclick==8.3.3 \\\n    --hash=sha256:00\n",
        "--find-links wheels\nclick==8.3.3 \\\n    --hash=sha256:00\n",
    ],
)
def test_the_check_sees_what_is_not_pinned(bad: str) -> None:
    assert faults(bad)


@pytest.mark.parametrize(
    ("file", "declared"),
    [
        (RUNTIME, PROJECT["project"]["dependencies"] + PROJECT["dependency-groups"]["build"]),
        (DEV, PROJECT["project"]["dependencies"] + [each for g in PROJECT["dependency-groups"].values() for each in g]),
    ],
    ids=["runtime", "dev"],
)
def test_every_declared_dependency_is_pinned_within_its_range(file: Path, declared: list[str]) -> None:
    pinned = pins(file)
    for requirement in map(Requirement, declared):
        versions = pinned.get(canonicalize_name(requirement.name), [])
        assert versions, f"{requirement.name} is not in {file.name}; run `make lock`"
        assert all(requirement.specifier.contains(version) for version in versions)


def test_the_build_backend_is_pinned_because_nothing_is_built_in_isolation() -> None:
    assert PROJECT["build-system"]["requires"] == PROJECT["dependency-groups"]["build"]


def test_tests_run_what_production_runs() -> None:
    runtime, dev = pins(RUNTIME), pins(DEV)
    assert {name: dev.get(name) for name in runtime} == runtime


def test_the_hooks_before_a_commit_are_those_of_make_lint_and_fetch_nothing() -> None:
    repositories = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text("utf-8"))["repos"]
    assert [each["repo"] for each in repositories] == ["local"]
    recipe = (ROOT / "Makefile").read_text("utf-8").partition("\nlint: install\n")[2].partition("\n\n")[0]
    wanted = [line.strip().replace("$(BIN)", ".venv/bin") for line in recipe.splitlines()]
    assert [hook["entry"] for hook in repositories[0]["hooks"]] == wanted


def test_a_second_install_installs_nothing() -> None:
    if not (ROOT / ".venv" / ".installed").exists():
        pytest.skip("not installed by `make install`")
    command = ["make", "--no-print-directory", "install"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)  # noqa: S603 - our own command
    assert (done.returncode, done.stdout.strip()) == (0, ".venv is up to date")


def test_a_python_that_is_too_old_is_refused_in_one_line(tmp_path: Path) -> None:
    old = tmp_path / "python3"
    old.write_text("#!/bin/sh\nexit 1\n")
    old.chmod(0o755)
    command = ["make", "--no-print-directory", "install", f"PYTHON={old}", f"VENV={tmp_path / 'venv'}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)  # noqa: S603 - our own command
    assert done.returncode == 2
    assert done.stderr.splitlines()[0].startswith("Chargeline needs Python 3.11 or newer")
    assert not (tmp_path / "venv").exists()
