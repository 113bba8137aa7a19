"""Quirks of messages and names: which messages are lost or repeated, and which session a message names.

Each function returns the sessions that it touched, or None for all.
"""

from __future__ import annotations

from dataclasses import replace
from random import Random

from pipeline.edge.chargers.choices import Touched, charged, inside, some
from pipeline.edge.chargers.tape import STATES, Call, Kind, Tape
from pipeline.edge.chargers.truth import MINUTE, SECOND

LINKED: tuple[Kind, ...] = ("start", "activity", "sample", "stop")
"""Calls that name a transaction (1.6: activities do not)."""


# --- lost, stale, repeated --------------------------------------------------------------------------------------------


def loses(tape: Tape, random: Random, kind: Kind) -> Touched:
    """Calls of `kind` of some sessions never arrive and are not sent again."""
    touched = some(tape, random)
    tape.calls = [call for call in tape.calls if call.kind != kind or call.session not in touched]
    return touched


def loses_state(tape: Tape, random: Random, word: str) -> Touched:
    """Changes to this state are not reported, neither with samples; the state before stays."""
    touched = []
    for session in charged(tape):
        said = [call for call in tape.calls if call.session is session and call.kind in ("activity", "sample")]
        if any(call.state == word for call in said):
            touched.append(session)
        before = "" if not said or said[0].state == word else said[0].state
        for call in said:
            if call.state == word:
                call.state = before
            else:
                before = call.state
        known = ""
        for call in said:
            if call.kind == "activity" and call.state in ("", known):
                tape.calls.remove(call)
            elif call.kind == "activity":
                known = call.state
    tape.number()  # what is not reported is no lost message
    return touched


def loses_status(tape: Tape, random: Random, word: str) -> Touched:
    tape.calls = [call for call in tape.calls if call.kind != "status" or call.status != word]
    return None


def repeats_statuses(tape: Tape, random: Random) -> Touched:
    """After a reconnect the station repeats old statuses, with the times that they had."""
    statuses = [call for call in tape.calls if call.kind == "status" or (call.kind == "activity" and not tape.text_ids)]
    for call in statuses:
        if random.random() < 0.4:
            later = call.sent_us + random.randrange(10, 120) * MINUTE
            tape.calls.append(replace(call, message_id=tape.new_id(), sent_us=later))
    return None


def suspended_before_start(tape: Tape, random: Random) -> Touched:
    """A status of the car before: SuspendedEV a minute before the start, and the Charging that follows is lost."""
    touched = [session for session in some(tape, random) if session.periods[0].activity == "charging"]
    for session in touched:
        first = next((call for call in tape.calls if call.session is session and call.kind == "activity"), None)
        if first is not None and first.at_us < session.start_us + 2 * SECOND and first.state == STATES["charging"]:
            tape.calls.remove(first)
        stale = Call(kind="activity", at_us=session.start_us - MINUTE, connector_id=session.connector_id)
        stale.state = STATES["idle"]
        tape.add(stale)
    return touched


def retries(tape: Tape, random: Random, same_id: bool) -> Touched:
    """Starts and stops come again after some seconds, because their answer took too long."""
    for call in tape.of("start", "stop"):
        if random.random() < 0.6:
            name = call.message_id if same_id else tape.new_id()
            tape.calls.append(replace(call, message_id=name, sent_us=call.sent_us + random.randrange(5, 50) * SECOND))
    return None


def drops_updates(tape: Tape, random: Random) -> Touched:
    """A station low on memory leaves out Updated events: gaps in seqNo."""
    touched = some(tape, random)
    for session in touched:
        samples = [call for call in tape.calls if call.kind == "sample" and call.session is session]
        for call in samples[1:-1]:
            if random.random() < 0.2:
                tape.calls.remove(call)
    return touched


def names_driver_late(tape: Tape, random: Random) -> Touched:
    """The Started has neither idToken nor EVSE; both come with the first event after it."""
    for start in tape.of("start"):
        following = next(
            (call for call in tape.calls if call.session is start.session and call.kind in ("activity", "sample")), None
        )
        if following is not None:
            following.token, start.token, start.names_evse = start.token, None, False
            start.entries, held = [], start.entries
            following.entries = [*held, *following.entries]
    return None


