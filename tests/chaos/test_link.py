"""The links that the faults break do what they say."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator

import pytest

from tests.chaos.link import FAIR, HOST, Link, Links, Weather


@pytest.fixture
def echo() -> Iterator[int]:
    """A port that says everything again."""
    with socket.create_server((HOST, 0)) as server:

        def serve() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                threading.Thread(target=_answer, args=(connection,), daemon=True).start()

        threading.Thread(target=serve, daemon=True).start()
        yield server.getsockname()[1]


def _answer(connection: socket.socket) -> None:
    with connection:
        try:
            while said := connection.recv(4096):
                connection.sendall(said)
        except OSError:
            return


@pytest.fixture
def links() -> Iterator[Links]:
    with Links(seed=1) as links:
        yield links


def connected(link: Link, target: int) -> socket.socket:
    link.target = target
    client = socket.create_connection((HOST, link.port), 5)
    client.settimeout(5)
    client.sendall(b"first")
    assert client.recv(100) == b"first"
    return client


def test_a_silent_cut_holds_everything_back_and_loses_nothing(links: Links, echo: int) -> None:
    link = links.open()
    with connected(link, echo) as client:
        links.change([link], Weather(cut="silent"))
        client.sendall(b"second")
        client.settimeout(0.5)
        with pytest.raises(TimeoutError):
            client.recv(100)
        links.change([link], FAIR)
        client.settimeout(5)
        assert client.recv(100) == b"second"


def test_a_refused_cut_resets_what_stands_and_what_comes(links: Links, echo: int) -> None:
    link = links.open()
    with connected(link, echo) as client:
        links.change([link], Weather(cut="refused"))
        assert _ended(client)
    with socket.create_connection((HOST, link.port), 5) as client:
        client.settimeout(5)
        assert _ended(client)
    links.change([link], FAIR)
    connected(link, echo).close()


def _ended(client: socket.socket) -> bool:
    try:
        return client.recv(100) == b""
    except ConnectionError:
        return True


def test_bad_weather_takes_time(links: Links, echo: int) -> None:
    link = links.open()
    with connected(link, echo) as client:
        links.change([link], Weather(delay_s=0.2))
        began = time.monotonic()
        client.sendall(b"slow")
        assert client.recv(100) == b"slow"
        assert time.monotonic() - began > 0.35, "there and back"
        assert link.late >= 2
        links.change([link], Weather(reset=1.0))
        client.sendall(b"lost")
        assert _ended(client)
        assert link.resets >= 1
