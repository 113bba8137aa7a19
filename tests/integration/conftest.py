"""A whole pipeline for each file that asks for one."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.integration.stack import Stack, started


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A broker, ClickHouse and a worker of each stage."""
    with started(tmp_path_factory.mktemp("stack")) as stack:
        yield stack
