"""The endpoint serves its owner only: a password, no web page, no foreign name, nothing outside its folder."""

from __future__ import annotations

import re
import shutil
import stat
import subprocess
import threading
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from pipeline.embedded.clickhouse import EmbeddedClickHouse
from pipeline.errors import Unavailable
from tests.endpoint import owner_url, request

REFUSED = re.compile(r"\d{3} Code: (497|164|62|344|36)\.")
"""By us, for reading only, by the parser, for an expression in VALUES, for data that nobody can parse."""
SECRET = "the-text-of-somebody-elses-file"  # noqa: S105 - what must not come out
BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A server with a table `t` and, beside its folder, a file `secret.txt` that is nobody else's business."""

    url: str
    folder: Path
    outside: Path

    def ask(self, sql: str, *, get: bool = False, headers: Mapping[str, str] | None = None, **settings: str) -> str:
        """The answer, or the error's text."""
        given = settings | ({"query": sql} if get else {})
        asked = request(f"{self.url}/?{urllib.parse.urlencode(given)}", None if get else sql.encode(), headers)
        try:
            with urllib.request.urlopen(asked, timeout=30) as answer:  # noqa: S310 - our own http:// address
                return bytes(answer.read()).decode()
        except urllib.error.HTTPError as error:
            with error:
                return f"{error.code} {error.read().decode()}"


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Endpoint]:
    folder = tmp_path_factory.mktemp("owner")
    outside = folder / "outside"
    outside.mkdir()
    (outside / "secret.txt").write_text(SECRET)
    with EmbeddedClickHouse(folder / "clickhouse", port=0) as server:
        found = Endpoint(owner_url(server), folder / "clickhouse", outside)
        assert found.ask("CREATE TABLE t (s String) ENGINE = MergeTree ORDER BY s") == ""
        yield found


def test_the_password_is_the_folders_own_and_nobody_elses(endpoint: Endpoint) -> None:
    file = endpoint.folder / "password"
    assert len(file.read_text().strip()) >= 32
    assert [stat.S_IMODE(each.stat().st_mode) for each in (file, endpoint.folder)] == [0o600, 0o700]


def test_who_does_not_know_it_is_refused_and_the_owner_is_not(endpoint: Endpoint) -> None:
    bare = Endpoint(endpoint.url.replace(f"default:{urlsplit(endpoint.url).password}@", ""), endpoint.folder, Path())
    for headers in ({}, {"X-ClickHouse-Key": "wrong"}, {"X-ClickHouse-User": "root"}, {"Authorization": "Basic !"}):
        assert bare.ask("SELECT 1", headers=headers).startswith("403 Code: 516.")
        assert bare.ask("SELECT 1", get=True, headers=headers).startswith("403 Code: 516.")
    assert endpoint.ask("SELECT 1") == "1\n"
    assert bare.ask("SELECT 1", password=urlsplit(endpoint.url).password or "") == "1\n"


def test_the_owner_may_choose_it_but_not_leave_it_empty(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("my own\n")
    with EmbeddedClickHouse(tmp_path, port=0) as server:
        own = request(server.url, b"SELECT 1", {"X-ClickHouse-Key": "my own"})
        with urllib.request.urlopen(own, timeout=30) as answer:  # noqa: S310 - our own http:// address
            assert answer.read() == b"1\n"
    (tmp_path / "password").write_text("\n")
    with pytest.raises(Unavailable, match="password is empty; write a password into it"):
        EmbeddedClickHouse(tmp_path, port=0).start()


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example"},
        {"Host": "evil.example:8123"},
        {"Host": "127.0.0.1.evil.example"},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "no-cors"},
    ],
)
def test_a_page_is_refused_even_with_the_password(endpoint: Endpoint, headers: dict[str, str]) -> None:
    assert endpoint.ask("SELECT 1", get=True, headers=headers).startswith("403 Code: 516.")
    assert endpoint.ask("SELECT 1", headers=headers).startswith("403 Code: 516.")


def test_a_tunnel_with_another_port_and_an_address_typed_into_a_browser_are_not(endpoint: Endpoint) -> None:
    assert endpoint.ask("SELECT 1", headers={"Host": "localhost:18123", "Sec-Fetch-Site": "none"}) == "1\n"


