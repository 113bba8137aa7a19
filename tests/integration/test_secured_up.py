"""`chargeline up --secure` as a newcomer uses it: what README shows runs, each program as its own role."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.settings import PREFIX

pytestmark = pytest.mark.verify

EXAMPLES = Path(__file__).parents[2] / "ops" / "examples"
BIN = Path(sys.executable).parent
START_S, RUN_S = 120, 300


@pytest.fixture
def platform(tmp_path: Path) -> Iterator[tuple[Path, dict[str, str]]]:
    """The folder of a secured platform, and the environment of programs beside it."""
    plain = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}  # noqa: TID251 - a child's
    environment = plain | {"PATH": f"{BIN}{os.pathsep}{plain.get('PATH', '')}", "SETTLE_S": "30"}
    up = subprocess.Popen(  # noqa: S603 - our own command
        [BIN / "chargeline", "up", "--secure", "--kafka-port", "0", "--clickhouse-port", "0", "--json"],
        cwd=tmp_path, env=environment, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert up.stdout is not None
        found = json.loads(up.stdout.readline())
        environment |= {
            "CHARGELINE_KAFKA": found["kafka"],
            "CHARGELINE_CLICKHOUSE_URL": found["clickhouse_url"],
            "CHARGELINE_CLICKHOUSE_PASSWORD_FILE": str(tmp_path / found["clickhouse_password_file"]),
        }
        yield tmp_path, environment
    finally:
        up.send_signal(signal.SIGINT)
        up.wait(60)


def test_what_the_readme_shows_of_a_secured_broker_runs(platform: tuple[Path, dict[str, str]]) -> None:
    folder, environment = platform
    done = subprocess.run(  # noqa: S603 - our own command
        ["sh", EXAMPLES / "secured.sh"], cwd=folder, env=environment, capture_output=True, text=True,  # noqa: S607 - our own command
        timeout=RUN_S, check=False, start_new_session=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    assert "Totals" in done.stdout
    assert "Kafka does not allow" not in done.stderr
    assert len(list((folder / "receipts").rglob("*.json"))) > 10
    assert "no station is set aside" in done.stdout
    kafka = environment["CHARGELINE_KAFKA"]
    sent = _example("produce.py", folder, environment, kafka, "producer")
    assert (sent.returncode, sent.stdout) == (0, "sent a session of 9.000 kWh\n"), sent.stderr
    refused = _example("produce.py", folder, environment, kafka, "alerts")
    assert refused.returncode == 1
    assert "authorization failed" in refused.stderr
    with subprocess.Popen(  # noqa: S603 - our own command
        _command("alerts.py", folder, kafka, "alerts"), cwd=folder, env=environment, stdout=subprocess.PIPE, text=True
    ) as listener:
        assert listener.stdout is not None
        assert listener.stdout.readline().split()[0] in ("raised", "cleared")
        listener.kill()


def _command(name: str, folder: Path, kafka: str, role: str) -> list[str | Path]:
    return [sys.executable, EXAMPLES / name, kafka, folder / "chargeline-data" / "access" / f"{role}.properties"]


def _example(
    name: str, folder: Path, environment: dict[str, str], kafka: str, role: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # noqa: S603 - our own command
        _command(name, folder, kafka, role), cwd=folder, env=environment, capture_output=True, text=True, timeout=60,
        check=False,
    )  # fmt: skip


def test_a_folder_stays_as_it_was_begun(tmp_path: Path) -> None:
    (tmp_path / "open" / "kafka" / "log").mkdir(parents=True)
    (tmp_path / "secured" / "access").mkdir(parents=True)
    for data, options, said in (
        ("open", ["--secure"], "was begun without --secure"),
        ("secured", [], "was begun with --secure"),
    ):
        done = subprocess.run(  # noqa: S603 - our own command
            [BIN / "chargeline", "up", "--data", tmp_path / data, "--kafka-port", "0", *options],
            capture_output=True, text=True, timeout=START_S, check=False,
        )  # fmt: skip
        assert done.returncode != 0
        assert said in done.stderr
