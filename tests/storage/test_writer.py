"""An insert returns when the rows are in; what waiting can cure is Unavailable, a defect is not."""

from __future__ import annotations

import http.server
import threading
from pathlib import Path

import pyarrow as pa
import pytest
from clickhouse_connect.driver.exceptions import DatabaseError

from pipeline.embedded.clickhouse import EmbeddedClickHouse
from pipeline.errors import Unavailable
from pipeline.storage import migrate
from pipeline.storage.connection import NotMigrated, connect, failures
from pipeline.storage.rows import anomalies_table
from pipeline.storage.writer import INSERT_SETTINGS, ClickHouseWriter
from tests.endpoint import owner_url
from tests.storage.conftest import MIGRATIONS, Database
from tests.storage.samples import a_session, an_alert


def test_rows_are_readable_when_the_insert_returns(database: Database) -> None:
    for number in range(5):
        database.writer.insert_sessions([a_session(number)])
        assert database.value("SELECT count() FROM sessions") == number + 1


def test_an_empty_batch_is_nothing(database: Database) -> None:
    database.writer.insert_sessions([])
    database.writer.insert_anomalies([])
    database.writer.insert_rejections([])
    assert database.value("SELECT count() FROM sessions") == 0


def test_a_block_that_was_there_before_is_taken_again(database: Database) -> None:
    """After an erasure or a rebuild the same rows must go in; block deduplication would drop them silently."""
    database.writer.insert_sessions([a_session(1)])
    database.client.command("TRUNCATE TABLE sessions")
    database.writer.insert_sessions([a_session(1)])
    assert database.value("SELECT count() FROM sessions") == 1


def test_a_missing_value_is_refused_and_not_turned_into_a_default(database: Database) -> None:
    table = anomalies_table([an_alert(1)])
    field = table.schema.field("at")
    holed = table.set_column(table.schema.get_field_index("at"), field, pa.nulls(1, field.type))
    with pytest.raises(DatabaseError):
        database.client.insert_arrow("anomalies", holed, settings=dict(INSERT_SETTINGS))
    assert database.value("SELECT count() FROM anomalies") == 0


def test_missing_tables_are_not_an_outage(clickhouse: str) -> None:
    with pytest.raises(NotMigrated, match="chargeline migrate"):
        ClickHouseWriter(clickhouse, "default", "", "nowhere").insert_sessions([a_session(1)])


def test_an_outage_is_unavailable_and_the_same_writer_goes_on_after_it(tmp_path: Path) -> None:
    with EmbeddedClickHouse(tmp_path, port=0) as server:
        client = connect(owner_url(server), "default", "")
        migrate.migrate(client, "charging", migrate.read(MIGRATIONS))
        writer = ClickHouseWriter(owner_url(server), "default", "", "charging")
        writer.insert_sessions([a_session(1)])
        server.kill()
        with pytest.raises(Unavailable, match="not available"):
            writer.insert_sessions([a_session(2)])
        server.start()
        writer.insert_sessions([a_session(2)])
        assert client.command("SELECT count() FROM charging.sessions_current") == 2


class Overloaded(http.server.BaseHTTPRequestHandler):
    """A proxy whose server is away."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("content-length", "0")))
        self.send_response(502)
        self.end_headers()
        self.wfile.write(b"Bad gateway")

    do_GET = do_POST

    def log_message(self, format: str, *args: object) -> None:
        """Not into the test's output."""


def test_a_proxy_without_its_server_is_unavailable() -> None:
    with http.server.HTTPServer(("127.0.0.1", 0), Overloaded) as proxy:
        threading.Thread(target=proxy.serve_forever, daemon=True).start()
        with pytest.raises(Unavailable):
            ClickHouseWriter(f"http://127.0.0.1:{proxy.server_port}", "default", "", "charging").insert_sessions(
                [a_session(1)]
            )
        proxy.shutdown()


@pytest.mark.parametrize(
    "text",
    [
        "Code: 75. DB::Exception: Cannot write, errno: 28, strerror: No space left on device. (CANNOT_WRITE_TO_FILE)",
        "Code: 1001. DB::Exception: std::exception: filesystem error: in create_directories: Disk quota exceeded",
        "Code: 243. DB::Exception: Cannot reserve 1.00 MiB, not enough space. (NOT_ENOUGH_SPACE)",
    ],
)
def test_a_full_disk_is_waited_for_whatever_its_code(text: str) -> None:
    with pytest.raises(Unavailable, match="is not available"), failures("http://clickhouse"):
        raise DatabaseError(text, code=int(text[6:].split(".")[0]))


def test_an_error_that_waiting_does_not_cure_stays_one() -> None:
    with pytest.raises(DatabaseError), failures("http://clickhouse"):
        raise DatabaseError("Code: 75. DB::Exception: Cannot write to file, errno: 5. (CANNOT_WRITE_TO_FILE)", code=75)
