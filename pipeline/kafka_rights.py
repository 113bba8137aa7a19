"""Kafka's access control in words: who may not do what to what, and how that is granted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NamedTuple

from confluent_kafka import KafkaError

Operation = Literal["Read", "Write", "Describe", "Create", "DescribeConfigs", "AlterConfigs"]
Kind = Literal["topic", "group", "transactional-id"]

DENIED = frozenset({
    KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError.GROUP_AUTHORIZATION_FAILED,
    KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED, KafkaError.CLUSTER_AUTHORIZATION_FAILED,
})  # fmt: skip


class Right(NamedTuple):
    """As kafka-acls names it."""

    operation: Operation
    kind: Kind
    resource: str

    def __str__(self) -> str:
        return f"{self.operation} on {self.kind} {self.resource}"


def is_denied(error: KafkaError | None) -> bool:
    return error is not None and error.code() in DENIED


def lacking(client: Mapping[str, object], right: Right) -> str:
    """The sentence for an operator. `client`: the properties that say as whom we log in."""
    who = _principal(client)
    return (
        f"Kafka does not allow {who} {right}; grant it: kafka-acls --add --allow-principal '{who}' "
        f"--operation {right.operation} --{right.kind} {right.resource}"
    )


def said(error: KafkaError, client: Mapping[str, object], right: Right) -> str:
    """The error in words; `right` is what the call needs, and what is lacking when that is the error."""
    return lacking(client, right) if is_denied(error) else str(error.str())


def _principal(client: Mapping[str, object]) -> str:
    for name in ("sasl.username", "sasl.kerberos.principal"):
        if client.get(name):
            return f"User:{client[name]}"
    certificate = client.get("ssl.certificate.location")
    return f"User:(subject of {certificate})" if certificate else "User:ANONYMOUS"
