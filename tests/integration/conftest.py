"""One whole pipeline for this folder; a test uses stations of its own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.integration.stack import Stack, started


@pytest.fixture(scope="package")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A broker, ClickHouse and a worker of each stage."""
    with started(tmp_path_factory.mktemp("stack")) as stack:
        yield stack
