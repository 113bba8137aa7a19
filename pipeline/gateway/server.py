"""The WebSocket endpoint: accepts chargers, keeps one connection per station, stops gracefully."""

from __future__ import annotations

import asyncio
import logging
import ssl
import time
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from http import HTTPStatus

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import NegotiationError
from websockets.frames import CloseCode
from websockets.http11 import Request, Response
from websockets.typing import Subprotocol

from pipeline import metrics
from pipeline.errors import Unavailable
from pipeline.gateway import handshake
from pipeline.gateway.answers import Answers
from pipeline.gateway.charger import Charger
from pipeline.gateway.door import AcceptErrors, Door
from pipeline.gateway.passwords import Passwords
from pipeline.gateway.records import RecordWriter
from pipeline.gateway.turns import TooMany, network
from pipeline.metrics import Meters

OPEN_LIMIT_S = 30.0
"""Long enough for a place in the queue of password checks while a whole fleet reconnects."""
CLOSE_LIMIT_S = 5.0
WAITING_FRAMES = 4
BEAT_S = 0.5
HANGING_S = 30.0

_log = logging.getLogger(__name__)
_quiet = logging.getLogger("pipeline.gateway.websockets")
_quiet.disabled = True  # the library's own lines show headers, frames and the text of exceptions


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """`tls` None: plain (security profile 1, for trusted networks only). `port` 0: a free one."""

    host: str
    port: int
    tls: ssl.SSLContext | None = None
    authorization: str = "Accepted"
    heartbeat_s: int = 300
    ping_s: int = 30
    frame_bytes: int = 262_144
    connections: int = 10_000


