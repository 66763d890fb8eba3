import hashlib
import json
import shutil
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from trainer.download import ATTEMPTS, DownloadRecord, download
from trainer.progress import Reporter

BODY = bytes(range(256)) * 20_000  # five chunks
SHA256 = hashlib.sha256(BODY).hexdigest()


class Host:
    """A host of one file whose manners each test sets."""

    def __init__(self) -> None:
        self.body = BODY
        self.etag: str | None = f'"{SHA256}"'
        self.linked_etag: str | None = None
        self.ranges = True
        self.statuses: list[int] = []  # answered first, one a request
        self.cuts: list[int] = []  # bytes given before the connection closes, one a request
        self.requests: list[dict[str, str]] = []
        self.url = ""


@pytest.fixture
def host() -> Iterator[Host]:
    host = Host()

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *args: object) -> None:
            pass

        def do_GET(self) -> None:
            if self.path == "/redirect":
                self.send_response(302)
                self.send_header("Location", "/file.txt")
                self.send_header("X-Linked-Etag", str(host.linked_etag))
                self.end_headers()
                return
            host.requests.append(dict(self.headers))
            if host.statuses:
                self.send_error(host.statuses.pop(0))
                return
            answer_file(self, host)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    host.url = f"http://127.0.0.1:{server.server_port}/file.txt"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield host
    server.shutdown()
    thread.join()
    server.server_close()


def answer_file(handler: BaseHTTPRequestHandler, host: Host) -> None:
    start = 0
    wanted = handler.headers.get("Range")
    same = handler.headers.get("If-Range") == host.etag
    if host.ranges and wanted and same:
        start = int(wanted.removeprefix("bytes=").removesuffix("-"))
        handler.send_response(206)
        total = len(host.body)
        handler.send_header("Content-Range", f"bytes {start}-{total - 1}/{total}")
    else:
        handler.send_response(200)
    if host.etag:
        handler.send_header("ETag", host.etag)
    rest = host.body[start:]
    handler.send_header("Content-Length", str(len(rest)))
    handler.end_headers()
    handler.wfile.write(rest[: host.cuts.pop(0)] if host.cuts else rest)


class Listener(Reporter):
    """Keep the lines instead of showing them."""

    def __init__(self) -> None:
        super().__init__(mode="silent")
        self.lines: list[str] = []

    def say(self, line: str) -> None:
        self.lines.append(line)


def fetch(url: str, path: Path, *, reporter: Reporter | None = None) -> DownloadRecord:
    return download(url, path, reporter=reporter or Listener(), sleep=lambda seconds: None)


def test_file_arrives_whole_with_its_record(host: Host, tmp_path: Path):
    record = fetch(host.url, tmp_path / "file.txt")
    assert (tmp_path / "file.txt").read_bytes() == BODY
    assert record == DownloadRecord(url=host.url, size_bytes=len(BODY), sha256=SHA256, checked=True)
    saved = json.loads((tmp_path / "file.txt.json").read_text())
    assert (saved["format"], saved["sha256"]) == ("trainer-download", SHA256)
    assert not (tmp_path / "file.txt.part").exists()
    assert not (tmp_path / "file.txt.part.json").exists()


def test_announcement_names_file_size_and_host_before_anything_is_kept(host: Host, tmp_path: Path):
    class Watch(Listener):
        def say(self, line: str) -> None:
            super().say(line)
            assert not line.startswith("downloading") or not (tmp_path / "file.txt.part").exists()

    reporter = Watch()
    fetch(host.url, tmp_path / "file.txt", reporter=reporter)
    assert reporter.lines[0] == f"downloading file.txt (5.1 MB) from {host.url}"


def test_complete_download_is_reused_without_a_request(host: Host, tmp_path: Path):
    first = fetch(host.url, tmp_path / "file.txt")
    host.requests.clear()
    reporter = Listener()
    assert fetch(host.url, tmp_path / "file.txt", reporter=reporter) == first
    assert host.requests == []
    assert reporter.lines[0].startswith("reusing ")


def test_cut_connection_continues_where_it_ended(host: Host, tmp_path: Path):
    host.cuts = [3_000_000, 1_000_000]
    fetch(host.url, tmp_path / "file.txt")
    assert (tmp_path / "file.txt").read_bytes() == BODY
    ranges = [request.get("Range") for request in host.requests]
    assert ranges == [None, "bytes=3000000-", "bytes=4000000-"]
    assert host.requests[1]["If-Range"] == host.etag


def test_part_of_a_killed_process_is_continued(host: Host, tmp_path: Path):
    host.cuts = [2_000_000, *[0] * ATTEMPTS]
    with pytest.raises(ValueError, match=r"2\.0 MB are kept"):
        fetch(host.url, tmp_path / "file.txt")
    assert (tmp_path / "file.txt.part").stat().st_size == 2_000_000
    host.requests.clear()
    host.cuts.clear()
    fetch(host.url, tmp_path / "file.txt")
    assert [request.get("Range") for request in host.requests] == ["bytes=2000000-"]
    assert (tmp_path / "file.txt").read_bytes() == BODY


