"""Strangers at the door: few file descriptors, few log lines, and chargers come in all the same."""

from __future__ import annotations

import asyncio
import logging
import os
import resource
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial

import pytest

from pipeline.errors import WrongUsage
from pipeline.gateway.door import SPARE_FILES, STRANGERS, AcceptErrors, Door, provide_files


@pytest.fixture(autouse=True)
def limit_of_files() -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_who_waits_for_us_and_who_is_a_charger_are_not_dropped() -> None:
    with Door("127.0.0.1", 0, lambda: None, strangers=2) as door, ExitStack() as stack:
        door.listen()

        def knock() -> tuple[socket.socket, socket.socket, object]:
            outside = stack.enter_context(socket.create_connection(door.getsockname()))
            inside, address = door.accept()
            return outside, stack.enter_context(inside), address

        charger, waiting = knock(), knock()
        door.is_charger(charger[2])
        with door.waits_for_us(waiting[2]):
            slow = [knock() for _ in range(4)]
        for outside, _, _ in slow[:2]:
            outside.settimeout(5)
            assert outside.recv(1) == b"", "the slowest left"
        for inside in (charger[1], waiting[1], slow[2][1], slow[3][1]):
            inside.send(b"still here")
        after = knock()
        assert slow[2][0].recv(1) == b"s"
        for _, inside, _ in (waiting, *slow, after):
            inside.close()
        assert door._strangers == {}


def test_too_few_files_are_said_at_the_start() -> None:
    command = [sys.executable, "-m", "pipeline", "gateway", "--insecure-no-authentication", "--port", "0"]
    done = subprocess.run(  # noqa: S603 - our own command
        command, capture_output=True, text=True, timeout=60, check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (1024, 1024)),
    )  # fmt: skip
    assert done.returncode == 2
    assert (
        "CHARGELINE_GATEWAY_CONNECTIONS=10000 needs a limit of 11768 open files, this process may have" in done.stderr
    )
    assert len(done.stderr.splitlines()) == 1


def test_the_limit_of_files_is_raised_as_far_as_needed() -> None:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (400, hard))
    provide_files(100, 10)
    assert resource.getrlimit(resource.RLIMIT_NOFILE) == (110 + STRANGERS + SPARE_FILES, hard)
    with pytest.raises(WrongUsage, match="CHARGELINE_GATEWAY_CONNECTIONS=10000000 needs"):
        provide_files(10_000_000, 10)


def test_failed_accepts_are_told_once_and_other_errors_as_ever(caplog: pytest.LogCaptureFixture) -> None:
    """With real failures: no file descriptor is left for those who knock."""
    caplog.set_level(logging.INFO)

    async def flood() -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(AcceptErrors())
        server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0)
        knocking = [socket.socket() for _ in range(30)]
        highest = max(int(name) for name in os.listdir("/proc/self/fd"))
        resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 1, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
        spare: list[int] = []
        with pytest.raises(OSError, match="Too many open files"):
            spare += iter(partial(os.dup, 0), None)
        for each in knocking:
            each.connect(server.sockets[0].getsockname())
        await asyncio.sleep(1.5)
        for number in spare:
            os.close(number)
        for each in knocking:
            each.close()
        server.close()
        loop.call_exception_handler({"message": "something else", "exception": ValueError("x")})

    asyncio.run(flood())
    told = [record.getMessage() for record in caplog.records]
    assert [each for each in told if "connections cannot be accepted: Too many open files" in each] == told[:1]
    assert told[1:] == ["something else"]
