"""Who may do what on a secured broker: the roles, and the ACLs that follow from `writers` and `readers` of each topic.

A role is a principal, `User:<role>`. What this file does not grant is refused: a broker secured by Chargeline has
`allow.everyone.if.no.acl.found=false`. Rights come from schemas/topics only, so a topic without a reader has none.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple, Protocol

from pipeline.errors import WrongUsage


class Role(NamedTuple):
    """A principal of the broker."""

    who: str
    """Which commands, or which of the operator's own programs, log in as it."""
    stage: str = ""
    """Name of the worker's stage that it runs: consumer group and transactional ids begin with it."""


ROLES: Mapping[str, Role] = {
    "topics": Role("chargeline topics create"),
    "producer": Role("a fleet's own producers; chargeline simulate, chargeline replay"),
    "gateway": Role("chargeline gateway"),
    "assemble": Role("chargeline worker --stage assemble", stage="assemble"),
    "occupy": Role("chargeline worker --stage occupy", stage="occupy"),
    "store": Role("chargeline worker --stage store", stage="store"),
    "publisher": Role("chargeline sites publish, tariffs publish, prices publish"),
    "billing": Role("chargeline receipts, bills"),
    "operator": Role("chargeline dead-letters, stations"),
    "alerts": Role("whoever subscribes to anomalies"),
    "apps": Role("drivers' apps: live cost of open sessions"),
    "analyst": Role("nothing in Kafka: analysts query ClickHouse"),
}


class Access(Protocol):
    """What a topic's file says about access (schemas/topics/*.yaml)."""

    @property
    def name(self) -> str: ...
    @property
    def writers(self) -> Sequence[str]: ...
    @property
    def readers(self) -> Sequence[str]: ...


class Acl(NamedTuple):
    """One `Allow` for `User:<role>` from any host, in the words of Kafka's AclBinding."""

    role: str
    resource: str
    """TOPIC, GROUP or TRANSACTIONAL_ID."""
    name: str
    pattern: str
    """LITERAL, or PREFIXED: every name that begins with `name`."""
    operation: str


def acls(topics: Iterable[Access], group: str) -> Sequence[Acl]:
    """All of them, sorted. `group`: the setting CHARGELINE_GROUP. Raises WrongUsage for a role that does not exist."""
    return sorted({acl for topic in topics for acl in _of_topic(topic)} | set(_of_stages(group)))


def _of_topic(topic: Access) -> Iterator[Acl]:
    unknown = {*topic.writers, *topic.readers} - ROLES.keys()
    if unknown:
        raise WrongUsage(f"topic {topic.name}: no such role: {', '.join(sorted(unknown))}; see pipeline/access.py")
    for operation in ("CREATE", "DESCRIBE", "DESCRIBE_CONFIGS", "ALTER_CONFIGS"):
        yield Acl("topics", "TOPIC", topic.name, "LITERAL", operation)
    for role in topic.writers:
        yield Acl(role, "TOPIC", topic.name, "LITERAL", "WRITE")
    for role in topic.readers:
        yield Acl(role, "TOPIC", topic.name, "LITERAL", "READ")
        if not ROLES[role].stage:  # a consumer needs a group even where it commits nothing
            yield Acl(role, "GROUP", f"{topic.name}-", "PREFIXED", "READ")
            yield Acl(role, "GROUP", f"{role}-", "PREFIXED", "READ")


def _of_stages(group: str) -> Iterator[Acl]:
    for name, role in ROLES.items():
        if role.stage:
            yield Acl(name, "GROUP", f"{group}-{role.stage}", "PREFIXED", "READ")
            if role.stage != "store":  # it commits offsets, it produces nothing
                yield Acl(name, "TRANSACTIONAL_ID", f"{group}-{role.stage}-", "PREFIXED", "WRITE")
