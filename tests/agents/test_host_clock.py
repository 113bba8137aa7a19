"""A host clock that is set back, or behind the broker's, is told: it would stop time in silence."""

from __future__ import annotations

from pipeline.agents.tick import HostClock
from pipeline.metrics import Meters
from pipeline.runtime.kafka.troubles import Troubles

SECOND_NS, SECOND_US = 1_000_000_000, 1_000_000
START_S = 1_790_000_000


class Host:
    def __init__(self) -> None:
        self.now_s = START_S
        self.troubles = Troubles("assemble", Meters())
        self.clock = HostClock(self.troubles, lambda: self.now_s * SECOND_NS)

    def at(self, now_s: int) -> list[str]:
        self.now_s = START_S + now_s
        assert self.clock.now_us() == self.now_s * SECOND_US
        return self.troubles.sentences()


def test_a_clock_that_was_set_back_is_reported_until_it_has_caught_up() -> None:
    host = Host()
    assert host.at(0) == host.at(100) == host.at(99) == [], "a second is corrected all the time"
    (sentence,) = host.at(40)
    assert "60 s behind the time of its earlier ticks" in sentence
    assert "40 s behind" in host.at(60)[0]
    assert host.at(100) == []


def test_a_clock_behind_the_brokers_is_reported_also_after_a_restart() -> None:
    host = Host()
    sent_us = host.clock.now_us()
    host.clock.appended(sent_us, sent_us + 5 * SECOND_US)
    assert host.troubles.sentences() == [], "it may have waited for the broker"
    host.clock.appended(sent_us, sent_us + 3600 * SECOND_US)
    assert "3600 s behind the broker's clock" in host.troubles.sentences()[0]
    host.clock.appended(sent_us, sent_us)
    assert host.troubles.sentences() == []
