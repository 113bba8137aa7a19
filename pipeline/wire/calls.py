"""Which answer belongs to which call: an answer names its call by the message id only, and says nothing of its action.

A message id is unique on one connection only. So an answer belongs to the last call with its id that was received
before it on the same connection; link markers divide connections, and an id that is used again for something else ends
the call that waited under it. A start is known by its content too: the same start sent again keeps its name, another
start under the same id gets another one. All of it is judged by the times of receipt, so the order in the log does not
matter.

The rule of this file: keyed hashes and times only, no identifier.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Callable
from operator import itemgetter
from typing import Final

import msgspec

from pipeline.errors import InvalidMessage

KEEP_US: Final = 30 * 60 * 1_000_000
"""How long a call waits for its answer, and an answer for its call."""
MOST_KEPT: Final = 128
"""Of each kind and station; beyond it the oldest is given up. Reached only where one direction is not logged."""
MOST_LINKS: Final = 64
SLOW_US: Final = 10 * 1_000_000


class Confirmation(msgspec.Struct, array_like=True, gc=False):
    """What is kept of an answer to StartTransaction, or of one that came before its call: no identifier."""

    received_us: int
    transaction: str | None = None
    accepted: bool = True
    of_start: bool = True
    """It may answer a StartTransaction: it has a field that only those have."""


class Calls(msgspec.Struct, array_like=True):
    """Open calls and early answers of one station, by call key (of station, direction, message id). Encode with
    msgspec.msgpack; new fields come last, so that older records are read."""

    starts: dict[str, int] = {}
    """StartTransaction without an answer: when it was received."""
    confirmed: dict[str, Confirmation] = {}
    """Name of a StartTransaction with its answer: the first one wins, also when call or answer are repeated."""
    others: dict[str, int] = {}
    """Any other call without an answer, of both directions."""
    early: dict[str, Confirmation] = {}
    """Answers that were logged before their call, by its key and the time (older records: by the key)."""
    answered: int = 0
    surplus: int = 0
    """Answers to no call, or to one that was answered."""
    unanswered: int = 0
    errors: int = 0
    """CALLERRORs; they end a call without confirming it."""
    slow: int = 0
    """Answers more than 10 s after their call."""
    names: dict[str, str] = {}
    """Name of the StartTransaction that used a message id last; in older records it was the key itself."""
    links: list[tuple[int, bool]] = []
    """When connections came (True) and went, in order of time."""
    again: dict[str, int] = {}
    """When a start that waits was received for the last time, if more than once: each may get an answer of its own."""


def expire(calls: Calls, now_us: int) -> None:
    """Gives up what has waited for 30 minutes, and counts it."""
    horizon = now_us - KEEP_US
    for key in [key for key, at in calls.starts.items() if at <= horizon]:
        _end_start(calls, key, horizon)
        calls.unanswered += 1
    for key in [key for key, at in calls.others.items() if at <= horizon]:
        del calls.others[key]
        calls.unanswered += 1
    for key in [key for key, answer in calls.early.items() if answer.received_us <= horizon]:
        del calls.early[key]
        calls.surplus += 1
    for key in [key for key, answer in calls.confirmed.items() if answer.received_us <= horizon]:
        del calls.confirmed[key]
    for key in [key for key, name in calls.names.items() if key not in calls.starts and name not in calls.confirmed]:
        del calls.names[key]
    while len(calls.links) > 1 and calls.links[1][0] <= horizon:
        del calls.links[0]  # one older than all that waits shows whether a connection was open


def deadline_us(calls: Calls) -> int | None:
    """When `expire` has something to do next; None: nothing waits."""
    waiting = [min(times.values()) for times in (calls.starts, calls.others) if times]
    waiting += [min(a.received_us for a in answers.values()) for answers in (calls.confirmed, calls.early) if answers]
    return min(waiting) + KEEP_US if waiting else None


def note_link(calls: Calls, received_us: int, *, up: bool) -> None:
    """A connection of the station came or went."""
    if (received_us, up) not in calls.links:
        insort(calls.links, (received_us, up))
        del calls.links[:-MOST_LINKS]


def note_start(calls: Calls, key: str, name: str, received_us: int) -> Confirmation | None:
    """A StartTransaction was received. Its answer, if that is known: a repeated start must not wait for an answer that
    nobody sends twice; one that was sent again after its answer may get another, so it waits as well."""
    if calls.others.get(key, received_us) < received_us:  # the id is used again: nobody will answer the former call
        del calls.others[key]
        calls.unanswered += 1
    if calls.names.get(key, name) != name:
        _give_way(calls, key, received_us)
    calls.names[key] = name
    _give_up_oldest(calls.names, 2 * MOST_KEPT)
    known = calls.confirmed.get(name)
    if known is not None and received_us <= known.received_us:
        return known
    early = _early(calls, key, received_us, start=True)
    if early is not None:
        _confirm(calls, name, early)
        return early
    first = calls.starts.setdefault(key, received_us)
    calls.starts[key] = min(first, received_us)
    if first != received_us:
        calls.again[key] = max(first, received_us, calls.again.get(key, 0))
    if len(calls.starts) > MOST_KEPT:
        _end_start(calls, next(iter(calls.starts)), received_us)
        calls.unanswered += 1
    return known


def note_call(calls: Calls, key: str, received_us: int) -> None:
    """Any other CALL was received, of either side."""
    _give_way(calls, key, received_us)
    if _early(calls, key, received_us, start=False) is None:
        calls.others[key] = max(received_us, calls.others.get(key, 0))
        calls.unanswered += _give_up_oldest(calls.others)


def note_answer(
    calls: Calls, key: str, received_us: int, read: Callable[[], Confirmation]
) -> tuple[str, Confirmation] | None:
    """A CALLRESULT was received. If it answers a StartTransaction: the name of that and its answer. Otherwise an answer
    that finds no call waits for it: it may be the one that names a transaction.

    `read` may raise InvalidMessage: then it is not the answer of an open start, and `calls` are as they were."""
    called_us = _open_start(calls, key, received_us)
    if called_us is not None:
        answer = read()
        if not answer.of_start:
            calls.surplus += 1
            return None
        name = calls.names.get(key, key)
        _end_start(calls, key, received_us)
        _count(calls, called_us, received_us)
        _confirm(calls, name, answer)
        return name, answer
    if _close_other(calls, key, received_us):
        return None
    known = calls.confirmed.get(calls.names.get(key, key))
    waits = f"{key}@{received_us}"
    if waits in calls.early or (known is not None and received_us <= known.received_us):
        calls.surplus += 1
        return None
    try:
        answer = read()
    except InvalidMessage:
        answer = Confirmation(received_us, of_start=False)
    calls.early[waits] = answer
    calls.surplus += _give_up_oldest(calls.early)
    return None


def note_error(calls: Calls, key: str, received_us: int) -> None:
    """A CALLERROR was received."""
    calls.errors += 1
    called_us = _open_start(calls, key, received_us)
    if called_us is None:
        _close_other(calls, key, received_us)
        return
    _end_start(calls, key, received_us)
    _count(calls, called_us, received_us)


def _open_start(calls: Calls, key: str, received_us: int) -> int | None:
    """When the start was called that waits for an answer of this time."""
    if key not in calls.starts:
        return None
    times = (calls.starts[key], calls.again.get(key))
    return next((at for at in times if at is not None and _is_answer(calls, at, received_us)), None)


def _end_start(calls: Calls, key: str, at_us: int) -> None:
    """It waits no longer, unless it was sent again later."""
    del calls.starts[key]
    again = calls.again.pop(key, None)
    if again is not None and again > at_us:
        calls.starts[key] = again


def _close_other(calls: Calls, key: str, received_us: int) -> bool:
    called_us = calls.others.get(key)
    if called_us is None or not _is_answer(calls, called_us, received_us):
        return False
    del calls.others[key]
    _count(calls, called_us, received_us)
    return True


def _count(calls: Calls, called_us: int, received_us: int) -> None:
    calls.answered += 1
    calls.slow += received_us - called_us > SLOW_US


def _is_answer(calls: Calls, called_us: int, received_us: int) -> bool:
    return called_us <= received_us and not _divided(calls, called_us, received_us)


def _divided(calls: Calls, first_us: int, last_us: int) -> bool:
    """Whether the two times are on different connections. A connection that ended while a newer one was open already
    (its end is noticed late) divides nothing: what is said is said on the newer one."""
    open_now = 0
    for at, up in calls.links:
        if at > last_us:
            break
        open_now = open_now + 1 if up else max(open_now - 1, 0)
        if at > first_us and (up or not open_now):
            return True
    return False


def _give_way(calls: Calls, key: str, received_us: int) -> None:
    """The id of an open start is used again for another call: nobody will answer the start any more."""
    if calls.starts.get(key, received_us) < received_us:
        _end_start(calls, key, received_us)
        calls.unanswered += 1


def _early(calls: Calls, key: str, called_us: int, *, start: bool) -> Confirmation | None:
    """The first answer that was logged before its call and received after it."""
    if not calls.early:
        return None
    found = [(answer.received_us, waits, answer) for waits, answer in calls.early.items() if waits.startswith(key)]
    for _, waits, answer in sorted(found, key=itemgetter(0)):
        if _is_answer(calls, called_us, answer.received_us) and (answer.of_start or not start):
            del calls.early[waits]
            _count(calls, called_us, answer.received_us)
            return answer
    return None


def _confirm(calls: Calls, name: str, answer: Confirmation) -> None:
    calls.confirmed[name] = answer
    _give_up_oldest(calls.confirmed)


def _give_up_oldest(kept: dict[str, int] | dict[str, Confirmation] | dict[str, str], most: int = MOST_KEPT) -> int:
    """Keeps the state small; returns how many were given up."""
    if len(kept) <= most:
        return 0
    del kept[next(iter(kept))]
    return 1
