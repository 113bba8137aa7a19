"""What a run comes to: its figures, what failed, and where it was less than it should have been."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.wire.sessions import decode_alert
from tests.chaos.faults import KILLS
from tests.chaos.observer import Observer
from tests.chaos.offline import Told
from tests.chaos.scale import PHASES, Scale
from tests.chaos.schedule import Log
from tests.chaos.verdict import Difference, counters, unbalanced


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """What was told against what the log means."""

    told: Told
    offline: Told
    compared: dict[str, Difference]
    gone: int
    """Records that workers called gone."""
    judged_anew: int
    """Stations that the former release tells otherwise."""
    rebuilt: int
    corrected: int
    wrongly_corrected: int
    """Sessions that `rebuild` compared, and would correct; the last ones for no reason."""


def figures(
    scale: Scale,
    seed: int,
    faults: Sequence[str],
    done: Log,
    found: Findings,
    observer: Observer,
    report: Mapping[str, Any],
    hurried: bool,
) -> dict[str, Any]:
    """`report`: of the load; `hurried`: it ended before the schedule."""
    told, offline, compared = found.told, found.offline, found.compared.values()
    return {
        "seed": seed,
        "scale": scale.name,
        "faults": ",".join(faults),
        "strikes": dict(enumerate(done.strikes, 1)),
        "events": offline.events,
        "ticks": offline.ticks,
        **(_of_kills(done) if KILLS in faults else {}),
        "slowest_stop_s": round(done.slowest_stop_s, 1),
        "sessions": len({key for key, _ in offline.sessions}),
        "records_told_gone": found.gone,
        "stations_judged_anew": found.judged_anew,
        "rebuild": {"sessions": found.rebuilt, "corrected": found.corrected},
        "compared": {name: each._asdict() for name, each in found.compared.items()},
        "lost": sum(each.lost for each in compared),
        "doubled": sum(each.doubled for each in compared),
        "different": sum(each.different for each in compared),
        "received_events_in_counters": sum(each[0] for each in counters(told.states).values()),
        "longest_stall_of_healthy": _stall(observer, done),
        "alert_latency_s": {
            "clickhouse away, nothing else": _latency(observer, offline, done.quiet_ms),
            "clickhouse away": _latency(observer, offline, done.away_ms),
            "whole run": _latency(observer, offline, (0.0, 1e15)),
        },
        "failures": [*_failures(done, found), *_shortfalls(scale, faults, done, report, offline, hurried, found.gone)],
    }


def _of_kills(done: Log) -> dict[str, Any]:
    return {
        "kills": {phase: done.kills[phase] for phase in sorted(done.kills | dict.fromkeys(PHASES, 0))},
        "least_lag_at_a_kill": done.least_lag if done.kills else None,
        "pauses": done.pauses,
        "stops": done.stops,
        "joins": done.joins,
        "broker_restarts": done.broker_restarts,
        "clickhouse_away_s": round(done.clickhouse_away_s, 1),
    }


def _failures(done: Log, found: Findings) -> list[str]:
    failures = [*done.faults, *(f"{name}: {each}" for name, each in found.compared.items() if each.bad)]
    if (wrong := unbalanced(counters(found.told.states))) != 0:
        failures.append(f"{wrong} stations have received events that are not accounted for")
    if found.wrongly_corrected:
        failures.append(f"rebuild would correct {found.wrongly_corrected} sessions")
    return failures


def _shortfalls(
    scale: Scale,
    faults: Sequence[str],
    done: Log,
    report: Mapping[str, Any],
    offline: Told,
    hurried: bool,
    gone: int,
) -> list[str]:
    """Where the run was less than it should have been: then it proves nothing.

    The short run stands in the test suite, on machines of any speed: what it hits and how much waits then is chance.
    """
    kills = scale.kills if KILLS in faults else 0
    missing = [phase for phase in PHASES if kills and not done.kills[phase]]
    checks = {
        f"{sum(done.kills.values())} kills of {kills}": sum(done.kills.values()) < kills,
        **{f"{name} did not strike": not done.struck[name] for name in faults if name != KILLS},
        f"{offline.events} events, at least {scale.least_events} are needed": offline.events + gone
        < scale.least_events,
        f"{report['failed']} events were refused by the broker: {report['first_error']}": report["failed"] > 0,
        f"{offline.events} events in the topic, {report['events']} were sent, {gone} are gone": not (
            0 <= report["events"] - offline.events <= gone  # ticks can be gone, too
        ),
        "records were removed, and nobody missed them": gone == 0 and "retention" in faults,
    }
    by_pace = {
        f"no kill hit {', '.join(missing)}": bool(missing),
        "the load ended before the schedule": hurried,
        "a kill without lag": kills > 0 and done.least_lag <= 0,
    }
    if scale.name == "full":
        checks |= by_pace
    return [text for text, failed in checks.items() if failed]


def _stall(observer: Observer, done: Log) -> dict[str, Any]:
    """The longest time without output of a partition whose worker nobody touched, and after which kill it was."""
    if not done.aftermaths:
        return {"seconds": 0.0}
    gap, kill = max(
        (observer.longest_gap(each.partitions, each.since, each.until), each.kill) for each in done.aftermaths
    )
    where = f"partition {gap.partition}, from {gap.after:.1f} s after the kill {kill}"
    return {"seconds": round(gap.seconds, 2), "where": where}


def _latency(observer: Observer, offline: Told, between_ms: tuple[float, float]) -> dict[str, float | int]:
    """Seconds from the append of the cause in meter-events to a read-committed consumer of anomalies."""
    since, until = between_ms
    seconds: list[float] = []
    for value, caused_ms in offline.caused_ms.items():
        alert = decode_alert(value)
        seen_ms = observer.alerts_ms.get((alert.alert_id.encode(), alert.state.encode()))
        if seen_ms is not None and since <= caused_ms < until:
            seconds.append((seen_ms - caused_ms) / 1000)
    seconds.sort()
    if not seconds:
        return {"alerts": 0}
    return {
        "alerts": len(seconds),
        "p50": round(seconds[len(seconds) // 2], 3),
        "p99": round(seconds[len(seconds) * 99 // 100], 3),
    }
