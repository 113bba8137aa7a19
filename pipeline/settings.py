"""All settings, read once from the environment by `cli` and handed to everybody else; nobody else reads it.

Every variable starts with CHARGELINE_. `from_env` reports all faults at once. Secrets come from files
(CHARGELINE_<NAME>_FILE), never from the variable itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path

from pipeline.errors import WrongUsage

PREFIX = "CHARGELINE_"
UP_PASSWORD = Path("chargeline-data/clickhouse/password")
"""Where `chargeline up`, started in this folder with its defaults, keeps ClickHouse's password."""
_TRUE, _FALSE = frozenset({"1", "true", "yes", "on"}), frozenset({"0", "false", "no", "off"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Defaults fit `chargeline up` on one laptop; a fleet sets what differs."""

    kafka: str = "127.0.0.1:9092"
    """Bootstrap servers."""
    kafka_properties_file: Path | None = None
    """librdkafka properties (security.protocol, sasl.*, ssl.*), one `name=value` a line, for every client."""
    clickhouse_url: str = "http://127.0.0.1:8123"
    clickhouse_user: str = "default"
    clickhouse_password_file: Path | None = None
    clickhouse_database: str = "charging"
    keys_file: Path | None = None
    """Keyring with the pseudonym keys; made by `chargeline keys create FILE`. Without it a worker refuses to start."""
    sites_file: Path | None = None
    tariffs_file: Path | None = None
    group: str = "chargeline"
    """Prefix of consumer groups and transactional ids."""
    slot: str = "0"
    """Stable name of this worker among its peers; its transactional id is made from it."""
    checkpoint_ms: int = 300
    state_write_s: int = 10
    """A changed station is written to the changelog at the latest after this many seconds."""
    session_timeout_ms: int = 6000
    transaction_timeout_ms: int = 15000
    tick_ms: int = 1000
    """How often the owner of a partition writes a live clock tick into it."""
    max_stations: int = 500_000
    """Stations one worker may hold in memory; above it the worker stops with an alarm."""
    dead_letter_run: int = 10_000
    """So many dead letters in a row stop the worker: a schema changed. One station counts for at most a tenth of it."""
    dead_letter_percent: int = 50
    """So many percent dead letters in the last 10,000 records stop the worker; none of it by one station alone."""
    station_errors: int = 10
    """After so many errors of ours with its messages a station is set aside (`chargeline stations`)."""
    release_stations: int = 25
    """The same error of ours at so many stations stops the worker: the release is wrong, not they."""
    station_state_bytes: int = 900_000
    """A station whose state is larger is set aside; at most 5,000,000."""
    reference_wait_s: int = 60
    """A clock tick may name reference data that is not there for so long; after that `/readyz` is 503."""
    sink_batch_rows: int = 20_000
    sink_batch_ms: int = 1000
    web_host: str = "127.0.0.1"
    web_port: int = 0
    """Port of /livez, /readyz and /metrics; 0 = off."""
    stall_limit_s: int = 25
    """No progress for this long although there is lag and no declared wait: the process exits."""
    gateway_host: str = "127.0.0.1"
    """Where `chargeline gateway` listens for chargers."""
    gateway_port: int = 9000
    gateway_passwords_file: Path | None = None
    """One line per charger, made by `chargeline gateway passwd`; read again when it changes."""
    gateway_tls_cert_file: Path | None = None
    """Certificate chain (PEM): TLS 1.2 or newer, OCPP security profile 2. Without: profile 1, in trusted networks."""
    gateway_tls_key_file: Path | None = None
    gateway_authorization: str = "Accepted"
    """What the gateway answers about every token: Accepted, Blocked or Invalid. It looks nothing up."""
    gateway_heartbeat_s: int = 300
    """Heartbeat interval that BootNotification is answered with."""
    gateway_ping_s: int = 30
    """WebSocket ping to every charger, and how long its pong may take; 0 = off."""
    gateway_frame_bytes: int = 262_144
    """Largest frame; a longer one closes the connection."""
    gateway_connections: int = 10_000
    """Chargers that one gateway accepts."""
    gateway_kafka_timeout_s: int = 20
    """A frame that Kafka has not taken by then is not acknowledged and its connection is closed."""
    phase_file: Path | None = None
    """For failure tests: the worker writes the name of its current step into this file."""

    @classmethod
    def from_env(cls, environ: Mapping[str, str], **overrides: object) -> Settings:
        """Settings from `environ`; raises WrongUsage that lists every unknown name and bad value at once."""
        known = {PREFIX + each.name.upper(): each for each in fields(cls)}
        faults: list[str] = []
        values: dict[str, object] = {}
        for name, text in environ.items():
            if not name.startswith(PREFIX):
                continue
            setting = known.get(name)
            if setting is None:
                faults.append(f"{name}: no such setting; see ops/settings.md")
                continue
            try:
                values[setting.name] = _parse(str(setting.type), text)
            except ValueError as error:
                faults.append(f"{name}={text!r}: {error}")
        if faults:
            raise WrongUsage("; ".join(faults))
        values.update({name: value for name, value in overrides.items() if value is not None})
        return cls(**values)  # type: ignore[arg-type]  # each value was parsed by its field's type


def _parse(type_name: str, text: str) -> object:
    match type_name:
        case "int":
            value = int(text)
            if value < 0:
                raise ValueError("must not be negative")
            return value
        case "bool":
            lowered = text.strip().lower()
            if lowered not in _TRUE | _FALSE:
                raise ValueError("must be true or false")
            return lowered in _TRUE
        case "Path | None":
            return Path(text) if text else None
        case _:
            if not text:
                raise ValueError("must not be empty")
            return text


def clickhouse_password(chosen: Settings) -> str:
    """ClickHouse's password from its file; without settings, that of `chargeline up` in this folder; "" if none.

    An address that somebody chose is never sent the password of another one. Raises WrongUsage for an unreadable file.
    """
    ours = chosen.clickhouse_password_file is None and chosen.clickhouse_url == Settings().clickhouse_url
    file = UP_PASSWORD if ours and UP_PASSWORD.exists() else chosen.clickhouse_password_file
    return secret("clickhouse_password_file", file)


def secret(name: str, file: Path | None) -> str:
    """The text of the file that setting `name` names, without the line end; "" without a file. Raises WrongUsage."""
    if file is None:
        return ""
    try:
        return file.read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise WrongUsage(f"{PREFIX}{name.upper()}: cannot read {file}: {why}") from error
