"""`chargeline rebuild`: what was told wrong is put right, once; what is right stays, and later evidence finds it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from pipeline.agents.rebuild import PublishedRecords
from pipeline.cli.simulate import write_documents
from pipeline.domain.events import ClockTicked
from pipeline.domain.receipts import Credit, Receipt
from pipeline.edge.faults import HOUR
from pipeline.edge.simulator import FINAL_TICKS_US, FleetConfig, simulate
from pipeline.topics import RECEIPTS, SESSIONS
from pipeline.wire.receipts import decode_receipt
from tests.integration.stack import Done, Stack, json_lines, started

pytestmark = pytest.mark.verify

FLEET = FleetConfig(seed=3, stations=12, sites=2, sessions=2.0)


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    folder = tmp_path_factory.mktemp("rebuild")
    write_documents(FLEET, folder)
    right = (folder / "tariffs.json").read_text("utf-8")
    (folder / "right.json").write_text(right, "utf-8")
    (folder / "tariffs.json").write_text(dearer(right), "utf-8")
    files = {"sites_file": str(folder / "sites.json"), "tariffs_file": str(folder / "tariffs.json")}
    with started(folder, **files) as stack:
        yield stack


def dearer(tariffs: str) -> str:
    """The same, but every second tariff asks for 10 cents more a kWh."""
    found = json.loads(tariffs)
    for tariff in found[::2]:
        for element in tariff["elements"]:
            for component in element["price_components"]:
                component["price"] += 0.1 if component["type"] == "ENERGY" else 0
    return json.dumps(found)


def told(stack: Stack) -> PublishedRecords:
    found = PublishedRecords()
    for topic in (SESSIONS.name, RECEIPTS.name):
        for message in stack.records(topic):
            found.take(topic, message.value(), topic)
    return found


def rebuild(stack: Stack, *options: str) -> list[dict[str, Any]]:
    done = stack.chargeline("rebuild", "--json", *options)
    assert done.returncode == 0, done.stderr
    return list(json_lines(done.stdout))


def each_bill_once(stack: Stack) -> None:
    """No version of a bill twice, no credit twice, never two bills of one session that stand."""
    receipts = [decode_receipt(message.value() or b"", "receipts") for message in stack.records(RECEIPTS.name)]
    assert set(Counter((each.kind, each.session_id, each.generation, each.revision) for each in receipts).values()) == {
        1
    }
    hashes = {each.hash for each in receipts if isinstance(each, Receipt)}
    credited = [each.bill_hash for each in receipts if isinstance(each, Credit)]
    assert set(credited) <= hashes
    standing = Counter(each.session_id for each in receipts if isinstance(each, Receipt))
    standing.subtract(each.session_id for each in receipts if isinstance(each, Credit))
    assert set(standing.values()) <= {0, 1}


def test_bills_that_were_wrong_are_put_right_once_and_late_evidence_follows_them(stack: Stack) -> None:
    records = list(simulate(FLEET))
    place = max(number for number, (_, key, value) in enumerate(records) if key and b'"session_ended"' in value)
    late = records.pop(place)
    stack.send(records)
    stack.wait()
    assert set(stack.stop_workers()) == {0}
    before = told(stack)
    assert rebuild(stack)[-1] | {"compared": 0} == {
        "compared": 0, "applied": False, "changed": 0, "credited": 0, "new": 0, "facts": 0, "left": {},
    }, "with what the workers had, the log gives what stands"  # fmt: skip

    stack.environment["tariffs_file"] = str(Path(stack.environment["tariffs_file"]).with_name("right.json"))
    *listed, counted = rebuild(stack)
    assert counted["changed"] > 10
    assert {each.revision for each in told(stack).sessions.values()} == {
        each.revision for each in before.sessions.values()
    }, "a dry run writes nothing"

    assert rebuild(stack, "--apply")[-1] == counted | {"applied": True}
    after = told(stack)
    each_bill_once(stack)
    changed = {each["session_id"]: each for each in listed if each["change"] == "changed bill"}
    assert len(changed) == counted["changed"]
    for session_id, bill in after.bills.items():
        former = before.bills[session_id]
        if session_id in changed:
            assert (bill.generation, bill.payable_incl_vat) == (2, changed[session_id]["payable_incl_vat"])
            assert former.payable_incl_vat == changed[session_id]["payable_incl_vat_before"] != bill.payable_incl_vat
            assert (after.sessions[session_id].generation, after.sessions[session_id].revision_reason) == (2, "REBUILT")
        else:
            assert bill == former
    assert rebuild(stack, "--apply")[-1]["changed"] == 0, "there is nothing left to correct"

    stack.start_workers()
    stack.wait()
    session = next(each for each in after.sessions.values() if each.station_id == (late[1] or b"").decode())
    tick_us = FLEET.end_us + FINAL_TICKS_US + 24 * HOUR
    stack.send([late, (tick_us, None, msgspec.json.encode(ClockTicked(time_us=tick_us, clock=FLEET.clock)))])
    stack.wait()
    each_bill_once(stack)
    revised = [each for each in told(stack).sessions.values() if each.revision_reason not in ("ENDED", "REBUILT")]
    assert session.clock == FLEET.clock
    assert [each for each in revised if each.station_id == session.station_id], "the late stop makes a revision"
    rows = stack.rows("SELECT session_id, generation, revision FROM charging.sessions_current")
    expected = {(each.session_id, each.generation, each.revision) for each in told(stack).sessions.values()}
    assert {(row["session_id"], row["generation"], row["revision"]) for row in rows} == expected


def test_apply_is_refused_while_workers_run(stack: Stack) -> None:
    stack.environment["tariffs_file"] = str(Path(stack.environment["tariffs_file"]).with_name("tariffs.json"))
    done: Done = stack.chargeline("rebuild", "--apply")
    assert done.returncode == 2
    assert "has members: stop its workers with SIGTERM first" in done.stderr
