"""Serve the page of a run during training; each request reads the run again.

Stage: run directory -> *live page*. On a loopback address, the default, it answers only requests
for a local host name, so that no other site can read it by DNS rebinding.
"""

from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address

_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'"
)


def build_server(
    render: Callable[[], str], *, host: str = "127.0.0.1", port: int = 0
) -> ThreadingHTTPServer:
    """Return a server of the page that `render` returns, or of the message of its ValueError.

    Call `serve_forever` to run it. Port 0 is any free one.

    Raises:
        OSError: the address cannot be used.
    """
    is_local = host == "localhost" or ip_address(host).is_loopback

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            name = (self.headers.get("Host") or "").rsplit(":", 1)[0].strip("[]")
            if is_local and name not in (host, "localhost", "127.0.0.1", "::1"):
                self._answer(403, "this page is only served to browsers on this machine")
            elif self.path.partition("?")[0] != "/":
                self._answer(404, "not found; the only page is /")
            else:
                try:
                    self._answer(200, render(), kind="text/html")
                except ValueError as error:
                    self._answer(503, str(error))

        def _answer(self, status: int, text: str, *, kind: str = "text/plain") -> None:
            body = text.encode()
            self.send_response(status)
            self.send_header("Content-Type", f"{kind}; charset=utf-8")
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Cache-Control", "no-store")
            self.send_header("Content-Security-Policy", _POLICY)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Log nothing."""

    return ThreadingHTTPServer((host, port), Handler)