class Gateway:
    """`passwords` None: every charger may connect."""

    stage = "gateway"

    def __init__(self, options: Options, writer: RecordWriter, passwords: Passwords | None, meters: Meters) -> None:
        self.port = 0
        """The port that was bound."""
        self._options = options
        self._writer = writer
        self._passwords = passwords
        self._meters = meters
        self._chargers: dict[str, Charger] = {}
        self._replacing: set[asyncio.Task[None]] = set()
        self._beat = time.monotonic()
        self._listening = False
        self._away = False

    async def run(self, stop: asyncio.Event, ready: asyncio.Event | None = None) -> None:
        """Until `stop` is set: then frames in hand are answered and connections closed. Raises Unavailable when the
        producer cannot go on, OSError when the port cannot be bound."""
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(AcceptErrors())
        server = await self._serve()
        self.port = server.sockets[0].getsockname()[1]
        self._listening = True
        if ready is not None:
            ready.set()
        try:
            while not stop.is_set() and not self._writer.failed:
                self._beat = time.monotonic()
                self._log_kafka_outage()
                await _wait(stop, BEAT_S)
        finally:
            self._listening = False
            server.close(close_connections=False)
            await asyncio.gather(*(charger.finish() for charger in list(self._chargers.values())))
            await asyncio.gather(*self._replacing)
            await server.wait_closed()
        if self._writer.failed:
            raise Unavailable(f"the Kafka producer cannot go on: {self._writer.failed}")

    def alive(self) -> str | None:
        """Why not, or None."""
        silent = time.monotonic() - self._beat
        return f"the event loop has not turned for {silent:.0f} s" if silent > HANGING_S else None

    def ready(self) -> str | None:
        """Why not, or None."""
        if not self._listening:
            return "not listening"
        return "Kafka does not take frames" if self._writer.away else None

    async def _serve(self) -> Server:
        options = self._options
        self._door = Door(options.host, options.port, lambda: self._count_refused("handshake"))
        return await serve(
            self._serve_charger,
            sock=self._door,
            ssl=options.tls,
            ssl_handshake_timeout=OPEN_LIMIT_S if options.tls else None,
            process_request=self._admit,
            select_subprotocol=self._negotiate,
            compression=None,  # frames are small; a deflate context per connection is not
            server_header=None,
            open_timeout=OPEN_LIMIT_S,
            close_timeout=CLOSE_LIMIT_S,
            ping_interval=options.ping_s or None,
            ping_timeout=options.ping_s or None,
            max_size=options.frame_bytes,
            max_queue=WAITING_FRAMES,
            logger=_quiet,
        )

    async def _admit(self, connection: ServerConnection, request: Request) -> Response | None:
        station = handshake.identity(request.path)
        if station is None:
            return self._refuse(connection, "path", HTTPStatus.NOT_FOUND)
        if (refused := await self._authenticate(connection, station, request)) is not None:
            return refused
        if len(self._chargers) >= self._options.connections and station not in self._chargers:
            return self._refuse(connection, "full", HTTPStatus.SERVICE_UNAVAILABLE)
        connection.username = station
        return None

    async def _authenticate(self, connection: ServerConnection, station: str, request: Request) -> Response | None:
        """The refusal, or None."""
        if self._passwords is None:
            return None
        address = network(connection.remote_address[0])
        try:
            with self._door.waits_for_us(connection.remote_address):
                if await handshake.is_authentic(station, request.headers, self._passwords, address):
                    return None
        except TooMany:
            return self._refuse(connection, "failures", HTTPStatus.TOO_MANY_REQUESTS)
        response = self._refuse(connection, "authentication", HTTPStatus.UNAUTHORIZED)
        response.headers["WWW-Authenticate"] = 'Basic realm="chargers"'
        return response

    def _negotiate(self, connection: ServerConnection, offered: Sequence[Subprotocol]) -> Subprotocol | None:
        protocol = handshake.chosen(offered)
        if protocol is None:
            self._count_refused("protocol")
            raise NegotiationError("offer ocpp1.6 or ocpp2.0.1")
        return Subprotocol(protocol)

    def _refuse(self, connection: ServerConnection, reason: handshake.Refusal, status: HTTPStatus) -> Response:
        self._count_refused(reason)
        return connection.respond(status, f"{status.phrase}\n")

    async def _serve_charger(self, connection: ServerConnection) -> None:
        if not self._listening:  # its handshake ended while we began to stop
            await connection.close(CloseCode.GOING_AWAY)
            return
        self._door.is_charger(connection.remote_address)
        station = connection.username
        protocol = handshake.chosen([connection.subprotocol or ""])
        assert protocol is not None  # noqa: S101 - negotiated, or there was no connection
        answers = Answers(
            station=station,
            secret=self._passwords.secret(station) if self._passwords else b"",
            heartbeat_s=self._options.heartbeat_s,
            authorization=self._options.authorization,
        )
        charger = Charger(connection, answers, protocol, self._writer, self._meters)
        self._take_over(station, charger)
        try:
            await charger.serve()
        except Exception as error:  # our bug: this frame is not acknowledged, other chargers go on
            where = traceback.extract_tb(error.__traceback__)[-1]  # never the text of the error: it may repeat values
            _log.error("bug: %s at %s:%s; connection closed", type(error).__name__, where.filename, where.lineno)
            raise
        finally:
            if self._chargers.get(station) is charger:
                del self._chargers[station]
            self._count_connections()
            await charger.gone()

    def _take_over(self, station: str, charger: Charger) -> None:
        """The newer connection wins: after a broken link a charger is back before its old connection times out."""
        before = self._chargers.get(station)
        self._chargers[station] = charger
        self._count_connections()
        if before is not None:
            self._count_refused("replaced")
            task = asyncio.create_task(before.replace())
            self._replacing.add(task)
            task.add_done_callback(self._replacing.discard)

    def _log_kafka_outage(self) -> None:
        """Once per outage; how many frames waited is a metric."""
        if bool(self._writer.away) != self._away:
            self._away = bool(self._writer.away)
            if self._away:
                _log.warning("frames are not acknowledged: Kafka did not take one: %s", self._writer.away)
            else:
                _log.info("Kafka takes frames again")

    def _count_refused(self, reason: str) -> None:
        self._meters.count(metrics.GATEWAY_REFUSED, self.stage, reason)

    def _count_connections(self) -> None:
        self._meters.set(metrics.GATEWAY_CONNECTIONS, self.stage, value=len(self._chargers))


async def _wait(stop: asyncio.Event, seconds: float) -> None:
    try:
        await asyncio.wait_for(stop.wait(), seconds)
    except TimeoutError:
        return
