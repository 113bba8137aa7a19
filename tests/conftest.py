"""Fixtures that several folders share. One broker serves the whole run: a test makes topics and groups of its own."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest

from pipeline.agents.assembly import Assembly
from pipeline.agents.occupancy import Occupancy
from pipeline.embedded.clickhouse import EmbeddedClickHouse
from pipeline.embedded.kafka import EmbeddedKafka
from pipeline.runtime.logic import Output
from pipeline.runtime.offline import Offline
from pipeline.runtime.partition import internal_errors
from tests import invariants
from tests.containers import clickhouse_container, kafka_container, why_not
from tests.endpoint import owner_url

# A busy machine is slow, not wrong: no example fails for its time alone.
hypothesis.settings.register_profile("chargeline", deadline=None)
hypothesis.settings.load_profile("chargeline")


@pytest.fixture(scope="session", autouse=True)
def _outputs_are_heard() -> Iterator[None]:
    """Whatever a stage in memory puts out is heard, see tests/invariants.py; a logic of tests is no pipeline."""
    feed = Offline.feed

    def heard(stage: Offline[Any], key: bytes | None, value: bytes, *more: int) -> Iterator[Output]:
        listens = isinstance(stage._logic, Assembly | Occupancy)
        for output in feed(stage, key, value, *more):
            if listens:
                invariants.LISTENER.of(stage).output(output)
            yield output

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Offline, "feed", heard)
        yield


@pytest.fixture(autouse=True)
def _outputs_are_right(request: pytest.FixtureRequest) -> Iterator[None]:
    yield
    found = invariants.LISTENER.verdict(request.node.originalname)
    assert not found, "\n".join(found[:20])


@pytest.fixture(autouse=True)
def _no_error_of_ours(request: pytest.FixtureRequest) -> Iterator[None]:
    """A running worker makes a dead letter of it and goes on; a test fails, unless it is marked internal_errors."""
    told = _Told()
    internal_errors.log.addHandler(told)
    yield
    internal_errors.log.removeHandler(told)
    assert not told.errors or request.node.get_closest_marker("internal_errors"), "\n".join(told.errors[:3])


class _Told(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.errors: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.errors.append(record.getMessage())


@pytest.fixture(scope="session")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedKafka]:
    """The broker of the whole run. Who stops or kills one starts one of its own."""
    with EmbeddedKafka(tmp_path_factory.mktemp("kafka"), port=0) as broker:
        yield broker


@pytest.fixture(scope="session")
def kafka(broker: EmbeddedKafka) -> str:
    """Bootstrap servers of the broker of the whole run; use names of your own for topics, groups and transactions."""
    return broker.bootstrap


@pytest.fixture(scope="session")
def container_kafka() -> Iterator[str]:
    """Bootstrap servers of a broker in a container."""
    with kafka_container() as bootstrap:
        yield bootstrap


@pytest.fixture(params=["embedded"] if why_not() else ["embedded", "container"])
def any_kafka(request: pytest.FixtureRequest) -> str:
    """Bootstrap servers of either broker: for tests of what both must do."""
    chosen: str = request.getfixturevalue("kafka" if request.param == "embedded" else "container_kafka")
    return chosen


@pytest.fixture(scope="session")
def reference_file() -> Callable[[str], Path]:
    """Path of a real charger log or price file beside the checkout; skips the test that asks where it is absent."""

    def find(name: str) -> Path:
        path = Path(__file__).parents[2] / "shared" / "data" / name
        if not path.exists():
            pytest.skip(f"reference data not found: ../shared/data/{name}")
        return path

    return find


@pytest.fixture(scope="session")
def clickhouse(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """URL, with the password, of the embedded ClickHouse of the whole run; make databases of your own.

    Who stops one starts his own.
    """
    with EmbeddedClickHouse(tmp_path_factory.mktemp("clickhouse"), port=0) as server:
        yield owner_url(server)


@pytest.fixture(scope="session")
def container_clickhouse() -> Iterator[str]:
    """URL of a real server."""
    with clickhouse_container() as url:
        yield url


@pytest.fixture(params=["embedded"] if why_not() else ["embedded", "container"])
def any_clickhouse(request: pytest.FixtureRequest) -> str:
    """URL of either server: for tests of what both must do."""
    chosen: str = request.getfixturevalue("clickhouse" if request.param == "embedded" else "container_clickhouse")
    return chosen
