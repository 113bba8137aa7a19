"""What attacks do to a fleet that is connected: `python -m tests.gateway.attacks [--stations 1000] [--seconds 10]`.

A gateway process on an embedded broker, `stations` chargers that send a Heartbeat every INTERVAL_S, and beside them one
attacker at a time, a process of its own at another address of the loopback. Prints, idle and under each attack, the
time until an honest frame is answered, honest links that broke, and how long a charger takes to come in that the
gateway has not seen before. Attackers are held to RATE new connections a second: the cores are shared with them.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import random
import subprocess
import sys
import tempfile
import time
from base64 import b64encode
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from pathlib import Path

from confluent_kafka.admin import AdminClient
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import WebSocketException
from websockets.typing import Subprotocol

from pipeline.cli.declared import declared_topics
from pipeline.cli.topics import create_topics
from pipeline.embedded.kafka import EmbeddedKafka
from pipeline.gateway.passwords import line
from tests.integration.stack import environment

PASSWORD = "canary-password-0123"  # noqa: S105 - of chargers that do not exist
ATTACKER = "127.0.0.2"
INTERVAL_S = 10.0
RATE = 200
OPEN_AT_ONCE = 2000
PATIENCE_S = 60.0


def _request(path: str, password: str = "") -> bytes:
    user = b64encode(f"{path}:{password}".encode()).decode()
    return (
        f"GET /{path} HTTP/1.1\r\nHost: gateway\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
        f"Sec-WebSocket-Protocol: ocpp1.6\r\nAuthorization: Basic {user}\r\n\r\n"
    ).encode()


ATTACKS: Mapping[str, bytes] = {
    "half-open handshakes": b"GET /SIM-1 HTTP/1.1\r\nHost:",
    "wrong passwords, known stations": _request("SIM-{number}", "guess-0123456789"),
    "wrong passwords, unknown stations": _request("GUESS-{number}", "guess-0123456789"),
    "paths of no station": _request("a/b/{number}"),
    "no HTTP": b"\x16\x03\x01" + b"\xff" * 200,
    "connections that say nothing": b"",
}
"""What each connection of an attacker sends; it is then left open."""


async def attack(kind: str, port: int) -> None:
    """Until the process ends."""
    writers: list[asyncio.StreamWriter] = []
    for number in range(sys.maxsize):
        with suppress(OSError):  # refused or dropped: the next one
            _, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=(ATTACKER, 0))
            writers.append(writer)
            writer.write(ATTACKS[kind].replace(b"{number}", str(number % 1000).encode()))
        if len(writers) > OPEN_AT_ONCE:
            writers.pop(0).close()
        await asyncio.sleep(1 / RATE)


@dataclass(slots=True)
class Figures:
    """Of one phase; seconds."""

    answers: list[float] = field(default_factory=list)
    broken: int = 0
    comes_in: float = 0.0

    def p(self, share: float) -> float:
        return sorted(self.answers)[round(share * (len(self.answers) - 1))] if self.answers else float("nan")


@dataclass(slots=True)
class Fleet:
    """Connected chargers; `figures` are those of the phase that runs."""

    port: int
    figures: Figures = field(default_factory=Figures)

    def link(self, station: str) -> connect:
        return connect(
            f"ws://{station}:{PASSWORD}@127.0.0.1:{self.port}/{station}",
            subprotocols=[Subprotocol("ocpp1.6")], proxy=None, open_timeout=PATIENCE_S, ping_interval=None,
        )  # fmt: skip

    async def charge(self, link: ClientConnection, interval_s: float) -> None:
        """Heartbeats for ever; a broken link is counted once."""
        try:
            await asyncio.sleep(random.uniform(0, interval_s))  # noqa: S311 - spreads load
            while True:
                began = time.perf_counter()
                await link.send(json.dumps([2, "1", "Heartbeat", {}]))
                await asyncio.wait_for(link.recv(), PATIENCE_S)
                self.figures.answers.append(time.perf_counter() - began)
                await asyncio.sleep(interval_s)
        except (WebSocketException, TimeoutError):
            self.figures.broken += 1

    async def persistent(self, station: str) -> ClientConnection:
        """The link of a charger that comes back until it is let in, as chargers do."""
        while True:
            try:
                return await self.link(station)
            except (WebSocketException, OSError):
                await asyncio.sleep(0.5)

    async def comes_in(self, station: str) -> float:
        """How long that takes; infinity beyond PATIENCE_S."""
        began = time.perf_counter()
        with suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE_S):
                await (await self.persistent(station)).close()
                return time.perf_counter() - began
        return float("inf")


@asynccontextmanager
async def connected(port: int, stations: int, interval_s: float) -> AsyncIterator[Fleet]:
    fleet = Fleet(port)
    async with AsyncExitStack() as stack:
        links = []
        for first in range(0, stations, 20):
            some = range(first, min(first + 20, stations))
            links += await asyncio.gather(*(fleet.persistent(f"SIM-{number}") for number in some))
        for link in links:
            stack.push_async_callback(link.close)
        tasks = [asyncio.create_task(fleet.charge(link, interval_s)) for link in links]
        try:
            yield fleet
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


@contextmanager
def attacker(kind: str, port: int) -> Iterator[None]:
    command = [sys.executable, "-m", "tests.gateway.attacks", "--attack", kind, "--port", str(port)]
    process = subprocess.Popen(command)  # noqa: S603 - our own module
    try:
        yield
        assert process.poll() is None, "the attacker gave up"
    finally:
        process.kill()
        process.wait()


@contextmanager
def gateway_process(folder: Path, kafka: str, stations: int) -> Iterator[tuple[int, Path]]:
    """Its port and its log. Stations SIM-n and, for each attack, COLD-n; all have one password, hashed once."""
    hashed = line("SIM", PASSWORD.encode()).partition(":")[2]
    names = [
        *(f"SIM-{number}" for number in range(stations)),
        *(f"COLD-{number}" for number in range(1 + len(ATTACKS))),
    ]
    (folder / "passwords").write_text("".join(f"{name}:{hashed}\n" for name in names))
    log = folder / "gateway.log"
    settings = {"kafka": kafka, "gateway_passwords_file": str(folder / "passwords"), "gateway_connections": "2000"}
    with log.open("wb") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "pipeline", "gateway", "--port", "0"], env=environment(settings), stderr=file
        )
    try:
        deadline = time.monotonic() + PATIENCE_S
        while "chargers connect to ws://" not in (said := log.read_text()):
            assert process.poll() is None, said
            assert time.monotonic() < deadline, said
            time.sleep(0.1)
        yield int(said.partition("ws://127.0.0.1:")[2].partition("/")[0]), log
        assert process.poll() is None, "the gateway has ended"
    finally:
        process.terminate()
        process.wait(60)


async def measure(port: int, stations: int, seconds: float, interval_s: float = INTERVAL_S) -> dict[str, Figures]:
    """Figures of `idle` and of each attack."""
    found: dict[str, Figures] = {}
    async with connected(port, stations, interval_s) as fleet:
        for number, kind in enumerate(["idle", *ATTACKS]):
            with attacker(kind, port) if kind in ATTACKS else nullcontext():
                await asyncio.sleep(seconds / 2)  # the attack has its full weight
                found[kind] = fleet.figures = Figures()
                fleet.figures.comes_in, _ = await asyncio.gather(
                    fleet.comes_in(f"COLD-{number}"), asyncio.sleep(seconds)
                )
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--stations", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--attack", choices=list(ATTACKS))
    parser.add_argument("--port", type=int)
    asked = parser.parse_args()
    logging.basicConfig(level=logging.WARNING)
    if asked.attack:
        asyncio.run(attack(asked.attack, asked.port))
    with tempfile.TemporaryDirectory() as name, EmbeddedKafka(Path(name) / "kafka", port=0) as kafka:
        create_topics(AdminClient({"bootstrap.servers": kafka.bootstrap}), declared_topics())
        with gateway_process(Path(name), kafka.bootstrap, asked.stations) as (port, log):
            found = asyncio.run(measure(port, asked.stations, asked.seconds))
            lines = len(log.read_text().splitlines())
    print(f"{'phase':36}{'frames':>8}{'p50 ms':>9}{'p99 ms':>9}{'broken':>8}{'new charger comes in, s':>25}")
    for kind, each in found.items():
        times = f"{each.p(0.5) * 1000:9.1f}{each.p(0.99) * 1000:9.1f}"
        print(f"{kind:36}{len(each.answers):8}{times}{each.broken:8}{each.comes_in:25.2f}")
    print(
        f"{asked.stations} chargers, {RATE} new connections/s of the attacker; the gateway wrote {lines} lines of log"
    )


if __name__ == "__main__":
    main()
