"""How tests reach the embedded ClickHouse: an address with the owner's password in it, and plain requests to that."""

from __future__ import annotations

import urllib.request
from collections.abc import Mapping
from urllib.parse import urlsplit

from pipeline.embedded.clickhouse import EmbeddedClickHouse


def owner_url(server: EmbeddedClickHouse) -> str:
    """`http://default:PASSWORD@127.0.0.1:PORT`, which clickhouse-connect and our settings take."""
    return server.url.replace("//", f"//default:{server.password_file.read_text('utf-8').strip()}@", 1)


def request(url: str, body: bytes | None = None, headers: Mapping[str, str] | None = None) -> urllib.request.Request:
    """As curl makes it of such an address: GET without a body, POST with one; the password goes into a header."""
    found = urlsplit(url)
    key = {"X-ClickHouse-Key": found.password} if found.password else {}
    address = found._replace(netloc=found.netloc.rpartition("@")[2]).geturl()
    return urllib.request.Request(address, body, {**key, **(headers or {})})  # noqa: S310 - our own http:// address
