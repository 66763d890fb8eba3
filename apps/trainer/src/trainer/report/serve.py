"""Serve the page of a run while the run goes on; each request reads the run anew.

Stage: run directory -> *live page*. Loopback by default, and then only to browsers of this machine:
a page of another site cannot read it through a name that it made point here.
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
    """Return a server of one page; `serve_forever` runs it.

    Args:
        render: makes the page; a ValueError of it is shown instead.
        host: address to listen at.
        port: to listen at; 0: any that is free.

    Raises:
        OSError: the address cannot be used.
    """
    is_local = host == "localhost" or ip_address(host).is_loopback

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            name = (self.headers.get("Host") or "").rsplit(":", 1)[0].strip("[]")
            if is_local and name not in (host, "localhost", "127.0.0.1", "::1"):
                self._answer(403, "this page is for browsers of this machine")
            elif self.path.partition("?")[0] != "/":
                self._answer(404, "there is only one page here: /")
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
            """Keep the terminal for what matters."""

    return ThreadingHTTPServer((host, port), Handler)