OUT_OF_THE_FOLDER = [
    "SELECT * FROM file('{file}', 'LineAsString')",
    "SELECT FILE('{file}')",
    "SELECT arrayMap(file, ['{file}'])",
    "SELECT * APPLY file FROM (SELECT '{file}' AS name)",
    "WITH file AS f SELECT arrayMap(f, ['{file}'])",
    "SELECT 1 WHERE 'x' IN (SELECT * FROM `file`('{file}', 'LineAsString'))",
    "SELECT '{file}' IN file('{file}', 'LineAsString')",
    "SELECT * FROM '{file}'",
    "SELECT * FROM default.`{file}`",
    "SELECT * FROM eval('SELECT * FROM file(\\'{file}\\', \\'LineAsString\\')')",
    "SELECT * FROM fileCluster('default', '{file}', 'LineAsString')",
    "SELECT * FROM s3('http://127.0.0.1:1/b/k', 'CSV')",
    "SELECT * FROM url('http://127.0.0.1:1/', 'CSV', 'a String')",
    "SELECT * FROM remote('127.0.0.1:1', system.one)",
    "SELECT * FROM python('{file}')",
    "SELECT * FROM executable('cat {file}', 'LineAsString', 's String')",
    "DESCRIBE TABLE file('{file}', 'LineAsString')",
    "DESCRIBE `{file}`",
    "EXPLAIN SELECT * FROM file('{file}', 'LineAsString')",
    "SELECT 1; SELECT * FROM file('{file}', 'LineAsString')",
    "INSERT INTO t VALUES (file('{file}'))",
    "INSERT INTO t SETTINGS input_format_values_interpret_expressions = 1 VALUES (file('{file}'))",
    "INSERT INTO t FORMAT Values (file('{file}'))",
    "INSERT INTO t SELECT * FROM file('{file}', 'LineAsString')",
    "INSERT INTO t FROM INFILE '{file}' FORMAT LineAsString",
    "CREATE TABLE u (s String) ENGINE = File(LineAsString, '{file}')",
    "CREATE TABLE u AS file('{file}', 'LineAsString')",
    "CREATE TABLE u (s String DEFAULT file('{file}')) ENGINE = Memory",
    "CREATE TABLE u (s String) ENGINE = MergeTree ORDER BY s SETTINGS disk = disk(type = web, endpoint = 'http://x/')",
    "CREATE VIEW v AS SELECT * FROM file('{file}', 'LineAsString')",
    "CREATE FUNCTION f AS x -> file(x)",
    "CREATE DATABASE d ENGINE = Filesystem('{folder}')",
    "CREATE DICTIONARY d (s String) PRIMARY KEY s SOURCE(FILE(path '{file}' format 'CSV')) LAYOUT(FLAT()) LIFETIME(1)",
    "ALTER TABLE t UPDATE s = file('{file}') WHERE 1",
    "SELECT 1 SETTINGS additional_result_filter = 'file(\\'{file}\\') != \\'\\''",
    "SELECT 1 FORMAT Template SETTINGS format_template_row = '{file}'",
    "SET dialect = 'kusto'",
    "SYSTEM SHUTDOWN",
    "BACKUP TABLE t TO File('{folder}/new.txt')",
    "SELECT 'x' INTO OUTFILE '{folder}/new.txt'",
    "SELECT 'x' INTO OUTFILE '{file}' TRUNCATE",
    "SELECT 'x' INTO OUTFILE '{file}' APPEND FORMAT CSV",
    "INSERT INTO FUNCTION file('{folder}/new.txt', 'CSV', 's String') SELECT 'x'",
    "INSERT INTO `{folder}/new.csv` SELECT 'x'",
]


@pytest.mark.parametrize("sql", OUT_OF_THE_FOLDER)
def test_no_statement_leaves_the_folder(endpoint: Endpoint, sql: str) -> None:
    stated = sql.format(file=endpoint.outside / "secret.txt", folder=endpoint.outside)
    for get in (True, False):
        answer = endpoint.ask(stated, get=get)
        assert SECRET not in answer
        assert REFUSED.match(answer), answer
        assert SECRET not in endpoint.ask("SELECT * FROM t")
    assert [each.name for each in endpoint.outside.iterdir()] == ["secret.txt"]
    assert (endpoint.outside / "secret.txt").read_text() == SECRET
    assert endpoint.ask("SELECT 1") == "1\n"


def test_what_follows_the_data_of_an_insert_is_not_run(endpoint: Endpoint) -> None:
    file = endpoint.outside / "secret.txt"
    answer = endpoint.ask(f"INSERT INTO t VALUES ('x'); SELECT file('{file}')")  # noqa: S608 - what an attacker sends
    assert SECRET not in answer + endpoint.ask("SELECT * FROM t")


def test_names_and_settings_of_the_address_do_not_leave_it_either(endpoint: Endpoint) -> None:
    file = str(endpoint.outside / "secret.txt")
    named = endpoint.ask("SELECT * FROM {t:Identifier}", param_t=file)
    assert named.startswith("403 Code: 497. DB::Exception: names with a slash")
    assert endpoint.ask("SELECT 1", format_schema=file).startswith("403 Code: 497.")
    (endpoint.folder.parent / "relative").write_text(SECRET)
    assert endpoint.ask("SELECT * FROM relative").startswith("404 Code: 60.")


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT format('{}/{}', s, 'a/b') AS `kWh/h` FROM t WHERE s IN ('a/b') ORDER BY s",
        "SELECT 1 IN (SELECT number FROM numbers(3))",
        "SELECT toString(now('Europe/Berlin')) != '' SETTINGS session_timezone = 'Europe/Berlin', log_comment = 'a/b'",
        "INSERT INTO t (s) VALUES ('it''s; a/b'), ('(')",
        "INSERT INTO t SELECT toString(number) FROM numbers(3)",
        "DESCRIBE TABLE t",
        "SHOW CREATE TABLE t",
        "SHOW TABLES",
        "ALTER TABLE t ADD COLUMN IF NOT EXISTS url String COMMENT 'a/b'",
        "WITH (SELECT 1) AS one SELECT length(url) + one FROM t",
    ],
)
def test_the_owners_own_work_is_not_hindered(endpoint: Endpoint, sql: str) -> None:
    answer = endpoint.ask(sql)
    assert "Code:" not in answer


