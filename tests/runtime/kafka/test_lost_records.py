"""What a topic has lost is told, counted and gone round, or refused; a worker is never ready and idle over it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from contextlib import suppress

import confluent_kafka as ck
import pytest
from confluent_kafka.admin import AdminClient, NewTopic

from pipeline.edge.acceptance import accept
from pipeline.errors import WrongUsage
from pipeline.metrics import Meters
from pipeline.runtime.kafka.config import StageConfig
from pipeline.runtime.kafka.retry import Waits
from pipeline.runtime.kafka.topics import TopicWatch
from tests.runtime.probes import asked, free_port, metric, until
from tests.runtime.workers import PARTITIONS, Arena, numbers


def make_anew(arena: Arena) -> None:
    admin = AdminClient({"bootstrap.servers": arena.bootstrap})
    with suppress(ck.KafkaException):  # it is gone already
        admin.delete_topics([arena.source])[arena.source].result(20)
    topic = NewTopic(arena.source, PARTITIONS, 1, config={"message.timestamp.type": "LogAppendTime"})

    def made() -> bool:
        try:
            admin.create_topics([topic])[arena.source].result(20)
        except ck.KafkaException:  # the old one is still being deleted
            return False
        return True

    assert until(made)


def started(arena: Arena) -> tuple[subprocess.Popen[bytes], int]:
    port = free_port()
    process = arena.start("a", probe_port=port)
    assert until(lambda: asked(port, "/readyz")[0] == 200)
    return process, port


def test_records_removed_under_a_running_worker_are_counted_and_told_and_the_rest_is_applied(arena: Arena) -> None:
    process, port = started(arena)
    arena.fill(numbers(keys=20, count=2000))
    assert until(lambda: metric(port, "events_total") >= 2000)
    assert until(lambda: metric(port, "checkpoint_age_seconds") == 0)
    read = arena.ends()
    os.kill(process.pid, signal.SIGSTOP)  # shorter than its session
    arena.fill(numbers(keys=20, count=2000))
    left = {number: end - 10 for number, end in arena.ends().items()}
    arena.delete_up_to(left)
    os.kill(process.pid, signal.SIGCONT)
    everything = sum(len(each) for each in arena.records.values())
    assert until(lambda: metric(port, "events_total") + metric(port, "records_lost_total") == everything)
    assert until(lambda: asked(port, "/readyz")[0] == 200)
    told = re.findall(r"ERROR .*records (\d+) to (\d+) were needed", arena.log("a"))
    assert sum(int(last) - int(first) + 1 for first, last in told) == metric(port, "records_lost_total")
    # What the worker had fetched before it was stopped may still be applied.
    assert 0 < metric(port, "records_lost_total") <= sum(left.values()) - sum(read.values())
    assert arena.stop_all() == {"a": 0}


@pytest.mark.parametrize("runs", [True, False], ids=["under a running worker", "while no worker runs"])
def test_a_topic_made_anew_is_refused_until_an_operator_accepts_it(arena: Arena, runs: bool) -> None:
    process, port = started(arena)
    arena.fill(numbers(keys=20, count=2000))
    first = dict(arena.outputs(200, 20))
    assert until(lambda: metric(port, "checkpoint_age_seconds") == 0)
    if not runs:
        assert arena.stop_all() == {"a": 0}
    make_anew(arena)
    if not runs:
        arena.fill(numbers(keys=20, count=4000))  # longer than the former one: only its id tells
        port = free_port()
        process = arena.start("a", probe_port=port)
    assert until(lambda: "recreated" in asked(port, "/readyz")[1]), asked(port, "/readyz")
    if runs:
        arena.fill(numbers(keys=20, count=4000))
    status, why = asked(port, "/readyz")
    assert status == 503
    assert f"run `chargeline topics accept {arena.source}`" in why
    config = {"bootstrap.servers": arena.bootstrap}
    with pytest.raises(WrongUsage, match="stop all workers"):
        accept(config, arena.name, arena.source, arena.changelog)
    assert process.poll() is None
    assert arena.stop_all() == {"a": 0}

    accepted = accept(config, arena.name, arena.source, arena.changelog)
    assert [place.offset for place in accepted] == [0] * PARTITIONS
    _, port = started(arena)
    assert until(lambda: metric(port, "events_total") >= 4000)
    assert until(lambda: metric(port, "checkpoint_seconds_count") > 0)
    assert accept(config, arena.name, arena.source, arena.changelog) == [], "once is enough"
    arena.kill("a")  # the numbers of the old topic are in no record of the state any more
    started(arena)
    arena.fill(numbers(keys=20, count=400))
    expected = arena.expected()
    found = arena.outputs(len(expected), 20)
    assert len(found) == len(dict(found)), "nothing is told twice"
    assert first.items() <= dict(found).items()
    assert dict(found) == expected, "the state of before goes on"
    assert arena.stop_all() == {"a": 0}


def test_a_topic_that_takes_the_place_of_another_is_noticed_although_reading_goes_on(arena: Arena) -> None:
    config = StageConfig(
        name="count", topics=[arena.source], changelog=arena.changelog, group=arena.name, slot="a",
        client={"bootstrap.servers": arena.bootstrap},
    )  # fmt: skip
    waits = Waits("count", Meters())
    watch = TopicWatch(config, waits)
    assert not watch.replaced()
    assert not watch.replaced()
    admin = AdminClient({"bootstrap.servers": arena.bootstrap})  # it must live until the answer is there
    admin.delete_topics([arena.source])[arena.source].result(20)
    assert until(lambda: not watch.replaced() and bool(waits.troubles.sentences()))
    assert f"{arena.source} cannot be looked at" in waits.troubles.sentences()[0]
    make_anew(arena)
    assert until(lambda: list(watch.replaced()) == [arena.source])
    assert not waits.troubles
