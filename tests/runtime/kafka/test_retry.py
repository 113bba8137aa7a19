"""Pauses between attempts grow, have a bound, and differ from worker to worker."""

from __future__ import annotations

from statistics import mean

from pipeline.runtime.kafka.retry import LONGEST_PAUSE_S, Backoff


def test_pauses_grow_up_to_a_bound_and_no_two_workers_come_back_in_step() -> None:
    workers = [[backoff.pause_s() for _ in range(12)] for backoff in [Backoff() for _ in range(200)]]
    attempts = list(zip(*workers, strict=True))
    assert all(0.02 <= pause <= LONGEST_PAUSE_S for pauses in attempts for pause in pauses)
    assert max(attempts[0]) <= 0.1, "the first one is short"
    assert mean(attempts[0]) < mean(attempts[3]) < mean(attempts[-1])
    assert all(len(set(pauses)) > 190 for pauses in attempts)