@pytest.mark.parametrize(
    "sql",
    [
        "INSERT INTO t VALUES ('got')",
        "DROP TABLE t",
        "SET max_threads = 1",
        "KILL QUERY WHERE 1",
        "CREATE TABLE u (s String) ENGINE = Memory",
        "ALTER TABLE t DELETE WHERE 1",
        "SYSTEM STOP MERGES",
    ],
)
def test_a_get_only_reads(endpoint: Endpoint, sql: str) -> None:
    before = endpoint.ask("SELECT count() FROM t")
    assert "Code: 164." in endpoint.ask(sql, get=True, readonly="0")
    assert endpoint.ask("SELECT count() FROM t") == before


PAGE = """<!doctype html><title>waiting</title><body><script>
const tries = TRIES, told = [];
const reads = (url, options) => fetch(url, options).then(answer => answer.text()).then(
  text => told.push("READ " + text), error => told.push("refused"));
const loads = (tag, url) => new Promise(done => { const each = document.createElement(tag); each.src = url;
  each.onload = () => { told.push("LOADED " + tag); done(); }; each.onerror = () => { told.push("refused"); done(); };
  document.body.append(each); });
Promise.all([...tries.reads.map(url => reads(url, {})), ...tries.reads.map(url => reads(url, {mode: "no-cors"})),
  ...tries.writes.map(([url, body]) => reads(url, {method: "POST", body, mode: "no-cors"})),
  ...tries.loads.map(url => loads("img", url)), ...tries.loads.map(url => loads("script", url)),
]).then(() => { document.body.innerText = "DONE " + told.join("|"); });
</script>"""


@contextmanager
def serving(folder: Path) -> Iterator[str]:
    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            """Not on the tests' output."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://localhost:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def in_a_browser(address: str, profile: Path, *options: str) -> str:
    """What the page at `address` shows in the end, as HTML."""
    if BROWSER is None:
        pytest.skip("no chromium here (Debian's package `chromium`): the page was not tried in a real browser")
    flags = ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={profile}", "--virtual-time-budget=20000"]
    done = subprocess.run(  # noqa: S603 - our own command
        [BROWSER, *flags, *options, "--dump-dom", address], capture_output=True, text=True, timeout=120, check=False
    )
    return done.stdout


def test_a_page_in_a_real_browser_reads_and_writes_nothing(endpoint: Endpoint, tmp_path: Path) -> None:
    """Also with the password, and with a name of its own that leads to the loopback (DNS rebinding)."""
    address, password = endpoint.url.replace("default:", "x:"), urlsplit(endpoint.url).password
    bare = f"http://127.0.0.1:{urlsplit(address).port}/"
    rebound = f"http://evil.example:{urlsplit(address).port}/"
    key = f"?password={password}&query="
    write = urllib.parse.quote(f"SELECT 'x' INTO OUTFILE '{endpoint.outside}/browser.txt'")
    tries = {
        "reads": [f"{site}{key}SELECT+'{SECRET}'" for site in (bare, rebound)],
        "writes": [[f"{bare}?password={password}", "DROP TABLE t"], [f"{rebound}{key}DROP+TABLE+t", ""]],
        "loads": [f"{bare}{key}{write}", f"{bare}{key}SELECT+'1;'"],
    }
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "page.html").write_text(PAGE.replace("TRIES", repr(tries)))
    (tmp_path / "site" / "control.txt").write_text("a page reads its own site")
    with serving(tmp_path / "site") as site:
        control = {"reads": [f"{site}/control.txt"], "writes": [], "loads": []}
        (tmp_path / "site" / "control.html").write_text(PAGE.replace("TRIES", repr(control)))
        assert "READ a page reads its own site" in in_a_browser(f"{site}/control.html", tmp_path / "profile")
        names = "--host-resolver-rules=MAP evil.example 127.0.0.1"
        shown = in_a_browser(f"{site}/page.html", tmp_path / "profile", names)
        navigated = in_a_browser(f"{rebound}{key}SELECT+'{SECRET}'", tmp_path / "profile", names)
    assert "DONE" in shown
    assert SECRET not in shown.partition("DONE")[2]
    assert "LOADED" not in shown.partition("DONE")[2]
    assert "Requests from web pages are refused" in navigated
    assert endpoint.ask("EXISTS t") == "1\n"
    assert not (endpoint.outside / "browser.txt").exists()