def unstamped_start(tape: Tape, random: Random) -> Touched:
    touched = some(tape, random)
    for call in tape.of("start"):
        if call.session in touched:
            call.stamped = False
    return touched


def boots_in_session(tape: Tape, random: Random) -> Touched:
    """The station restarts, and the session goes on."""
    touched = some(tape, random)
    for session in touched:
        tape.add(Call(kind="boot", at_us=inside(session, random)))
    return touched


def stopped_by_another(tape: Tape, random: Random) -> Touched:
    """Another tag of the same group stops the session; who started it pays."""
    touched = some(tape, random)
    tokens = [session.token for session in tape.station.every_session]
    for call in tape.of("stop"):
        if call.session in touched and call.session is not None:
            call.token = random.choice([token for token in tokens if token != call.session.token])
    return touched


# --- names ------------------------------------------------------------------------------------------------------------


def reading_ids(tape: Tape, random: Random, name: str | None) -> Touched:
    """Readings name `name` as their transaction; None: none at all (2.0.1: they come as MeterValues)."""
    for call in tape.of("sample"):
        call.transaction = name
        call.in_transaction = name is not None
    if name is None:
        tape.number()
    return None


def answers_not_logged(tape: Tape, random: Random) -> Touched:
    tape.answers_logged = False
    return None


def loses_start_answer(tape: Tape, random: Random) -> Touched:
    """The answer to the start is lost: readings and stop say -1, the stop names the tag."""
    touched = some(tape, random)
    for call in tape.of(*LINKED):
        if call.session in touched and call.session is not None:
            call.answered = call.answered and call.kind != "start"
            call.transaction = "-1"
            if call.kind == "stop":
                call.token, call.reason = call.session.token, "Local"
    return touched


def shares_ids(tape: Tape, random: Random) -> Touched:
    """The central system makes ids from its clock: the n-th sessions of all connectors share one. Stops have tags."""
    names = [session.transaction_id for session in tape.station.sessions[0]]
    shared = {id(each): names[place] for sessions in tape.station.sessions for place, each in enumerate(sessions)}
    for call in tape.of(*LINKED):
        if call.session is not None and call.transaction == call.session.transaction_id:
            call.transaction = shared[id(call.session)]
            if call.given:
                call.given = shared[id(call.session)]
            if call.kind == "stop":
                call.token = call.session.token
    return None


def doubles_start(tape: Tape, random: Random) -> Touched:
    """One charge under two transactions: started again 8 s later, with readings and stops under both."""
    touched = some(tape, random)
    names = {id(call.session): call.given for call in tape.of("start")}
    for call in tape.of(*LINKED):
        if call.session not in touched or (call.kind == "activity" and not tape.text_ids):
            continue
        if call.kind == "sample" and call.transaction != names.get(id(call.session)):
            continue  # it names no transaction that could be another
        again = replace(call, message_id=tape.new_id(), sent_us=call.sent_us + 3 * SECOND)
        if call.transaction == names.get(id(call.session)):
            again.transaction = f"{call.transaction}9"
        again.given = call.given and f"{call.given}9"
        if call.kind == "start":
            again.at_us, again.sent_us = call.at_us + 8 * SECOND, call.sent_us + 8 * SECOND
        tape.calls.append(again)
    return touched


def restarts_message_ids(tape: Tape, random: Random) -> Touched:
    """A boot before each session that finds the station free; from then on message ids start again."""
    busy = [(session.start_us - MINUTE, session.end_us + MINUTE) for session in tape.station.every_session]
    for session in sorted(tape.station.every_session, key=lambda each: each.start_us)[1:]:
        at_us = session.start_us - 70 * SECOND
        if not any(since <= at_us <= until for since, until in busy):
            tape.add(Call(kind="boot", at_us=at_us))
    number, names = 0, dict[str, str]()
    for call in sorted(tape.calls, key=lambda each: each.sent_us):
        if call.kind == "boot":
            number, names = 0, {}
        if call.message_id not in names:
            number += 1
            names[call.message_id] = str(number)
        call.message_id = names[call.message_id]
    return None
