"""Our own TCP proxy on loopback: the links between one worker and its brokers, which can be cut, slow or lossy.

TCP hides lost packets: what programs see of them is that bytes come late, or that the connection is reset.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine, Sequence
from contextlib import suppress
from dataclasses import dataclass
from random import Random
from typing import Any, Literal

HOST = "127.0.0.1"
CHUNK = 16 * 1024
RETRANSMISSION_S = 0.2
"""The first time-out after which TCP sends again; doubled with each loss of the same bytes."""


@dataclass(slots=True)
class Weather:
    """What a link does to everything that passes."""

    cut: Literal["", "silent", "refused"] = ""
    """`silent`: nothing passes and nobody is told; `refused`: connections are reset, new ones too."""
    delay_s: float = 0.0
    bytes_per_s: float = float("inf")
    loss: float = 0.0
    """Probability that a chunk has to be sent again."""
    reset: float = 0.0
    """Probability that a chunk is the last one of its connection."""


FAIR = Weather()


class Link:
    """Everything between one client and one port behind it. `port` is what the client is told."""

    def __init__(self, random: Random) -> None:
        self.port = 0
        self.target = 0
        self.weather = FAIR
        self.chunks = self.late = self.resets = 0
        self._random = random
        self._writers: set[asyncio.StreamWriter] = set()

    async def listen(self) -> None:
        server = await asyncio.start_server(self._serve, HOST, 0, limit=CHUNK)
        self.port = server.sockets[0].getsockname()[1]

    def reset_all(self) -> None:
        for writer in self._writers:
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection of the client, until one of both sides ends it."""
        behind: asyncio.StreamWriter | None = None
        self._writers.add(writer)
        try:
            if self.weather.cut != "refused":
                from_behind, behind = await asyncio.open_connection(HOST, self.target, limit=CHUNK)
                self._writers.add(behind)
                ways = [
                    asyncio.create_task(self._carry(reader, behind)),
                    asyncio.create_task(self._carry(from_behind, writer)),
                ]
                await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
                for way in ways:
                    way.cancel()
                await asyncio.gather(*ways, return_exceptions=True)
        except OSError:  # the broker is down: so is its link
            self.resets += 1
        finally:
            for each in filter(None, (writer, behind)):
                self._writers.discard(each)
                each.transport.abort()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):  # reset by one side: _serve resets the other
            while chunk := await reader.read(CHUNK):
                await self._delay(len(chunk))
                if self.weather.cut == "refused" or self._random.random() < self.weather.reset:
                    self.resets += 1
                    return
                writer.write(chunk)
                self.chunks += 1
                await writer.drain()

    async def _delay(self, size: int) -> None:
        waits = self.weather.delay_s + size / self.weather.bytes_per_s
        again = RETRANSMISSION_S
        while self._random.random() < self.weather.loss:
            waits, again = waits + again, again * 2
        if waits:
            self.late += 1
            await asyncio.sleep(waits)
        while self.weather.cut == "silent":
            await asyncio.sleep(0.05)


class Links:
    """All links of a run, by client and broker; in a thread of their own. A context manager."""

    def __init__(self, seed: int) -> None:
        self._random = Random(f"links-{seed}")  # noqa: S311 - weather, not a secret
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="links", daemon=True)

    def __enter__(self) -> Links:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._run(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def open(self) -> Link:
        """A new link; set its `target` before anybody connects."""
        link = Link(self._random)
        self._run(link.listen())
        return link

    def change(self, links: Sequence[Link], weather: Weather) -> None:
        """From now on; what is cut with `refused` also ends the connections that stand."""
        for link in links:
            link.weather = weather
            if weather.cut == "refused":
                self._loop.call_soon_threadsafe(link.reset_all)

    async def _end(self) -> None:
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _run(self, coroutine: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(10)
