"""A stage that is added is added everywhere: its role, its service, its topics, and what operators do with them."""

from __future__ import annotations

from pathlib import Path

import click
import pytest
import yaml

from pipeline.access import ROLES
from pipeline.app import ASSEMBLED, OCCUPIED, STAGES
from pipeline.cli import topics as topics_command
from pipeline.cli.worker import command as worker
from pipeline.edge.quarantine import SOURCES
from tests.schemas.declarations import declared_topics

ROOT = Path(__file__).parents[1]
DURABLE = {stage for stage in STAGES if stage != "store"}
"""Those that have a state, which follows from their source."""
KEPT_BESIDE = ("dead-letters", "rejections", "quarantine")


def test_every_stage_has_a_role_and_every_role_of_a_stage_a_stage() -> None:
    assert {role.stage: name for name, role in ROLES.items() if role.stage} == {stage: stage for stage in STAGES}


@pytest.mark.parametrize("stage", STAGES)
def test_docker_runs_every_stage(stage: str) -> None:
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text("utf-8"))["services"]
    assert any(service.get("command", [])[:3] == ["worker", "--stage", stage] for service in services.values())


@pytest.mark.parametrize("stage", STAGES)
def test_the_help_of_worker_says_what_every_stage_does(stage: str) -> None:
    assert f"{stage}: " in worker.get_help(click.Context(worker)).replace("\n", " ")


def test_operators_can_accept_and_release_the_source_of_every_stage_that_has_a_state() -> None:
    known = topics_command.STAGES
    assert {stage for stage, _ in known.values()} == DURABLE
    assert set(SOURCES) == known.keys()


@pytest.mark.parametrize("stage", sorted(DURABLE))
def test_a_stage_may_write_what_every_stage_writes(stage: str) -> None:
    topics = declared_topics(ROOT / "schemas")
    changelog = next(state for name, state in topics_command.STAGES.values() if name == stage)
    for name in (*KEPT_BESIDE, changelog):
        assert stage in topics[name]["writers"], name


WRITTEN = {"assemble": ASSEMBLED, "occupy": OCCUPIED}
"""Apart from their states and what every stage writes."""


def test_a_stage_writes_the_topics_that_name_it_as_a_writer() -> None:
    assert WRITTEN.keys() == DURABLE
    topics = declared_topics(ROOT / "schemas")
    for source, (stage, changelog) in topics_command.STAGES.items():
        may_write = {name for name, topic in topics.items() if stage in topic["writers"]}
        assert may_write - {*KEPT_BESIDE, changelog, source} == {topic.name for topic in WRITTEN[stage]}
