"""The whole taxonomy of failures: a bad message, a dependency that is down; any other exception is our bug.

A bad message becomes a dead letter and the stream goes on. A dependency that is down is waited for. Our bug
commits nothing and stops the worker.
"""

from __future__ import annotations


class InvalidMessage(Exception):
    """Bytes or values that no retry can make right. `reason` is a short stable code, `detail` says what to do.

    Neither may carry an identifier: both travel in headers, logs and metric labels.
    """

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason
        self.detail = detail


class Unavailable(Exception):
    """A dependency (broker, ClickHouse) cannot be reached now; waiting and trying again is right."""


class WrongUsage(Exception):
    """Settings, files or arguments are wrong; the text names the file, field or variable and what to do (exit 2)."""
