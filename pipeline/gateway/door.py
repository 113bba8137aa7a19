"""The listening socket. Strangers, which are connections that are no charger yet, get few file descriptors and no log.

The rule of the file: the slowest stranger leaves first. A charger finishes its handshake in milliseconds, so when too
many strangers are open, the oldest one is closed. No connection is refused here, and no address has its own limit: a
whole fleet may come through one proxy.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import resource
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from pipeline.errors import WrongUsage

STRANGERS = 512
"""Open connections of strangers, without those whose password is being checked."""
SPARE_FILES = 256
"""For Kafka, probes, the passwords file, and connections that are just closing."""
TELL_S = 60.0
_NO_RESOURCES = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})

_log = logging.getLogger(__name__)


class Door(socket.socket):
    """Listens, for TLS and plain alike; `dropped` is called for each stranger that had to leave."""

    def __init__(self, host: str, port: int, dropped: Callable[[], None], strangers: int = STRANGERS) -> None:
        """Binds to the first address of `host`. Raises OSError."""
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        super().__init__(family, kind, protocol)
        self._dropped = dropped
        self._most = strangers
        self._strangers: dict[Any, _Stranger] = {}
        try:
            self.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self.bind(address)
        except OSError:
            self.close()
            raise

    def accept(self) -> tuple[socket.socket, Any]:
        accepted, address = super().accept()
        if len(self._strangers) >= self._most:
            self._drop_the_slowest()
        stranger = self._strangers[address] = _Stranger(accepted, address, self._strangers)
        return stranger, address

    def is_charger(self, address: Any) -> None:
        """The connection from `address` (host, port, ...) is no longer a stranger's."""
        self._strangers.pop(address, None)

    @contextmanager
    def waits_for_us(self, address: Any) -> Iterator[None]:
        """Inside, the connection is not closed as slow, because the delay is ours."""
        stranger = self._strangers.pop(address, None)
        try:
            yield
        finally:
            if stranger is not None and stranger.fileno() >= 0:
                self._strangers[address] = stranger

    def _drop_the_slowest(self) -> None:
        stranger = self._strangers.pop(next(iter(self._strangers)))
        with suppress(OSError):  # it has just gone by itself
            stranger.shutdown(socket.SHUT_RDWR)  # asyncio sees the end and closes it
        self._dropped()


class _Stranger(socket.socket):
    """Leaves the list of strangers when asyncio closes it."""

    def __init__(self, accepted: socket.socket, address: Any, listed: dict[Any, _Stranger]) -> None:
        super().__init__(accepted.family, accepted.type, accepted.proto, fileno=accepted.detach())
        self._address = address
        self._listed = listed

    def close(self) -> None:
        if self._listed.get(self._address) is self:
            del self._listed[self._address]
        super().close()


class AcceptErrors:
    """A handler for asyncio's loop, which would log a failed accept() with a traceback, a hundred times a second."""

    def __init__(self) -> None:
        self._count = 0
        self._told: float | None = None

    def __call__(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        if not isinstance(error, OSError) or error.errno not in _NO_RESOURCES or "socket" not in context:
            loop.default_exception_handler(context)
            return
        self._count += 1
        if self._told is None or time.monotonic() - self._told > TELL_S:
            self._told = time.monotonic()
            _log.error("connections cannot be accepted: %s (%d times since the start)", error.strerror, self._count)


def provide_files(connections: int, waiting: int) -> None:
    """Raises this process' limit of open files as far as needed and allowed. Raises WrongUsage if that is too little.

    `connections`: of chargers; `waiting`: strangers whose password is being checked.
    """
    needed = connections + waiting + STRANGERS + SPARE_FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < needed:
        raise WrongUsage(
            f"CHARGELINE_GATEWAY_CONNECTIONS={connections} needs a limit of {needed} open files, this process may have "
            f"{hard}: raise it (ulimit -Hn, LimitNOFILE=, ulimits in compose), or accept fewer chargers"
        )
    if soft != resource.RLIM_INFINITY and soft < needed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))
