"""The gateway against a real broker, with chargers of the library `ocpp`: what is acknowledged is in Kafka."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import re
import shutil
import signal
import socket
import ssl
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka.admin import AdminClient
from jsonschema import Draft202012Validator
from ocpp.v16 import call as call16
from ocpp.v201 import call as call201
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidMessage, InvalidStatus

from pipeline.cli import run
from pipeline.cli.declared import declared_topics
from pipeline.cli.gateway import options
from pipeline.cli.topics import create_topics
from pipeline.embedded.kafka import EmbeddedKafka
from pipeline.errors import Unavailable
from pipeline.gateway.charger import MOST_MALFORMED
from pipeline.settings import Settings
from tests.gateway.chargers import (
    PASSWORD,
    Running,
    ask,
    charge_point,
    frames_of,
    gateway,
    open_link,
    password_file,
    records,
)
from tests.integration.stack import COMMAND, REPOSITORY, environment

TAG = "CANARYTAG1"
BEGAN_S = int(time.time()) - 600


@pytest.fixture(scope="module")
def own_broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedKafka]:
    """One that may be stopped; with the declared topics."""
    with EmbeddedKafka(tmp_path_factory.mktemp("kafka"), port=0) as broker:
        create_topics(AdminClient({"bootstrap.servers": broker.bootstrap}), declared_topics())
        yield broker


@pytest.fixture
def own_kafka(own_broker: EmbeddedKafka) -> str:
    return own_broker.bootstrap


def at(after_s: int) -> str:
    return datetime.fromtimestamp(BEGAN_S + after_s, UTC).isoformat().replace("+00:00", "Z")


def start(tag: str = TAG) -> dict[str, Any]:
    return {"connectorId": 1, "idTag": tag, "meterStart": 5_000_000, "timestamp": at(0)}


def reading(transaction: int, minute: int) -> dict[str, Any]:
    sample = {"value": str(5_000_000 + minute * 300), "context": "Sample.Periodic", "unit": "Wh"}
    return {
        "connectorId": 1,
        "transactionId": transaction,
        "meterValue": [{"timestamp": at(minute * 60), "sampledValue": [sample]}],
    }


def stop(transaction: int, minute: int) -> dict[str, Any]:
    return {"transactionId": transaction, "meterStop": 5_000_000 + minute * 300, "timestamp": at(minute * 60)}


def sessions(values: list[bytes], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    """What the offline assembler makes of these records."""
    log = tmp_path / "log.ndjson"
    log.write_bytes(b"\n".join(values) + b"\n")
    capsys.readouterr()
    assert run(["assemble", str(log), "--final-ticks"]) == 0
    said = capsys.readouterr()
    assert "refused" not in said.err
    return [json.loads(each) for each in said.out.splitlines()]


# --- a session over a broken link


def test_a_1_6_session_over_a_broken_link_is_one_session(
    own_kafka: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    """The answer to the start is lost, the link drops behind an unanswered reading, the gateway is another one then."""
    caplog.set_level(logging.INFO, "pipeline")
    station = "GW-16"
    file = password_file(tmp_path, station)

    async def charge() -> tuple[int, int]:
        async with gateway(own_kafka, file) as running:
            async with charge_point(running, station) as (point, _):
                booted = await point.call(call16.BootNotification(charge_point_model="M", charge_point_vendor="V"))
                assert (booted.status, booted.interval) == ("Accepted", 300)
                authorized = await point.call(call16.Authorize(id_tag=TAG))
                assert authorized.id_tag_info["status"] == "Accepted"
                await point.call(call16.StatusNotification(connector_id=1, error_code="NoError", status="Preparing"))
            async with open_link(running, station, "ocpp1.6") as link:
                lost = await ask(link, [2, "start-1", "StartTransaction", start()])
                link.transport.abort()
            async with charge_point(running, station) as (point, link):
                begun = await point.call(
                    call16.StartTransaction(connector_id=1, id_tag=TAG, meter_start=5_000_000, timestamp=at(0)),
                    unique_id="start-2",
                )
                for minute in (1, 2, 3):
                    await point.call(call16.MeterValues(**snake(reading(begun.transaction_id, minute))))
                await link.send(json.dumps([2, "m-4", "MeterValues", reading(begun.transaction_id, 4)]))
                link.transport.abort()
        async with gateway(own_kafka, file) as running, open_link(running, station, "ocpp1.6") as link:
            again = await ask(link, [2, "start-3", "StartTransaction", start()])
            for minute in (3, 4, 5, 6):
                message = [2, f"m-{minute}", "MeterValues", reading(begun.transaction_id, minute)]
                assert await ask(link, message) == [3, f"m-{minute}", {}]
            for message_id in ("stop-1", "stop-2"):
                ended = await ask(link, [2, message_id, "StopTransaction", stop(begun.transaction_id, 7)])
                assert ended == [3, message_id, {}]
        assert lost[2]["transactionId"] == begun.transaction_id == again[2]["transactionId"]
        return begun.transaction_id, len(records(own_kafka, station))

    transaction, count = asyncio.run(charge())
    values = records(own_kafka, station)
    assert len(values) == count > 25
    schema = json.loads((REPOSITORY / "schemas" / "messages" / "meter-events.v1.schema.json").read_text("utf-8"))
    assert [
        fault.message for value in values for fault in Draft202012Validator(schema).iter_errors(json.loads(value))
    ] == []
    (session,) = sessions(values, tmp_path, capsys)
    assert session["transaction_id"] == str(transaction)
    assert session["energy_wh"] == 7 * 300
    assert (session["status"], session["complete"], session["connector_id"]) == ("completed", True, 1)
    assert [session["started_at"], session["ended_at"]] == [at(0), at(420)]
    links = [frame for frame in frames_of(values) if isinstance(frame, str)]
    assert links == ["up", "down"] * 4
    assert not re.search(rf"{TAG}|{station}|{PASSWORD}|{transaction}|start-", caplog.text)


def snake(payload: dict[str, Any]) -> dict[str, Any]:
    return {re.sub(r"(?<!^)([A-Z])", r"_\1", name).lower(): value for name, value in payload.items()}


def test_a_2_0_1_session_over_a_broken_link_is_one_session(
    own_kafka: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    station = "GW-201"
    file = password_file(tmp_path, station)

    def event(kind: str, seq_no: int, **more: Any) -> call201.TransactionEvent:
        context = {"Started": "Transaction.Begin", "Ended": "Transaction.End"}.get(kind, "Sample.Periodic")
        sample = {"value": 5_000_000.0 + seq_no * 400, "context": context}
        values: dict[str, Any] = {
            "event_type": kind,
            "timestamp": at(seq_no * 60),
            "trigger_reason": "MeterValuePeriodic",
            "seq_no": seq_no,
            "transaction_info": {"transactionId": "CANARY-T-1"},
            "meter_value": [{"timestamp": at(seq_no * 60), "sampledValue": [sample]}],
        }
        return call201.TransactionEvent(**values | more)

    async def charge() -> None:
        async with gateway(own_kafka, file) as running:
            async with charge_point(running, station, "ocpp2.0.1") as (point, link):
                token = {"idToken": TAG, "type": "ISO14443"}
                first = await point.call(event("Started", 0, evse={"id": 1, "connectorId": 1}, id_token=token))
                assert first.id_token_info == {"status": "Accepted"}
                await point.call(event("Updated", 1))
                link.transport.abort()
            async with charge_point(running, station, "ocpp2.0.1") as (point, _):
                for number in (1, 2, 3):
                    await point.call(event("Updated", number, offline=True))
                ended = await point.call(event("Ended", 4))
                assert ended.id_token_info is None
                assert ended.total_cost is None

    asyncio.run(charge())
    (session,) = sessions(records(own_kafka, station), tmp_path, capsys)
    assert (session["energy_wh"], session["status"], session["complete"]) == (1600, "completed", True)


# --- who is let in


def test_only_the_right_password_and_a_version_that_we_speak_get_in(own_kafka: str, tmp_path: Path) -> None:
    station = "GW-AUTH"

    async def refused(running: Running, name: str, *protocols: str, password: str | None = PASSWORD) -> int:
        with pytest.raises(InvalidStatus) as refusal:
            async with open_link(running, name, *protocols, password=password):
                pass
        status: int = refusal.value.response.status_code
        return status

    async def knock() -> str:
        async with gateway(own_kafka, password_file(tmp_path, station, "GW-OTHER")) as running:
            assert await refused(running, station, password="canary-password-9999") == 401  # noqa: S106 - a wrong one
            assert await refused(running, station, password=None) == 401
            assert await refused(running, "GW-UNKNOWN") == 401
            assert await refused(running, "a/b") == 404
            assert await refused(running, station, "ocpp1.5", "ocpp2.1") == 400
            async with open_link(running, station, "ocpp2.1", "ocpp2.0.1", "ocpp1.6") as link:
                assert link.subprotocol == "ocpp2.0.1"
                assert (await ask(link, [2, "1", "Heartbeat", {}]))[0] == 3
            return running.meters.text().decode()

    text = asyncio.run(knock())
    for reason, count in {"authentication": 3, "path": 1, "protocol": 1}.items():
        assert f'chargeline_gateway_refused_total{{reason="{reason}",stage="gateway"}} {count}.0' in text
    assert frames_of(records(own_kafka, station))[0] == "up"
    assert len(records(own_kafka, station)) == 4, "up, call, answer, down: nothing of those who were refused"
    assert station not in text


def test_a_charger_that_offers_no_version_is_refused(own_kafka: str) -> None:
    async def knock() -> None:
        async with gateway(own_kafka, None) as running:
            with pytest.raises(InvalidStatus) as refusal:
                await connect(running.url("GW-NONE", None), proxy=None)
            assert refusal.value.response.status_code == 400

    asyncio.run(knock())


def test_with_tls_the_link_is_encrypted_and_a_plain_one_refused(own_kafka: str, tmp_path: Path) -> None:
    if (openssl := shutil.which("openssl")) is None:
        pytest.skip("no openssl program to make a certificate with")
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    subprocess.run(  # noqa: S603 - a certificate of this test
        [openssl, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "1",
         "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost", "-keyout", str(key), "-out", str(cert)],
        check=True, capture_output=True, timeout=60,
    )  # fmt: skip
    served = options(Settings(gateway_tls_cert_file=cert, gateway_tls_key_file=key)).tls
    assert served is not None
    assert served.minimum_version == ssl.TLSVersion.TLSv1_2
    trusting = ssl.create_default_context(cafile=str(cert))

    async def charge() -> None:
        file = password_file(tmp_path, "GW-TLS")
        async with gateway(own_kafka, file, tls=served, client_tls=trusting) as running:
            async with open_link(running, "GW-TLS") as link:
                assert link.transport.get_extra_info("cipher") is not None
                assert (await ask(link, [2, "1", "Heartbeat", {}]))[0] == 3
            running.tls = ssl.create_default_context()
            with pytest.raises(ssl.SSLCertVerificationError):
                await open_link(running, "GW-TLS")
            running.tls = None
            with pytest.raises((InvalidMessage, ConnectionError, EOFError)):
                await open_link(running, "GW-TLS")

    asyncio.run(charge())


@pytest.mark.parametrize(
    ("arguments", "settings", "said"),
    [
        ([], {}, "no authentication"),
        (["--insecure-no-authentication", "--host", "0.0.0.0"], {}, "loopback"),  # noqa: S104 - refused
        (["--insecure-no-authentication"], {"GATEWAY_PASSWORDS_FILE": "x"}, "exclude each other"),
        (["--insecure-no-authentication"], {"GATEWAY_TLS_CERT_FILE": "x"}, "both or neither"),
        (
            ["--insecure-no-authentication"],
            {"GATEWAY_TLS_CERT_FILE": "x", "GATEWAY_TLS_KEY_FILE": "y"},
            "cannot be used",
        ),
        (["--insecure-no-authentication"], {"GATEWAY_AUTHORIZATION": "accepted"}, "one of Accepted, Blocked, Invalid"),
        (["--insecure-no-authentication"], {"GATEWAY_FRAME_BYTES": "9000000"}, "GATEWAY_FRAME_BYTES"),
        ([], {"GATEWAY_PASSWORDS_FILE": "/none"}, "/none: cannot be read"),
    ],
)
def test_it_does_not_start_with_wrong_settings(
    arguments: list[str],
    settings: dict[str, str],
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name, value in settings.items():
        monkeypatch.setenv(f"CHARGELINE_{name}", value)
    assert run(["gateway", *arguments]) == 2
    assert said in capsys.readouterr().err


# --- what it bears


def test_bad_frames_are_answered_by_the_standard_kept_as_evidence_and_limited(own_kafka: str) -> None:
    station = "GW-BAD"

    async def send() -> None:
        async with gateway(own_kafka, None, frame_bytes=4096) as running:
            async with open_link(running, station) as link:
                assert (await ask(link, "[2,"))[:3] == [4, "-1", "FormationViolation"]
                assert (await ask(link, [2, "1", "Nonsense", {}]))[:3] == [4, "1", "NotImplemented"]
                invalid = await ask(link, [2, "2", "StartTransaction", start() | {"meterStart": "x"}])
                assert invalid == [4, "2", "TypeConstraintViolation", "meterStart: type", {}]
                await link.send(json.dumps([3, "99", {"status": "Accepted"}]))
                assert (await ask(link, [2, "3", "Heartbeat", {}]))[:2] == [3, "3"], "an answer of theirs gets none"
                for _ in range(MOST_MALFORMED):
                    assert (await ask(link, "{}"))[2] == "FormationViolation"
                with pytest.raises(ConnectionClosed) as closed:
                    await asyncio.wait_for(link.recv(), 5)
                assert closed.value.rcvd is not None
                assert closed.value.rcvd.code == 1002
            async with open_link(running, station) as link:
                with pytest.raises(ConnectionClosed) as closed:
                    await ask(link, [2, "4", "DataTransfer", {"vendorId": "x" * 5000}])
                assert closed.value.rcvd is not None
                assert closed.value.rcvd.code == 1009

    asyncio.run(send())
    kept = frames_of(records(own_kafka, station))
    evidence: list[Any] = ["[2,", [2, "1", "Nonsense", {}], [3, "99", {"status": "Accepted"}], {}]
    assert [each for each in evidence if each not in kept] == []
    assert [4, "2", "TypeConstraintViolation", "meterStart: type", {}] in kept


def test_a_newer_connection_of_a_station_replaces_the_older(own_kafka: str) -> None:
    station = "GW-TWICE"

    async def connect_twice() -> None:
        async with gateway(own_kafka, None) as running, open_link(running, station) as older:
            await ask(older, [2, "1", "Heartbeat", {}])
            async with open_link(running, station) as newer:
                with pytest.raises(ConnectionClosed) as closed:
                    await asyncio.wait_for(older.recv(), 5)
                assert closed.value.rcvd is not None
                assert closed.value.rcvd.code == 1008
                assert (await ask(newer, [2, "2", "Heartbeat", {}]))[:2] == [3, "2"]
                assert b'chargeline_gateway_connections{stage="gateway"} 1.0' in running.meters.text()

    asyncio.run(connect_twice())
    links = [frame for frame in frames_of(records(own_kafka, station)) if isinstance(frame, str)]
    assert links == ["up", "up", "down"], "the older one's end is no end of the link"


def test_a_gateway_has_a_limit_of_connections(own_kafka: str) -> None:
    async def fill() -> None:
        async with gateway(own_kafka, None, connections=1) as running, open_link(running, "GW-1") as link:
            await ask(link, [2, "1", "Heartbeat", {}])
            with pytest.raises(InvalidStatus) as refusal:
                await open_link(running, "GW-2")
            assert refusal.value.response.status_code == 503
            async with open_link(running, "GW-1") as again:
                assert (await ask(again, [2, "1", "Heartbeat", {}]))[0] == 3

    asyncio.run(fill())


def test_a_bug_acknowledges_nothing_closes_that_connection_and_shows_no_value(
    own_kafka: str, caplog: pytest.LogCaptureFixture
) -> None:
    class NotJson:
        """No status that an answer can hold."""

        def __repr__(self) -> str:
            return TAG

    async def charge() -> None:
        async with gateway(own_kafka, None, authorization=NotJson()) as running, open_link(running, "GW-BUG") as link:
            assert (await ask(link, [2, "1", "Heartbeat", {}]))[:2] == [3, "1"]
            with pytest.raises(ConnectionClosed) as closed:
                await ask(link, [2, "2", "Authorize", {"idTag": TAG}])
            assert closed.value.rcvd is not None
            assert closed.value.rcvd.code == 1011
            async with open_link(running, "GW-OTHER") as other:
                assert (await ask(other, [2, "1", "Heartbeat", {}]))[:2] == [3, "1"]

    asyncio.run(charge())
    assert "bug: TypeError at" in caplog.text
    assert not re.search(rf"{TAG}|GW-", caplog.text)


def test_a_producer_that_can_never_write_again_ends_the_process(own_kafka: str) -> None:
    async def charge() -> None:
        async with gateway(own_kafka, None) as running, open_link(running, "GW-FATAL") as link:
            await ask(link, [2, "1", "Heartbeat", {}])
            running.writer.failed = "fenced"
            async for _ in link:
                pytest.fail("no answer is due")
            assert link.close_code == 1001

    with pytest.raises(Unavailable, match="cannot go on: fenced"):
        asyncio.run(charge())


def test_at_the_end_the_frame_in_hand_is_answered_first(own_broker: EmbeddedKafka) -> None:
    pid = own_broker.pid
    assert pid is not None

    async def charge() -> None:
        async with gateway(own_broker.bootstrap, None) as running, open_link(running, "GW-LAST") as link:
            await ask(link, [2, "1", "Heartbeat", {}])
            os.kill(pid, signal.SIGSTOP)
            for message_id in ("2", "3", "4"):
                await link.send(json.dumps([2, message_id, "Heartbeat", {}]))
            await asyncio.sleep(0.2)
            running.stop.set()
            await asyncio.sleep(0.8)
            os.kill(pid, signal.SIGCONT)
            assert [json.loads(answer)[:2] async for answer in link] == [[3, "2"]]
            assert link.close_code == 1001

    try:
        asyncio.run(charge())
    finally:
        os.kill(pid, signal.SIGCONT)


def read(url: str) -> str:
    with urllib.request.urlopen(url, timeout=5) as answer:  # noqa: S310 - our own probes
        text: str = answer.read().decode()
        return text


def test_sigterm_answers_what_is_in_hand_closes_and_exits_0(own_kafka: str, tmp_path: Path) -> None:
    station = "GW-TERM"
    file = password_file(tmp_path, station)
    log = tmp_path / "gateway.log"
    with socket.create_server(("127.0.0.1", 0)) as free:
        probes = f"127.0.0.1:{free.getsockname()[1]}"
    settings = {"kafka": own_kafka, "gateway_passwords_file": str(file), "gateway_port": "0"}
    settings["web_port"] = probes.partition(":")[2]
    with log.open("wb") as out:
        process = subprocess.Popen(  # noqa: S603 - our own command
            [*COMMAND, "gateway"], env=environment(settings), cwd=REPOSITORY, stdout=out, stderr=out
        )

    async def charge(port: int) -> int:
        url = f"ws://{station}:{PASSWORD}@127.0.0.1:{port}/{station}"
        async with connect(url, subprotocols=["ocpp1.6"], proxy=None) as link:  # type: ignore[list-item]  # a literal
            await link.send(json.dumps([2, "1", "StartTransaction", start()]))
            assert (await ask(link, [2, "2", "Heartbeat", {}]))[:2] == [3, "1"]
            for path, content in {"livez": "ok", "readyz": "ok", "metrics": "chargeline_gateway_connections"}.items():
                assert content in await asyncio.to_thread(read, f"http://{probes}/{path}")
            process.send_signal(signal.SIGTERM)
            async for answer in link:
                assert json.loads(answer)[:2] == [3, "2"]
            assert link.close_code is not None
            return link.close_code

    try:
        deadline = time.monotonic() + 20
        while not (found := re.search(rb"ws://127\.0\.0\.1:(\d+)/", log.read_bytes())):
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert asyncio.run(charge(int(found[1]))) == 1001
        assert process.wait(20) == 0
    finally:
        process.kill()
        process.wait(10)
    assert not re.search(rf"{station}|{PASSWORD}|{TAG}|Traceback", log.read_text())
    assert frames_of(records(own_kafka, station))[-1] == "down"


def test_without_kafka_nothing_is_acknowledged_and_nothing_is_lost(
    own_broker: EmbeddedKafka, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The broker is stopped with a signal and goes on later: perhaps it has the frame then, and gets it again."""
    station, pid, ids = "GW-AWAY", own_broker.pid, []
    assert pid is not None

    async def charge() -> None:
        async with gateway(own_broker.bootstrap, None, timeout_s=1.5) as running:
            async with open_link(running, station) as link:
                answer = await ask(link, [2, "1", "StartTransaction", start()])
                ids.append(answer[2]["transactionId"])
                os.kill(pid, signal.SIGSTOP)
                await link.send(json.dumps([2, "2", "StopTransaction", stop(ids[0], 7)]))
                with pytest.raises(ConnectionClosed) as closed:
                    await asyncio.wait_for(link.recv(), 10)
                assert closed.value.rcvd is not None
                assert closed.value.rcvd.code == 1013, "and no answer before"
            assert running.gateway.ready() == "Kafka does not take frames"
            assert running.gateway.alive() is None
            os.kill(pid, signal.SIGCONT)
            assert await until_answered(running, [2, "2", "StopTransaction", stop(ids[0], 7)]) == [3, "2", {}]
            assert running.gateway.ready() is None
            text = running.meters.text().decode()
            assert 'chargeline_gateway_frames_total{outcome="answered",stage="gateway"} 2.0' in text
            assert 'chargeline_gateway_frames_total{outcome="unacknowledged",stage="gateway"}' in text

    async def until_answered(running: Running, frame: object) -> list[Any]:
        deadline = time.monotonic() + 20
        while True:
            try:
                async with open_link(running, station) as link:
                    return await ask(link, frame)
            except ConnectionClosed:
                assert time.monotonic() < deadline

    try:
        asyncio.run(charge())
    finally:
        os.kill(pid, signal.SIGCONT)
    (session,) = sessions(records(own_broker.bootstrap, station), tmp_path, capsys)
    assert (session["energy_wh"], session["transaction_id"]) == (2100, str(ids[0]))
