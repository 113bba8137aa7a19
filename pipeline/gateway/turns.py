"""How often a client may fail, and whose turn it is: bounds for the cost of guesses.

Nobody can lock a charger out: a budget belongs to an address, or to an identity as tried from one address, so guesses
from other addresses do not count. An address is an IPv4 address or the /64 of an IPv6 one.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Hashable
from contextlib import asynccontextmanager
from ipaddress import IPv6Address, ip_address

MOST_KEYS = 10_000
"""Budgets that are remembered; the one that was used longest ago is forgotten first."""


class TooMany(Exception):
    """Nothing was decided: too many failures, or too many wait."""


class Budget:
    """`burst` failures at once; one more every `every_s` seconds."""

    def __init__(self, burst: int, every_s: float) -> None:
        self._burst = burst
        self._every_s = every_s
        self._used: dict[Hashable, tuple[float, float]] = {}

    def is_spent(self, key: Hashable) -> bool:
        return self._level(key) > self._burst - 1

    def spend(self, key: Hashable) -> None:
        used = self._level(key) + 1, time.monotonic()
        self._used.pop(key, None)
        if len(self._used) >= MOST_KEYS:
            del self._used[next(iter(self._used))]
        self._used[key] = used

    def _level(self, key: Hashable) -> float:
        count, at = self._used.get(key, (0.0, 0.0))
        return max(0.0, count - (time.monotonic() - at) / self._every_s)


class Turns:
    """`at_once` work, `most` wait. Addresses take turns, so a thousand of one address delay another by one turn."""

    def __init__(self, at_once: int, most: int) -> None:
        self._free = at_once
        self._most = most
        self._queues: dict[str, deque[asyncio.Future[None]]] = {}

    @asynccontextmanager
    async def turn(self, address: str) -> AsyncIterator[None]:
        """Inside, it is the turn of `address`. Raises TooMany at once when the queue is full."""
        if self._free:
            self._free -= 1
        else:
            await self._wait(address)
        try:
            yield
        finally:
            self._next()

    async def _wait(self, address: str) -> None:
        if sum(map(len, self._queues.values())) >= self._most:
            raise TooMany
        mine: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._queues.setdefault(address, deque()).append(mine)
        try:
            await mine
        except asyncio.CancelledError:
            if mine.cancelled():
                self._forget(address, mine)
            else:  # the turn had been given to us at the same moment
                self._next()
            raise

    def _next(self) -> None:
        while self._queues:
            address = next(iter(self._queues))
            queue = self._queues.pop(address)
            first = queue.popleft()
            if queue:
                self._queues[address] = queue  # behind the other addresses
            if not first.cancelled():
                first.set_result(None)
                return
        self._free += 1

    def _forget(self, address: str, future: asyncio.Future[None]) -> None:
        queue = self._queues.get(address)
        if queue is not None and future in queue:
            queue.remove(future)
            if not queue:
                del self._queues[address]


def network(host: str) -> str:
    """What counts as one address: an IPv6 host has a whole /64. Zones and names stay as they are."""
    try:
        found = ip_address(host)
    except ValueError:
        return host
    if isinstance(found, IPv6Address):
        return str(found.ipv4_mapped or found.exploded[:19])
    return host
