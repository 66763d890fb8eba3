"""`watch`: one page, always fresh, for this machine only."""

import http.client
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from trainer.report import build_server


@contextmanager
def _served(render: Callable[[], str]) -> Iterator[tuple[str, int]]:
    with build_server(render) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.server_address[:2]
        finally:
            server.shutdown()
            thread.join()


def _get(address: tuple[str, int], path: str = "/", **headers: str) -> tuple[int, str]:
    connection = http.client.HTTPConnection(*address)
    connection.request("GET", path, headers=headers)
    answer = connection.getresponse()
    return answer.status, answer.read().decode()


def test_each_request_reads_the_run_anew() -> None:
    pages = iter(["first", "second"])
    with _served(lambda: next(pages)) as address:
        assert address[0] == "127.0.0.1"
        assert [_get(address), _get(address)] == [(200, "first"), (200, "second")]


@pytest.mark.parametrize("path", ["/../../etc/passwd", "/config.toml", "/report.html"])
def test_there_is_nothing_else_to_get(path: str) -> None:
    with _served(lambda: "page") as address:
        assert _get(address, path)[0] == 404


def test_a_foreign_name_for_this_machine_is_refused() -> None:
    with _served(lambda: "page") as address:
        assert _get(address, Host="evil.example")[0] == 403
        assert _get(address, Host=f"localhost:{address[1]}")[0] == 200


def test_a_run_that_cannot_be_read_is_told() -> None:
    def fail() -> str:
        raise ValueError("config.toml is not valid TOML")

    with _served(fail) as address:
        assert _get(address) == (503, "config.toml is not valid TOML")
