"""Tests lie in the folders of their source, so that whoever changes a module finds them."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
OF_THE_WHOLE = {"chaos", "hostile", "integration", "schemas"}
"""Folders of tests of more than one package."""


def test_every_folder_of_tests_is_a_folder_of_the_source() -> None:
    folders = {file.parent.relative_to(ROOT / "tests") for file in (ROOT / "tests").rglob("test_*.py")}
    of_packages = {folder for folder in folders if folder.parts and folder.parts[0] not in OF_THE_WHOLE}
    assert len(of_packages) > 10
    assert [folder for folder in sorted(of_packages) if not (ROOT / "pipeline" / folder).is_dir()] == []


def test_the_domain_has_tests_beside_the_module_that_they_name() -> None:
    """A test of a module that lies in a folder of the domain lies in that folder, too."""
    deeper = {module.stem for module in (ROOT / "pipeline" / "domain").glob("*/*.py")}
    names = {file.stem.removeprefix("test_") for file in (ROOT / "tests" / "domain").glob("test_*.py")}
    assert sorted(names & deeper) == []


MODULES = sorted((ROOT / "pipeline").rglob("*.py"))


@pytest.mark.parametrize("module", MODULES, ids=lambda file: file.relative_to(ROOT).as_posix())
def test_a_module_has_300_lines_or_says_why_not_and_a_function_60(module: Path) -> None:
    text = module.read_text("utf-8")
    tree = ast.parse(text)
    if text.count("\n") > 300:
        assert "longer than 300 lines because" in " ".join((ast.get_docstring(tree) or "").split())
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    assert [node.name for node in functions if (node.end_lineno or 0) - node.lineno >= 60] == []
