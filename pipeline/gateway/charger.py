"""One connected charger: reads a frame, writes it to Kafka together with our answer, and only then answers.

One frame at a time: OCPP allows one open call per direction, and the next frames wait in the charger's socket.
"""

from __future__ import annotations

import asyncio
import time

from websockets.asyncio.server import ServerConnection
from websockets.exceptions import ConnectionClosed
from websockets.frames import CloseCode

from pipeline import metrics
from pipeline.errors import Unavailable
from pipeline.gateway import frames
from pipeline.gateway.answers import Answers
from pipeline.gateway.frames import Answer, Malformed, Protocol
from pipeline.gateway.records import RecordWriter
from pipeline.metrics import Meters

MOST_MALFORMED = 10
"""So many bad frames in a row end the connection: each becomes a dead letter, and a flood of them stops the worker."""


class Charger:
    """Lives as long as its connection."""

    stage = "gateway"

    def __init__(
        self, connection: ServerConnection, answers: Answers, protocol: Protocol, writer: RecordWriter, meters: Meters
    ) -> None:
        self.replaced = False
        self._connection = connection
        self._answers = answers
        self._station = answers.station
        self._protocol = protocol
        self._key = answers.station.encode()
        self._writer = writer
        self._meters = meters
        self._busy = asyncio.Lock()
        self._malformed = 0

    async def serve(self) -> None:
        """Until the connection ends. When Kafka does not take a frame, the connection is closed without an answer: the
        charger keeps its message and comes back with it."""
        try:
            await self._writer.write(self._key, [frames.link(self._station, _now_us(), "up")])
            while True:
                data = await self._connection.recv(decode=False)
                async with self._busy:
                    await self._take(data)
        except ConnectionClosed:
            return
        except Unavailable:
            self._meters.count(metrics.GATEWAY_FRAMES, self.stage, "unacknowledged")
            await self._connection.close(CloseCode.TRY_AGAIN_LATER)

    async def gone(self) -> None:
        """Records that the link is down, unless a newer connection has taken over."""
        if not self.replaced:
            try:
                await self._writer.write(self._key, [frames.link(self._station, _now_us(), "down")])
            except Unavailable:
                self._meters.count(metrics.GATEWAY_FRAMES, self.stage, "link_down_lost")

    async def finish(self) -> None:
        """Closes after the answer to the present frame; does not wait for a charger that does not read its answer."""
        try:
            async with asyncio.timeout(self._writer.timeout_s + 2), self._busy:
                await self._connection.close(CloseCode.GOING_AWAY)
        except TimeoutError:
            await self._connection.close(CloseCode.GOING_AWAY)

    async def replace(self) -> None:
        """A newer connection of the same station has come."""
        self.replaced = True
        await self._connection.close(CloseCode.POLICY_VIOLATION, "replaced by a newer connection")

    async def _take(self, data: bytes) -> None:
        began, now_us = time.monotonic(), _now_us()
        frame = frames.parse(data)
        malformed = isinstance(frame, Malformed)
        json = not (isinstance(frame, Malformed) and not frame.json)
        records = [frames.received(self._station, now_us, self._protocol, data, json=json)]
        answer = None
        if not isinstance(frame, Answer):
            answer = self._answers.answer(self._protocol, frame, now_us)
            records.append(frames.answered(self._station, _now_us(), self._protocol, answer))
        await self._writer.write(self._key, records)
        self._meters.observe(metrics.GATEWAY_ACKNOWLEDGED, self.stage, value=time.monotonic() - began)
        self._meters.count(metrics.GATEWAY_FRAMES, self.stage, _outcome(answer))
        if answer is not None:
            await self._connection.send(answer.decode())
        self._malformed = self._malformed + 1 if malformed else 0
        if self._malformed >= MOST_MALFORMED:
            await self._connection.close(CloseCode.PROTOCOL_ERROR, "no OCPP-J frames")


def _outcome(answer: bytes | None) -> str:
    if answer is None:
        return "recorded"
    return "answered" if answer.startswith(b"[3") else "refused"


def _now_us() -> int:
    return time.time_ns() // 1000
