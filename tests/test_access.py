"""ACLs follow from the topics' files, and nothing else is granted."""

from __future__ import annotations

from typing import NamedTuple

import pytest

from pipeline.access import Acl, acls
from pipeline.cli.declared import declared_topics
from pipeline.errors import WrongUsage


class Declared(NamedTuple):
    name: str
    writers: tuple[str, ...] = ()
    readers: tuple[str, ...] = ()


def test_a_writer_may_write_and_nothing_else() -> None:
    found = {acl for acl in acls([Declared("t", writers=("gateway",))], "g") if acl.role == "gateway"}
    assert found == {Acl("gateway", "TOPIC", "t", "LITERAL", "WRITE")}


def test_a_reader_outside_the_worker_gets_groups_of_its_own() -> None:
    found = {acl for acl in acls([Declared("t", readers=("alerts",))], "g") if acl.role == "alerts"}
    assert found == {
        Acl("alerts", "TOPIC", "t", "LITERAL", "READ"),
        Acl("alerts", "GROUP", "t-", "PREFIXED", "READ"),
        Acl("alerts", "GROUP", "alerts-", "PREFIXED", "READ"),
    }


def test_a_stage_gets_the_group_and_the_transactional_ids_of_its_own_deployment() -> None:
    found = {acl for acl in acls([Declared("t", readers=("occupy",))], "fleet") if acl.role == "occupy"}
    assert found == {
        Acl("occupy", "TOPIC", "t", "LITERAL", "READ"),
        Acl("occupy", "GROUP", "fleet-occupy", "PREFIXED", "READ"),
        Acl("occupy", "TRANSACTIONAL_ID", "fleet-occupy-", "PREFIXED", "WRITE"),
    }
    assert not [a for a in acls([], "fleet") if a.role == "store" and a.resource == "TRANSACTIONAL_ID"]


def test_a_role_that_does_not_exist_is_named() -> None:
    with pytest.raises(WrongUsage, match="topic t: no such role: analysts"):
        acls([Declared("t", readers=("analysts",))], "g")


def test_identifiers_reach_only_who_assembles_and_who_repairs() -> None:
    readers = {topic.name: set(topic.readers) for topic in declared_topics() if topic.identifiers}
    assert readers == {
        "meter-events": {"assemble"},
        "dead-letters": {"operator"},
        "quarantine": {"assemble", "occupy", "operator"},
    }
