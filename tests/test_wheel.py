"""The wheel needs no checkout: installed into a fresh environment it runs the demo in an empty folder."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

from pipeline.embedded import jars
from pipeline.settings import PREFIX

pytestmark = pytest.mark.verify

ROOT = Path(__file__).parents[1]
DEMO_S = 600


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A virtual environment that holds the wheel. Dependencies and jars are those of ours, which are pinned."""
    folder = tmp_path_factory.mktemp("wheel")
    pip: list[str | Path] = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    build: list[str | Path] = ["wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", folder, ROOT]
    subprocess.run([*pip, *build], check=True)  # noqa: S603 - our own command
    (wheel,) = folder.glob("*.whl")
    venv.create(folder / "venv", with_pip=False, symlinks=True)
    python = folder / "venv" / "bin" / "python"
    install: list[str | Path] = ["--python", python, "install", "--quiet", "--no-deps", "--no-index", wheel]
    subprocess.run([*pip, *install], check=True)  # noqa: S603 - our own command
    (packages,) = (folder / "venv").glob("lib/python*/site-packages")
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n", "utf-8")
    kept = folder / "venv" / jars.FOLDER.relative_to(sys.prefix)
    kept.parent.mkdir(parents=True)
    kept.symlink_to(jars.FOLDER)
    return folder / "venv"


def files(folder: Path) -> set[Path]:
    found = {path.relative_to(folder) for path in folder.rglob("*") if path.is_file()}
    return {path for path in found if "__pycache__" not in path.parts}


def run(environment: Path, folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    """A program of that environment, as a newcomer starts it: without a setting of ours, in `folder`."""
    names = {name: value for name, value in os.environ.items() if not name.startswith((PREFIX, "PYTHON"))}  # noqa: TID251 - a child's
    program, *arguments = command
    return subprocess.run(  # noqa: S603 - our own command
        [environment / "bin" / program, *arguments], cwd=folder, env=names, capture_output=True, text=True,
        timeout=DEMO_S, check=False,
    )  # fmt: skip


def test_the_package_is_the_one_of_the_wheel_and_is_typed(environment: Path, tmp_path: Path) -> None:
    found = run(environment, tmp_path, "python", "-c", "import pipeline; print(pipeline.__file__)")
    package = Path(found.stdout.strip()).parent
    assert package.is_relative_to(environment)
    assert (package / "py.typed").exists()
    assert files(package) == files(ROOT / "pipeline") | {Path("schemas") / path for path in files(ROOT / "schemas")}


def test_the_demo_runs_in_an_empty_folder(environment: Path, tmp_path: Path) -> None:
    done = run(environment, tmp_path, "chargeline", "demo")
    assert done.returncode == 0, done.stderr[-3000:]
    assert "Revenue by tariff window" in done.stdout
