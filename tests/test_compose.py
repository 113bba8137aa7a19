"""docker-compose.yml against the Compose specification and against the code: no image is needed for that.

What only a running container can show is in the contract tests, which take their images from it (tests/containers.py).
"""

from __future__ import annotations

import copy
import importlib.metadata
import importlib.util
import json
import re
import tempfile
import tomllib
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import click
import jsonschema
import pytest
import yaml

from pipeline.access import ROLES
from pipeline.cli import chargeline
from pipeline.cli.acls import SIZING, write_for_compose
from pipeline.embedded.jars import read_lock
from pipeline.embedded.kafka import BROKER
from pipeline.embedded.kafka_secured import create
from pipeline.gateway.door import SPARE_FILES, STRANGERS
from pipeline.gateway.passwords import WAITING
from pipeline.kafka_config import read_properties
from pipeline.settings import Settings

ROOT = Path(__file__).parents[1]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text("utf-8"))
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = {name: service for name, service in SERVICES.items() if service["image"].startswith("chargeline:")}
ONE_SHOT = {name for name, service in SERVICES.items() if service.get("restart") == "no"}


@cache
def broker_file() -> Mapping[str, str]:
    """server.properties as `chargeline topics users --compose` writes it."""
    with tempfile.TemporaryDirectory() as parent:
        folder = Path(parent) / "kafka"
        create(folder, list(ROLES), ("kafka",))
        write_for_compose(folder)
        assert {file.stem for file in (folder / "container").iterdir()} == {*ROLES, "admin", "server"}
        return read_properties(folder / "container" / "server.properties")


def specification() -> dict[str, Any]:
    """JSON Schema of the Compose specification, as check-jsonschema ships it."""
    found = importlib.util.find_spec("check_jsonschema")
    assert found is not None
    assert found.origin is not None
    schema = Path(found.origin).parent / "builtin_schemas" / "vendor" / "compose-spec.json"
    loaded: dict[str, Any] = json.loads(schema.read_text("utf-8"))
    return loaded


def faults(compose: Mapping[str, Any]) -> list[str]:
    validator = jsonschema.Draft7Validator(specification())
    return [f"{'.'.join(map(str, error.path))}: {error.message}" for error in validator.iter_errors(compose)]


def test_the_file_follows_the_compose_specification() -> None:
    assert faults(COMPOSE) == []


def test_the_specification_sees_a_misspelt_key() -> None:
    wrong = copy.deepcopy(COMPOSE)
    wrong["services"]["kafka"]["helthcheck"] = wrong["services"]["kafka"].pop("healthcheck")
    assert any("helthcheck" in fault for fault in faults(wrong))


def test_the_whole_pipeline_is_there() -> None:
    assert SERVICES.keys() == {
        "kafka",
        "clickhouse",
        "access",
        "topics",
        "grants",
        "migrations",
        "worker-0",
        "worker-1",
        "occupy",
        "store",
        "gateway",
    }
    assert {"access", "topics", "grants", "migrations"} == ONE_SHOT
    assert OURS.keys() == SERVICES.keys() - {"kafka", "clickhouse", "grants"}


@pytest.mark.parametrize("name", OURS)
def test_every_command_exists_with_its_options(name: str) -> None:
    command: click.Command = chargeline
    arguments = list(OURS[name]["command"])
    while isinstance(command, click.Group) and arguments:
        found = command.get_command(click.Context(command), arguments.pop(0))
        assert found is not None, f"{name}: no such command: {OURS[name]['command']}"
        command = found
    command.make_context(name, arguments)  # raises click.UsageError for an option that does not exist


@pytest.mark.parametrize("name", OURS)
def test_every_setting_exists_and_points_to_a_service_or_a_mounted_file(name: str) -> None:
    service = OURS[name]
    settings = Settings.from_env(service["environment"])
    if "CHARGELINE_KAFKA" in service["environment"]:
        assert f"INTERNAL://{settings.kafka}" in str(broker_file()["advertised.listeners"]).split(",")
    if "CHARGELINE_CLICKHOUSE_URL" in service["environment"]:
        assert settings.clickhouse_url == "http://clickhouse:8123"
    mounted = {f"/run/secrets/{target}" for target in secrets_of(service)} - {"/run/secrets/ca.pem"}
    mounted |= {config["target"] for config in service.get("configs", [])}
    named = {path for variable, path in service["environment"].items() if variable.endswith("_FILE")}
    assert named == mounted
    assert settings.web_port in (0, 9100)


def test_every_service_has_the_secrets_of_its_own_role_and_no_other() -> None:
    found = {name: set(secrets_of(service).values()) for name, service in SERVICES.items()}
    client = {"kafka_ca"}
    assert found == {
        "kafka": {"kafka_broker", "kafka_users", "kafka_keystore", "kafka_ca"},
        "clickhouse": {"clickhouse_chargeline"},
        "access": client | {"kafka_admin"},
        "topics": client | {"kafka_topics"},
        "grants": {"clickhouse_chargeline", "clickhouse_store", "clickhouse_migrate", "clickhouse_report"},
        "migrations": {"clickhouse_migrate"},
        "worker-0": client | {"keys", "kafka_assemble"},
        "worker-1": client | {"keys", "kafka_assemble"},
        "occupy": client | {"keys", "kafka_occupy"},
        "store": client | {"kafka_store", "clickhouse_store"},
        "gateway": client | {"kafka_gateway", "gateway_passwords"},
    }
    assert SERVICES["gateway"]["profiles"] == ["gateway"]
    roles = {name.removeprefix("kafka_") for each in found.values() for name in each if name.startswith("kafka_")}
    assert roles - {"broker", "users", "keystore", "ca", "admin"} <= ROLES.keys()