def test_host_without_ranges_starts_over(host: Host, tmp_path: Path):
    host.ranges = False
    host.cuts = [3_000_000]
    fetch(host.url, tmp_path / "file.txt")
    assert (tmp_path / "file.txt").read_bytes() == BODY


def test_host_without_a_validator_starts_over(host: Host, tmp_path: Path):
    host.etag = None
    host.cuts = [3_000_000]
    record = fetch(host.url, tmp_path / "file.txt")
    assert [request.get("Range") for request in host.requests] == [None, None]
    assert (record.sha256, record.checked) == (SHA256, False)


def test_a_cut_download_is_not_called_done(
    host: Host, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    host.cuts = [3_000_000]
    fetch(host.url, tmp_path / "file.txt", reporter=Reporter(mode="lines"))
    done = [line for line in capsys.readouterr().err.splitlines() if "done in" in line]
    assert len(done) == 2  # the second attempt, and the check
    assert all("100%" in line for line in done)


def test_host_that_always_cuts_at_the_same_byte_is_given_up(host: Host, tmp_path: Path):
    host.ranges = False
    host.cuts = [3_000_000] * 100
    with pytest.raises(ValueError, match="6 times in a row"):
        fetch(host.url, tmp_path / "file.txt")
    assert len(host.requests) == ATTEMPTS + 1  # the first one made progress


def test_file_that_changed_meanwhile_is_fetched_anew(host: Host, tmp_path: Path):
    host.cuts = [3_000_000, *[0] * ATTEMPTS]
    with pytest.raises(ValueError, match="kept"):
        fetch(host.url, tmp_path / "file.txt")
    host.cuts.clear()
    host.body = BODY[::-1]
    host.etag = f'"{hashlib.sha256(host.body).hexdigest()}"'
    fetch(host.url, tmp_path / "file.txt")
    assert (tmp_path / "file.txt").read_bytes() == BODY[::-1]


def test_wrong_content_is_refused_and_removed(host: Host, tmp_path: Path):
    host.etag = f'"{"0" * 64}"'
    with pytest.raises(ValueError, match=f"SHA-256 {SHA256}, but the host says 0000"):
        fetch(host.url, tmp_path / "file.txt")
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"file.txt.lock"}


def test_hash_on_the_redirect_outranks_the_final_etag(host: Host, tmp_path: Path):
    host.etag, host.linked_etag = '"d41d8cd98f00b204"', f'"{SHA256}"'
    url = host.url.replace("file.txt", "redirect")
    assert fetch(url, tmp_path / "file.txt").checked
    host.linked_etag = f'"{"0" * 64}"'
    with pytest.raises(ValueError, match="the host says 0000"):
        fetch(url, tmp_path / "again.txt")


def test_busy_host_is_tried_again(host: Host, tmp_path: Path):
    host.statuses = [503, 429]
    reporter = Listener()
    fetch(host.url, tmp_path / "file.txt", reporter=reporter)
    assert (tmp_path / "file.txt").read_bytes() == BODY
    assert reporter.lines[0].endswith("HTTP 503 Service Unavailable; trying again in 2 s")


def test_missing_file_is_a_clear_error_at_once(host: Host, tmp_path: Path):
    host.statuses = [404, 404]
    with pytest.raises(ValueError, match="HTTP 404 Not Found"):
        fetch(host.url, tmp_path / "file.txt")
    assert len(host.requests) == 1


def test_host_that_is_not_there_is_a_clear_error(tmp_path: Path):
    with pytest.raises(ValueError, match="no connection"):
        fetch("http://127.0.0.1:9/file.txt", tmp_path / "file.txt")


def test_address_that_is_not_http_is_refused(tmp_path: Path):
    with pytest.raises(ValueError, match="need an http or https address"):
        fetch("file:///etc/hostname", tmp_path / "file.txt")


def test_full_disk_is_a_clear_error_before_fetching(
    host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=1000))
    with pytest.raises(ValueError, match=r"5\.1 MB missing, 1\.0 kB free"):
        fetch(host.url, tmp_path / "file.txt")


def test_file_of_unknown_origin_is_never_overwritten(host: Host, tmp_path: Path):
    (tmp_path / "file.txt").write_text("mine")
    with pytest.raises(ValueError, match="has no record"):
        fetch(host.url, tmp_path / "file.txt")
    assert (tmp_path / "file.txt").read_text() == "mine"


def test_damaged_download_is_refused(host: Host, tmp_path: Path):
    fetch(host.url, tmp_path / "file.txt")
    (tmp_path / "file.txt").write_bytes(BODY[:-1])
    with pytest.raises(ValueError, match=r"5,119,999 bytes, but its record says 5,120,000"):
        fetch(host.url, tmp_path / "file.txt")


def test_two_at_once_fetch_the_file_once(host: Host, tmp_path: Path):
    records: list[DownloadRecord] = []
    threads = [
        threading.Thread(target=lambda: records.append(fetch(host.url, tmp_path / "file.txt")))
        for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(host.requests) == 1
    assert records[0] == records[1]
