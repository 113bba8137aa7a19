"""Hands calls from other threads to the one thread that may make them."""

from __future__ import annotations

import queue
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

ANSWER_S = 20.0
"""How long `ask` waits."""

Result = TypeVar("Result")


class Mailbox:
    """`put` and `ask` are for other threads, the rest for the one that makes the calls."""

    def __init__(self) -> None:
        self._calls: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()

    def put(self, call: Callable[[], None]) -> None:
        """Returns at once; an exception of the call is raised in the serving thread."""
        self._calls.put(call)

    def ask(self, call: Callable[[], Result]) -> Result:
        """Returns or raises what the call does. Raises TimeoutError if it was not made within ANSWER_S."""
        answer: Future[Result] = Future()

        def serve() -> None:
            try:
                answer.set_result(call())
            except Exception as error:
                answer.set_exception(error)

        self._calls.put(serve)
        return answer.result(ANSWER_S)

    def serve(self) -> None:
        """Makes the calls that are in the queue."""
        for _ in range(self._calls.qsize()):
            self._calls.get()()

    def serve_until(self, done: Future[Any], timeout_s: float | None = None) -> bool:
        """Makes calls until `done`, or returns False after `timeout_s`; raises what `done` raises."""
        done.add_done_callback(lambda _: self._calls.put(_wake))
        until = None if timeout_s is None else time.monotonic() + timeout_s
        while not done.done():
            try:
                self._calls.get(timeout=None if until is None else max(0.0, until - time.monotonic()))()
            except queue.Empty:
                return False
        done.result()
        return True


def _wake() -> None:
    """Ends a wait for the next call."""
