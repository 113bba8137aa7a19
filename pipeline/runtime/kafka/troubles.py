"""Troubles that only an operator can fix. Each is a sentence in the log and on /readyz until it is cleared."""

from __future__ import annotations

import logging
import threading
import time

from pipeline.metrics import TROUBLES, Meters

log = logging.getLogger(__name__)

SAY_AGAIN_S = 60.0


class Troubles:
    """The troubles of one stage or sink. Used from several threads."""

    def __init__(self, stage: str, meters: Meters) -> None:
        self._stage = stage
        self._meters = meters
        self._lock = threading.Lock()
        self._known: dict[str, tuple[float, str]] = {}
        """By name: when it becomes a trouble (monotonic seconds) and its sentence."""
        self._said: dict[str, float] = {}

    def __bool__(self) -> bool:
        return bool(self._known)

    def report(self, name: str, sentence: str, patience_s: float = 0.0) -> None:
        """Reports a trouble; callers repeat this while it lasts. It may pass by itself in the first `patience_s`."""
        now = time.monotonic()
        with self._lock:
            since = self._known.get(name, (now + patience_s, ""))[0]
            self._known[name] = since, sentence
            silent = now < self._said.get(name, since - SAY_AGAIN_S) + SAY_AGAIN_S
            if not silent:
                self._said[name] = now
        if not silent:
            log.error("%s: %s", self._stage, sentence)
        self._show()

    def clear(self, name: str) -> None:
        with self._lock:
            was_known = self._known.pop(name, None) is not None
            was_said = self._said.pop(name, None) is not None
        if was_said:
            log.info("%s: %s: over", self._stage, name)
        if was_known:
            self._show()

    def is_one(self, name: str) -> bool:
        """Whether it has lasted for longer than its patience."""
        since = self._known.get(name, (float("inf"), ""))[0]
        return since <= time.monotonic()

    def sentences(self) -> list[str]:
        now = time.monotonic()
        with self._lock:
            return [sentence for since, sentence in self._known.values() if since <= now]

    def _show(self) -> None:
        self._meters.set(TROUBLES, self._stage, value=len(self.sentences()))
