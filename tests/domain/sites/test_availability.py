"""The availability of a site: what counts, when it is published, and that a bill can be repeated from it."""

from __future__ import annotations

import itertools

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.domain.outputs import ConnectorChanged, ConnectorState
from pipeline.domain.pricing.signals import PriceSlot
from pipeline.domain.sites.availability import LEAD, SiteState, note, publish, value
from pipeline.domain.station import MINUTE, QUARTER, SECOND

SLOT = 1_772_436_600_000_000  # 2026-03-02T07:30:00Z, a quarter of an hour begins
BEFORE = SLOT - LEAD


def changed(
    state: ConnectorState, connector: int = 1, station: str = "CP-1", since: int = 0, clock: str = "live"
) -> ConnectorChanged:
    """`since` in seconds after one hour before SLOT."""
    since_us = SLOT - 60 * MINUTE + since * SECOND
    return ConnectorChanged(
        site_id="S", station_id=station, connector_id=connector, state=state, since_us=since_us, clock=clock
    )


def site(*changes: ConnectorChanged) -> SiteState:
    made = SiteState("S")
    for change in changes:
        note(made, change)
    return made


def test_free_and_occupied_connectors_are_in_service_and_no_others() -> None:
    states: tuple[ConnectorState, ...] = ("free", "free", "occupied", "unavailable", "faulted", "unknown", "gone")
    assert value(site(*(changed(state, number) for number, state in enumerate(states, 1)))) == (2, 3)


@pytest.mark.parametrize("state", ["unavailable", "faulted", "silent", "gone"])
def test_a_station_that_is_out_takes_its_connectors_with_it(state: ConnectorState) -> None:
    both = changed("free"), changed("occupied", 2), changed("free", station="CP-2")
    assert value(site(*both, changed(state, 0, since=5))) == (1, 1)
    assert value(site(*both, changed(state, 0, since=5), changed("free", 0, since=9))) == (2, 3)


def test_nothing_known_is_no_value_and_everything_out_of_service_is_none_of_none() -> None:
    assert value(site()) is None
    assert value(site(changed("unknown"))) is None
    assert value(site(changed("free"), changed("silent", 0))) is None
    assert value(site(changed("faulted"))) == (0, 0)


def test_the_value_is_published_once_before_the_slot_begins_and_holds_for_it() -> None:
    found = site(changed("free"), changed("occupied", 2))
    assert publish(found, BEFORE - 1) is None
    slot = publish(found, BEFORE + SECOND)
    assert slot is not None
    assert (slot.series, slot.start_us, slot.end_us) == ("availability:S", SLOT, SLOT + QUARTER)
    assert (slot.free, slot.total, slot.published_us) == (1, 2, BEFORE + SECOND)
    note(found, changed("faulted", 2, since=3599))
    assert publish(found, BEFORE + 2 * SECOND) is None
    assert found.wake_us == BEFORE + QUARTER
    later = publish(found, found.wake_us)
    assert later is not None
    assert (later.start_us, later.free, later.total) == (SLOT + QUARTER, 1, 1)


def test_a_slot_that_has_begun_gets_no_value_any_more() -> None:
    found = site(changed("free"))
    assert publish(found, SLOT) is None
    assert publish(found, SLOT + QUARTER - LEAD - 1) is None
    following = publish(found, SLOT + QUARTER - 1)
    assert following is not None
    assert following.start_us == SLOT + QUARTER


def test_a_site_without_knowledge_stays_without_value_until_something_is_known() -> None:
    found = site(changed("unknown"))
    assert publish(found, BEFORE) is None
    note(found, changed("free", since=3550))
    assert publish(found, BEFORE + QUARTER) is not None


def test_what_a_replay_tells_does_not_touch_the_site() -> None:
    found = site(changed("free"))
    assert not note(found, changed("faulted", since=9, clock="sim-1"))
    assert value(found) == (1, 1)


def test_the_first_record_asks_for_the_next_tick() -> None:
    found = SiteState("S")
    waiting = found.wake_us
    note(found, changed("free"))
    assert found.wake_us == 0 < waiting


def test_the_order_of_arrival_does_not_matter() -> None:
    told = [changed("free", since=1), changed("occupied", since=2), changed("faulted", since=3), changed("free", 2)]
    values = {value(site(*order)) for order in itertools.permutations(told)}
    assert values == {(1, 1)}


@given(
    st.lists(st.tuples(st.sampled_from(["free", "occupied", "faulted", "silent"]), st.integers(0, 2)), max_size=8),
    st.lists(st.integers(0, 4 * 3600), min_size=1, max_size=60),
)
def test_any_ticks_publish_each_slot_at_most_once_and_before_it_begins(
    changes: list[tuple[ConnectorState, int]], seconds: list[int]
) -> None:
    found = site(*(changed(state, number, since=place) for place, (state, number) in enumerate(changes)))
    published: list[PriceSlot] = []
    for now in sorted(SLOT + second * SECOND for second in seconds):
        found = msgspec.msgpack.decode(msgspec.msgpack.encode(found), type=SiteState)
        if found.wake_us <= now:
            slot = publish(found, now)
            if slot is not None:
                published.append(slot)
                assert now < slot.start_us <= now + LEAD
                assert (slot.free, slot.total) == value(found)
    starts = [slot.start_us for slot in published]
    assert sorted(set(starts)) == starts
    nows = [SLOT + second * SECOND for second in seconds]
    due = {start for now in nows if (start := (now + LEAD) // QUARTER * QUARTER) > now}
    assert set(starts) == (due if value(found) is not None else set())
