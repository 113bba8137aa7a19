"""Serves /livez, /readyz and /metrics on a local port in a thread, also when the event loop hangs."""

from __future__ import annotations

import threading
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class ProbeServer:
    """`alive` and `ready` return why not, or None; `metrics` returns Prometheus' text."""

    def __init__(
        self,
        host: str,
        port: int,
        alive: Callable[[], str | None],
        ready: Callable[[], str | None],
        metrics: Callable[[], bytes],
    ) -> None:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                match self.path.split("?")[0]:
                    case "/livez":
                        self._answer(alive())
                    case "/readyz":
                        self._answer(ready())
                    case "/metrics":
                        self._send(HTTPStatus.OK, metrics(), "text/plain; version=0.0.4; charset=utf-8")
                    case _:
                        self._send(HTTPStatus.NOT_FOUND, b"/livez, /readyz or /metrics\n", "text/plain")

            def _answer(self, complaint: str | None) -> None:
                status = HTTPStatus.OK if complaint is None else HTTPStatus.SERVICE_UNAVAILABLE
                self._send(status, f"{complaint or 'ok'}\n".encode(), "text/plain; charset=utf-8")

            def _send(self, status: HTTPStatus, body: bytes, content_type: str) -> None:
                self.send_response(status)
                self.send_header("Content-Type", content_type)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:
                """Logs nothing: probes come every second."""

        self._server = ThreadingHTTPServer((host, port), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, name="probes", daemon=True)

    @property
    def port(self) -> int:
        """The port that was bound, also when 0 was asked for."""
        return int(self._server.server_address[1])

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
