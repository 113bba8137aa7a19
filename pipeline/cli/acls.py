"""`chargeline topics acls` and `topics users`: what a secured broker grants to whom, and how roles log in."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import click
from confluent_kafka import KafkaException
from confluent_kafka.admin import (
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialAlteration,
    UserScramCredentialUpsertion,
)

from pipeline.access import ROLES, Acl, acls
from pipeline.cli.declared import declared_topics
from pipeline.cli.options import json_option, kafka_option, print_json, settings
from pipeline.cli.output import echo
from pipeline.embedded.kafka import BROKER
from pipeline.embedded.kafka_secured import ADMIN, Credentials, create, owner_only, write
from pipeline.errors import Unavailable
from pipeline.kafka_config import client_config

ITERATIONS = 8192
SECRETS = Path("/run/secrets")
SIZING = re.compile(r"num\.(network|io)\.threads|background\.threads|log\.cleaner\..*")
"""What the embedded broker sets for a laptop."""
TIMEOUT_S = 10.0


def compose_broker(credentials: Credentials) -> Mapping[str, str | int]:
    """The broker of docker-compose.yml: INTERNAL for the containers, HOST for this machine."""
    return {
        **{name: value for name, value in BROKER.items() if not SIZING.fullmatch(name)},
        **credentials.broker(["INTERNAL", "HOST"]),
        "node.id": 1,
        "listeners": "INTERNAL://:19092,HOST://:9092,CONTROLLER://:9093",
        "advertised.listeners": "INTERNAL://kafka:19092,HOST://127.0.0.1:9092",
        "controller.quorum.voters": "1@localhost:9093",
        "log.dirs": "/var/lib/kafka/data",
    }


def write_for_compose(folder: Path) -> None:
    """FOLDER/container: the properties of the broker and of each role with the paths that containers see."""
    inside = Credentials(folder, SECRETS)
    with owner_only():
        (folder / "container").mkdir(exist_ok=True)
        write(folder / "container" / "server.properties", compose_broker(inside))
        for role in (ADMIN, *ROLES):
            write(folder / "container" / f"{role}.properties", inside.properties(role))


def wanted(group: str) -> Sequence[Acl]:
    return acls(declared_topics(), group)


def apply_acls(admin: AdminClient, group: str) -> list[str]:
    """The roles' ACLs become what schemas/topics says: grants what is missing, takes back what is too much.

    Denials stay, and ACLs of principals that are no roles of ours. Returns what was done, a sentence each. Raises
    Unavailable.
    """
    bindings = {_binding(acl): acl for acl in wanted(group)}
    try:
        found = admin.describe_acls(_everything()).result(TIMEOUT_S)
        granted = [each for each in found if each.permission_type == AclPermissionType.ALLOW]
        ours = {each for each in granted if each.principal.removeprefix("User:") in ROLES}
        missing, surplus = bindings.keys() - ours, ours - bindings.keys()
        for future in admin.create_acls(list(missing)).values() if missing else ():
            future.result(TIMEOUT_S)
        for future in admin.delete_acls([_filter(each) for each in surplus]).values() if surplus else ():
            future.result(TIMEOUT_S)
    except KafkaException as error:
        raise Unavailable(f"the broker does not take the ACLs: {error.args[0].str()}") from error
    done = [f"granted {_sentence(bindings[each])}" for each in missing]
    return sorted(done) + sorted(
        f"took back {each.operation.name} {each.name} from {each.principal}" for each in surplus
    )


def apply_users(admin: AdminClient, credentials: Credentials) -> None:
    """Sets every role's password to that of its file, whatever the broker had before. Raises Unavailable."""
    info = ScramCredentialInfo(ScramMechanism.SCRAM_SHA_512, ITERATIONS)
    users: list[UserScramCredentialAlteration] = [
        UserScramCredentialUpsertion(role, info, credentials.password(role).encode()) for role in ROLES
    ]
    try:
        for future in admin.alter_user_scram_credentials(users).values():
            future.result(TIMEOUT_S)
    except KafkaException as error:
        raise Unavailable(f"the broker does not take the users: {error.args[0].str()}") from error


@click.command("acls")
@kafka_option
@click.option("--apply", "apply_", is_flag=True, help="Set these ACLs; logs in as the properties file says.")
@click.option(
    "--users",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="With --apply: also set the roles' passwords, from a folder that `topics users` made.",
)
@json_option
def acls_command(kafka: str | None, apply_: bool, users: Path | None, as_json: bool) -> None:
    """Who may do what on a secured broker: one principal per role, as `writers` and `readers` of schemas/topics say.

    Without --apply only prints it. With --apply the ACLs of these principals are aligned; those of others stay.
    """
    found = settings(kafka=kafka)
    if users is not None and not apply_:
        raise click.UsageError("--users sets passwords: give --apply too")
    if not apply_:
        for acl in wanted(found.group):
            print_json(acl._asdict()) if as_json else echo(_sentence(acl))
        return
    admin = AdminClient(client_config(found) | {"log_level": 0})
    if users is not None:
        apply_users(admin, Credentials(users))
    done = apply_acls(admin, found.group)
    echo("\n".join(done) if done else "all ACLs are as declared")


@click.command("users")
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
@click.option("--host", "hosts", multiple=True, help="A name or address of the broker [default: 127.0.0.1, localhost].")
@click.option("--compose", is_flag=True, help="And what docker-compose mounts, in FOLDER/container.")
def users_command(folder: Path, hosts: Sequence[str], compose: bool) -> None:
    """Make the certificate, the passwords and one client file per role in FOLDER; existing files stay.

    FOLDER/<role>.properties is what CHARGELINE_KAFKA_PROPERTIES_FILE names. Only you can read them.
    """
    hosts = (*hosts,) or ("127.0.0.1", "localhost", *(("kafka",) if compose else ()))
    create(folder, list(ROLES), hosts)
    if compose:
        write_for_compose(folder)
    for name, role in ROLES.items():
        echo(f"{folder / f'{name}.properties'}  {role.who}")


def _sentence(acl: Acl) -> str:
    name = acl.name + ("*" if acl.pattern == "PREFIXED" else "")
    return f"{acl.role}: {acl.operation} {acl.resource} {name}"


def _binding(acl: Acl) -> AclBinding:
    return AclBinding(
        ResourceType[acl.resource],
        acl.name,
        ResourcePatternType[acl.pattern],
        f"User:{acl.role}",
        "*",
        AclOperation[acl.operation],
        AclPermissionType.ALLOW,
    )


def _filter(binding: AclBinding) -> AclBindingFilter:
    return AclBindingFilter(
        binding.restype,
        binding.name,
        binding.resource_pattern_type,
        binding.principal,
        binding.host,
        binding.operation,
        binding.permission_type,
    )


def _everything() -> AclBindingFilter:
    kinds = (ResourceType.ANY, None, ResourcePatternType.ANY, None, None, AclOperation.ANY, AclPermissionType.ANY)
    return AclBindingFilter(*kinds)  # type: ignore[arg-type]  # None means any; the client's own hints forget it
