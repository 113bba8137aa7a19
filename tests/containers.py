"""Real servers in containers, for the tests that hold for any server; without Docker one test says so and skips."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import docker  # type: ignore[import-untyped]  # comes with testcontainers; only this file uses it
import pytest
import yaml
from testcontainers.core.container import DockerContainer
from testcontainers.core.wait_strategies import HttpWaitStrategy, LogMessageWaitStrategy

COMPOSE = Path(__file__).parents[1] / "docker-compose.yml"


def why_not() -> str:
    """Why no container can be started here; "" if one can, as far as can be told without pulling an image."""
    if not COMPOSE.exists():
        return "docker-compose.yml is absent: no image to test against"
    try:
        docker.from_env().ping()
    except docker.errors.DockerException as error:
        return f"Docker does not answer: {str(error).splitlines()[0]}"
    return ""


def service(name: str) -> dict[str, Any]:
    """What docker-compose.yml says of a service: what is tested is what is run."""
    found: dict[str, Any] = yaml.safe_load(COMPOSE.read_text("utf-8"))["services"][name]
    return found


def image(service_name: str) -> str:
    """The image that docker-compose.yml pins, present on this machine. Skips if it cannot come."""
    name = str(service(service_name)["image"])
    try:
        docker.from_env().images.pull(name)
    except docker.errors.DockerException as error:
        pytest.skip(f"{name} cannot be pulled: {str(error).splitlines()[0]}")
    return name


@contextmanager
def clickhouse_container() -> Iterator[str]:
    """URL of a ClickHouse server in a container."""
    container = DockerContainer(image("clickhouse")).with_exposed_ports(8123)
    container = container.with_env("CLICKHOUSE_SKIP_USER_SETUP", "1").waiting_for(HttpWaitStrategy(8123, "/ping"))
    with container as server:
        yield f"http://{server.get_container_host_ip()}:{server.get_exposed_port(8123)}"


@contextmanager
def kafka_container() -> Iterator[str]:
    """Bootstrap servers of a broker in a container, set up as in docker-compose.yml but for its addresses."""
    with socket.socket() as probe:  # the broker tells its clients the port, so it is chosen before the start
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = service("kafka")["environment"] | {
        "KAFKA_CONTROLLER_QUORUM_VOTERS": "1@localhost:9093",
        "KAFKA_ADVERTISED_LISTENERS": f"INTERNAL://localhost:19092,HOST://127.0.0.1:{port}",
    }
    container = DockerContainer(image("kafka")).with_bind_ports(9092, port).with_envs(**environment)
    with container.waiting_for(LogMessageWaitStrategy("Kafka Server started")):
        yield f"127.0.0.1:{port}"