def secrets_of(service: Mapping[str, Any]) -> dict[str, str]:
    """Name of the file in the container -> the secret."""
    found = [{"source": each} if isinstance(each, str) else each for each in service.get("secrets", [])]
    return {each.get("target", each["source"]): each["source"] for each in found}


def test_every_worker_has_a_slot_of_its_own() -> None:
    slots = [
        service["environment"]["CHARGELINE_SLOT"]
        for name, service in OURS.items()
        if name not in ONE_SHOT | {"gateway"}
    ]
    assert len(slots) == len(set(slots)) == 4


def test_the_broker_is_set_up_like_the_embedded_one() -> None:
    expected = {
        name: str(value)
        for name, value in BROKER.items()
        if not SIZING.fullmatch(name) and name != "inter.broker.listener.name"
    }
    assert expected
    assert {name: broker_file().get(name) for name in expected} == expected
    started = SERVICES["kafka"]["command"][0]
    assert started.count("/run/secrets/server.properties") == 2
    assert "@/run/secrets/users" in started


def test_both_servers_are_the_releases_that_the_tests_run() -> None:
    (kafka,) = [jar.version for jar in read_lock() if jar.artifact == "kafka_2.13"]
    assert SERVICES["kafka"]["image"] == f"apache/kafka:{kafka}"
    engine = importlib.metadata.version("chdb-core")
    assert SERVICES["clickhouse"]["image"].partition(":")[2] == ".".join(engine.split(".")[:2])
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    assert {service["image"] for service in OURS.values()} == {f"chargeline:{project['version']}"}


@pytest.mark.parametrize("name", SERVICES)
def test_no_service_is_root_or_open_to_the_network(name: str) -> None:
    service = SERVICES[name]
    assert re.fullmatch(r".+:\d+\.\d+(\.\d+)?", service["image"]), "not pinned"
    user = re.sub(r"\$\{\w+:-(\d+)\}", r"\1", service["user"])
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", user)
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert "privileged" not in service
    assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))


def test_published_ports_are_distinct_and_served() -> None:
    published = [port.split(":")[1:] for service in SERVICES.values() for port in service.get("ports", [])]
    hosts = [host for host, _ in published]
    assert len(hosts) == len(set(hosts))
    assert {inside for _, inside in published} == {"9092", "8123", "9100", str(Settings().gateway_port)}


@pytest.mark.parametrize("name", SERVICES.keys() - ONE_SHOT)
def test_what_runs_for_ever_is_checked_and_restarted(name: str) -> None:
    service = SERVICES[name]
    assert service["healthcheck"]["test"][0] == "CMD"
    assert service["restart"] == "unless-stopped"
    if name in OURS:
        assert service["depends_on"] == {
            once: {"condition": "service_completed_successfully"}
            for once in (["topics"] if name == "gateway" else ["topics", "migrations"])
        }
        assert "http://127.0.0.1:9100/livez" in service["healthcheck"]["test"][-1]


def test_data_outlives_the_containers() -> None:
    for name, folder in (("kafka", "/var/lib/kafka/data"), ("clickhouse", "/var/lib/clickhouse")):
        (volume,) = SERVICES[name]["volumes"]
        source, _, target = volume.partition(":")
        assert source in COMPOSE["volumes"]
        assert target == folder
    assert broker_file()["log.dirs"] == "/var/lib/kafka/data"


def test_secrets_come_from_files_that_git_does_not_take() -> None:
    assert all(secret["file"].startswith("./secrets/") for secret in COMPOSE["secrets"].values())
    used = {source for service in SERVICES.values() for source in secrets_of(service).values()}
    assert used == COMPOSE["secrets"].keys()
    assert "secrets/" in (ROOT / ".gitignore").read_text("utf-8").splitlines()
    named = [name for service in SERVICES.values() for name in service.get("environment", {})]
    assert not [name for name in named if re.search("PASSWORD|SECRET|KEY", name) and not name.endswith("_FILE")]


def test_the_image_is_built_from_what_the_checkout_has() -> None:
    text = (ROOT / "ops" / "container" / "Dockerfile").read_text("utf-8")
    copied = [line.split()[1] for line in text.splitlines() if line.startswith("COPY ")]
    allowed = (ROOT / ".dockerignore").read_text("utf-8").splitlines()
    assert copied == ["ops/container/requirements.txt", "pyproject.toml", "README.md", "pipeline", "schemas"]
    assert all((ROOT / path).exists() and f"!{path}" in allowed for path in copied)
    assert "--require-hashes -r ops/container/requirements.txt" in text
    assert re.search(r"^USER [1-9]\d*:[1-9]\d*$", text, re.MULTILINE)
    assert re.search(r"^FROM python:3\.1[1-9]-slim", text, re.MULTILINE)
    assert text.index("USER ") < text.index('ENTRYPOINT ["chargeline"]')


def test_the_gateway_may_open_the_files_that_it_asks_for() -> None:
    needed = Settings().gateway_connections + WAITING + STRANGERS + SPARE_FILES
    assert SERVICES["gateway"]["ulimits"]["nofile"]["hard"] >= needed
