"""`chargeline gateway`: the OCPP-J endpoint, until SIGTERM; and the lines of its passwords file."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import os
import signal
import ssl
import sys
from contextlib import ExitStack
from pathlib import Path

import click

from pipeline.cli.options import kafka_option, settings
from pipeline.cli.output import echo
from pipeline.errors import WrongUsage
from pipeline.gateway.answers import AUTHORIZATIONS
from pipeline.gateway.door import provide_files
from pipeline.gateway.frames import GROWTH
from pipeline.gateway.passwords import WAITING, Passwords, line
from pipeline.gateway.records import RecordWriter
from pipeline.gateway.server import Gateway, Options
from pipeline.kafka_config import producer_config
from pipeline.metrics import Meters
from pipeline.runtime.process.probes import ProbeServer
from pipeline.settings import Settings
from pipeline.topics import LARGEST_RECORD, METER_EVENTS

LARGEST_FRAME = LARGEST_RECORD // GROWTH - 1024

_log = logging.getLogger(__name__)


@click.group(invoke_without_command=True)
@click.option("--host", help="Where to listen [CHARGELINE_GATEWAY_HOST, default 127.0.0.1].")
@click.option("--port", type=click.IntRange(0, 65535), help="0: a free one [CHARGELINE_GATEWAY_PORT, default 9000].")
@kafka_option
@click.option("--insecure-no-authentication", "insecure", is_flag=True, help="Let everybody in; on loopback only.")
@click.pass_context
def command(context: click.Context, host: str | None, port: int | None, kafka: str | None, insecure: bool) -> None:
    """Accept chargers at ws://HOST:PORT/IDENTITY (OCPP-J 1.6 and 2.0.1) until SIGTERM.

    A frame is acknowledged to the charger only after Kafka has it. Chargers need a password each
    (CHARGELINE_GATEWAY_PASSWORDS_FILE, OCPP security profile 1); with a certificate (CHARGELINE_GATEWAY_TLS_CERT_FILE,
    CHARGELINE_GATEWAY_TLS_KEY_FILE) the connection is encrypted (profile 2). Every token gets the same answer
    (CHARGELINE_GATEWAY_AUTHORIZATION): the gateway records, it does not authorise.
    """
    if context.invoked_subcommand is not None:
        return
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    found = settings(gateway_host=host, gateway_port=port, kafka=kafka)
    chosen, passwords = options(found), _passwords(found, insecure)
    provide_files(chosen.connections, WAITING)
    asyncio.run(_run(found, chosen, passwords))


@command.command()
@click.argument("identity")
@click.option("--file", type=click.Path(dir_okay=False, path_type=Path), help="Add the line to FILE (0600).")
def passwd(identity: str, file: Path | None) -> None:
    """Print the line of station IDENTITY for the passwords file; asks for the password, or reads it from stdin.

    With --file the line is added there, and only the owner can read the file. A password has 16 bytes at least, as
    OCPP's security profiles 1 and 2 require. The line holds a salted scrypt hash.
    """
    if sys.stdin.isatty():
        password = click.prompt("password", hide_input=True, confirmation_prompt=True, err=True).encode()
    else:
        password = sys.stdin.buffer.readline().rstrip(b"\r\n")
    made = line(identity, password)
    if file is None:
        echo(made)
        return
    with open(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "a", encoding="utf-8") as lines:
        os.fchmod(lines.fileno(), 0o600)
        lines.write(made + "\n")


def options(found: Settings) -> Options:
    """Checked settings. Raises WrongUsage."""
    if found.gateway_authorization not in AUTHORIZATIONS:
        raise WrongUsage(f"CHARGELINE_GATEWAY_AUTHORIZATION: one of {', '.join(AUTHORIZATIONS)}")
    if not 1024 <= found.gateway_frame_bytes <= LARGEST_FRAME:
        raise WrongUsage(f"CHARGELINE_GATEWAY_FRAME_BYTES: 1024 to {LARGEST_FRAME}")
    if not found.gateway_kafka_timeout_s or not found.gateway_connections:
        raise WrongUsage("CHARGELINE_GATEWAY_KAFKA_TIMEOUT_S and CHARGELINE_GATEWAY_CONNECTIONS: at least 1")
    return Options(
        host=found.gateway_host,
        port=found.gateway_port,
        tls=_tls(found),
        authorization=found.gateway_authorization,
        heartbeat_s=found.gateway_heartbeat_s,
        ping_s=found.gateway_ping_s,
        frame_bytes=found.gateway_frame_bytes,
        connections=found.gateway_connections,
    )


def _passwords(found: Settings, insecure: bool) -> Passwords | None:
    if found.gateway_passwords_file is not None:
        if insecure:
            raise WrongUsage("--insecure-no-authentication and CHARGELINE_GATEWAY_PASSWORDS_FILE exclude each other")
        return Passwords(found.gateway_passwords_file)
    if not insecure:
        raise WrongUsage(
            "no authentication: set CHARGELINE_GATEWAY_PASSWORDS_FILE to a file with lines of "
            "`chargeline gateway passwd IDENTITY` (or, on loopback only, give --insecure-no-authentication)"
        )
    if not _is_loopback(found.gateway_host):
        raise WrongUsage("--insecure-no-authentication: on a loopback address only, such as 127.0.0.1")
    return None


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _tls(found: Settings) -> ssl.SSLContext | None:
    certificate, key = found.gateway_tls_cert_file, found.gateway_tls_key_file
    if certificate is None and key is None:
        return None
    if certificate is None or key is None:
        raise WrongUsage("CHARGELINE_GATEWAY_TLS_CERT_FILE and CHARGELINE_GATEWAY_TLS_KEY_FILE: both or neither")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(certificate, key, password=lambda: "")  # an encrypted key is refused, not asked about
    except OSError as error:  # ssl.SSLError is one
        raise WrongUsage(
            f"CHARGELINE_GATEWAY_TLS_CERT_FILE, CHARGELINE_GATEWAY_TLS_KEY_FILE: {certificate} and {key} cannot be "
            f"used: {getattr(error, 'reason', None) or error.strerror}"
        ) from error
    return context


async def _run(found: Settings, chosen: Options, passwords: Passwords | None) -> None:
    stop, ready = asyncio.Event(), asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    meters = Meters()
    with ExitStack() as stack:
        writer = RecordWriter(METER_EVENTS.name, producer_config(found), found.gateway_kafka_timeout_s)
        stack.callback(writer.close)
        gateway = Gateway(chosen, writer, passwords, meters)
        if found.web_port:
            probes = ProbeServer(found.web_host, found.web_port, gateway.alive, gateway.ready, meters.text)
            probes.start()
            stack.callback(probes.stop)
        if chosen.tls is None and not _is_loopback(chosen.host):
            _log.warning("no TLS: passwords and tokens travel readable; for trusted networks only")
        ready_line = asyncio.create_task(_log_ready(gateway, ready, "wss" if chosen.tls else "ws", chosen.host))
        try:
            await gateway.run(stop, ready)
        except OSError as error:
            raise WrongUsage(f"cannot listen on {chosen.host}:{chosen.port}: {error.strerror}") from error
        finally:
            ready_line.cancel()
    _log.info("stopped")


async def _log_ready(gateway: Gateway, ready: asyncio.Event, scheme: str, host: str) -> None:
    await ready.wait()
    _log.info("chargers connect to %s://%s:%s/<identity>", scheme, host, gateway.port)
