"""A ClickHouse endpoint on 127.0.0.1, as a child of this process: the engine of chDB behind ClickHouse's protocol.

Its only user is `default`. The password lies in the data folder, made at the first start; who writes another one into
the file before a start uses that.

The rule of the file: the server never outlives its owner, and no lock can be stale. The child holds the lock of the
data folder as long as it lives, sits in a session of its own so that Ctrl-C reaches only the owner, and ends when the
pipe from its owner closes.
"""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import Self

from pipeline.errors import Unavailable

HOST = "127.0.0.1"
START_LIMIT_S = 60.0
STOP_LIMIT_S = 15.0


class EmbeddedClickHouse:
    """The server of one data folder. `port` 0 picks a free one and keeps it over restarts of this object.

    Raises Unavailable, in one sentence, when the folder is in use, the port is taken or the server does not start.
    """

    def __init__(self, data: Path, port: int = 8123) -> None:
        self.data = data.resolve()
        self.port = port
        self._server: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.port}"

    @property
    def password_file(self) -> Path:
        """Where the password of user `default` is, once the server has started."""
        return self.data / "password"

    @property
    def pid(self) -> int | None:
        """Process id of the server; None while it is not running."""
        return self._server.pid if self._server is not None and self._server.poll() is None else None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Start the server and return when it answers; nothing if it runs already."""
        if self.pid is not None:
            return
        self.data.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._keep_password()
        with self._log.open("wb") as log:
            serve = [sys.executable, "-m", "pipeline.embedded.clickhouse_server", str(self.data), str(self.port)]
            self._server = subprocess.Popen(  # noqa: S603 - our own command
                [*serve, "--owned"],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, start_new_session=True,
            )  # fmt: skip
        try:
            self.port = self._announced_port()
            self._wait_ready()
        except BaseException:
            self.kill()
            raise

    def stop(self) -> None:
        """Ask the server to finish its requests and stop, then insist; afterwards the folder is free."""
        if self._server is not None and self._server.poll() is None:
            self._server.terminate()
            try:
                self._server.wait(STOP_LIMIT_S)
            except subprocess.TimeoutExpired:
                self._server.kill()
        self._release()

    def kill(self) -> None:
        """As if the machine had killed it: SIGKILL, no shutdown of the engine."""
        if self._server is not None:
            self._server.kill()
        self._release()

    def restart(self) -> None:
        """Stop (if it runs) and start on the same folder and port."""
        self.stop()
        self.start()

    def _keep_password(self) -> None:
        """A random one at the first start; the owner's own is kept. Raises Unavailable for an empty file."""
        if not self.password_file.exists():
            with os.fdopen(os.open(self.password_file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
                file.write(secrets.token_urlsafe(24) + "\n")
        self.password_file.chmod(0o600)
        if not self.password_file.read_text("utf-8").strip():
            raise Unavailable(f"{self.password_file} is empty; write a password into it, or delete it for a new one")

    @property
    def _log(self) -> Path:
        return self.data / "clickhouse.log"

    def _release(self) -> None:
        if self._server is not None:
            self._server.wait()
            for pipe in (self._server.stdin, self._server.stdout):
                if pipe is not None:
                    pipe.close()
            self._server = None

    def _announced_port(self) -> int:
        """The child's one line of output; it ends without one when it cannot start."""
        assert self._server is not None  # noqa: S101 - start() launched it
        assert self._server.stdout is not None  # noqa: S101 - a pipe
        late = threading.Timer(START_LIMIT_S, self._server.kill)
        late.start()
        try:
            line = self._server.stdout.readline()
        finally:
            late.cancel()
        if not line:
            self._server.wait()
            raise Unavailable(_last_line(self._log.read_text("utf-8", errors="replace")))
        return int(line)

    def _wait_ready(self) -> None:
        deadline = time.monotonic() + START_LIMIT_S
        while time.monotonic() < deadline and self.pid is not None:
            try:
                with urllib.request.urlopen(f"{self.url}/ping", timeout=5):  # noqa: S310 - our own http:// address
                    return
            except (urllib.error.URLError, TimeoutError):
                time.sleep(0.05)
        raise Unavailable(f"ClickHouse did not answer within {START_LIMIT_S:.0f} s; see {self._log}")


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "ClickHouse stopped while starting and wrote nothing"
