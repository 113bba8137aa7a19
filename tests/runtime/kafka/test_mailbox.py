"""Calls are made by the thread that serves, in order, and their results go to who asked."""

from __future__ import annotations

import threading
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from pipeline.runtime.kafka.mailbox import Mailbox


def test_who_asks_gets_what_the_serving_thread_found_or_raised() -> None:
    mailbox: Mailbox = Mailbox()
    done: Future[None] = Future()

    def fails() -> None:
        raise KeyError("no such partition")

    with ThreadPoolExecutor(1) as other:
        asked = other.submit(lambda: mailbox.ask(threading.get_ident))
        failing = other.submit(lambda: mailbox.ask(fails))
        failing.add_done_callback(lambda _: done.set_result(None))
        assert mailbox.serve_until(done, 5)
        assert asked.result() == threading.get_ident()
        with pytest.raises(KeyError, match="no such partition"):
            failing.result()


def test_waiting_serves_and_ends_with_what_is_waited_for_or_its_time() -> None:
    mailbox, made = Mailbox(), list[int]()
    done: Future[None] = Future()
    mailbox.put(lambda: made.append(1))
    assert not mailbox.serve_until(done, 0.05)
    assert made == [1]
    mailbox.put(lambda: made.append(2))
    mailbox.put(lambda: done.set_exception(ValueError("what is waited for failed")))
    mailbox.put(lambda: made.append(3))
    with pytest.raises(ValueError, match="waited for"):
        mailbox.serve_until(done)
    assert made == [1, 2]
    mailbox.serve()
    assert made == [1, 2, 3]
