import contextlib
import hashlib
import json
import shutil
import sys
import threading
from collections.abc import Iterator
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path
from urllib.request import Request

import pytest
from faults.disk import Disk, every_fault, killed_at, record

from trainer.data.public.download import ATTEMPTS, DownloadRecord, download
from trainer.data.public.http_source import _Redirects
from trainer.monitoring.progress import Reporter

BODY = bytes(range(256)) * 20_000  # five chunks
SHA256 = hashlib.sha256(BODY).hexdigest()


class Host:
    """A host of one file whose manners each test sets."""

    def __init__(self) -> None:
        self.body = BODY
        self.etag: str | None = f'"{SHA256}"'
        self.linked_etag: str | None = None
        self.location = "/file.txt"  # where /redirect leads
        self.extra = b""  # behind what a range asks for
        self.headers: dict[str, str] = {}  # in place of Content-Length
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
                self.send_header("Location", host.location)
                self.send_header("X-Linked-Etag", str(host.linked_etag))
                self.end_headers()
                return
            host.requests.append(dict(self.headers))
            if host.statuses:
                self.send_error(host.statuses.pop(0))
                return
            answer_file(self, host)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.handle_error = lambda request, address: None  # a client that was killed
    host.url = f"http://127.0.0.1:{server.server_port}/file.txt"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield host
    server.shutdown()
    thread.join()
    server.server_close()


def answer_file(handler: BaseHTTPRequestHandler, host: Host) -> None:
    start, extra = 0, b""
    wanted = handler.headers.get("Range")
    same = handler.headers.get("If-Range") == host.etag
    if host.ranges and wanted and same:
        start = int(wanted.removeprefix("bytes=").removesuffix("-"))
        extra = host.extra
        handler.send_response(206)
        total = len(host.body)
        handler.send_header("Content-Range", f"bytes {start}-{total - 1}/{total}")
    else:
        handler.send_response(200)
    if host.etag:
        handler.send_header("ETag", host.etag)
    rest = host.body[start:] + extra
    for name, value in (host.headers or {"Content-Length": str(len(rest))}).items():
        handler.send_header(name, value)
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
    with pytest.raises(ValueError, match=f"SHA-256 {SHA256}, but the host states 0000"):
        fetch(host.url, tmp_path / "file.txt")
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"file.txt.lock"}


def test_hash_on_the_redirect_outranks_the_final_etag(host: Host, tmp_path: Path):
    host.etag, host.linked_etag = '"d41d8cd98f00b204"', f'"{SHA256}"'
    url = host.url.replace("file.txt", "redirect")
    assert fetch(url, tmp_path / "file.txt").checked
    host.linked_etag = f'"{"0" * 64}"'
    with pytest.raises(ValueError, match="the host states 0000"):
        fetch(url, tmp_path / "again.txt")


@pytest.mark.parametrize("location", ["ftp://127.0.0.1/x", "file:///etc/hostname", "data:,x"])
def test_a_redirect_to_another_scheme_is_refused(host: Host, tmp_path: Path, location: str) -> None:
    host.location = location
    with pytest.raises(ValueError, match=r"only http or https|not allowed"):
        fetch(host.url.replace("file.txt", "redirect"), tmp_path / "file.txt")
    assert host.requests == []
    assert [path.name for path in tmp_path.iterdir()] == ["file.txt.lock"]


def test_a_redirect_from_https_to_http_is_refused() -> None:
    request = Request("https://example.org/file.txt")
    with pytest.raises(ValueError, match="from there only https is followed"):
        _Redirects().redirect_request(
            request, BytesIO(), 302, "Found", Message(), "http://example.org/file.txt"
        )


def test_a_redirect_to_itself_is_given_up_at_once(host: Host, tmp_path: Path) -> None:
    host.location = "/redirect"
    with pytest.raises(ValueError, match="infinite loop"):
        fetch(host.url.replace("file.txt", "redirect"), tmp_path / "file.txt")


def test_an_answer_of_unknown_length_needs_a_hash(host: Host, tmp_path: Path) -> None:
    host.headers = {"Connection": "close"}
    assert fetch(host.url, tmp_path / "file.txt").checked
    host.etag = None
    with pytest.raises(ValueError, match="neither its length nor its SHA-256"):
        fetch(host.url, tmp_path / "other.txt")
    assert not (tmp_path / "other.txt").exists()


def test_an_answer_of_unknown_length_that_is_cut_is_refused(host: Host, tmp_path: Path) -> None:
    host.headers, host.cuts = {"Connection": "close"}, [1000]
    with pytest.raises(ValueError, match="but the host states"):
        fetch(host.url, tmp_path / "file.txt")
    assert [path.name for path in tmp_path.iterdir()] == ["file.txt.lock"]


def test_a_length_that_is_no_number_is_refused(host: Host, tmp_path: Path) -> None:
    host.headers = {"Content-Length": "many"}
    with pytest.raises(ValueError, match="Content-Length is 'many'"):
        fetch(host.url, tmp_path / "file.txt")


def test_an_answer_that_goes_on_behind_its_end_is_refused(host: Host, tmp_path: Path) -> None:
    host.cuts, host.extra = [2_000_000], bytes(100)
    reporter = Listener()
    fetch(host.url, tmp_path / "file.txt", reporter=reporter)
    assert any("the answer continued past 5.1 MB" in line for line in reporter.lines)
    assert [request.get("Range") for request in host.requests] == [None, "bytes=2000000-", None]
    assert (tmp_path / "file.txt").read_bytes() == BODY


@pytest.mark.parametrize("content", ["[]", "[" * 100_000, '{"format": "trainer-download"}', ""])
def test_a_damaged_record_is_refused(host: Host, tmp_path: Path, content: str) -> None:
    fetch(host.url, tmp_path / "file.txt")
    (tmp_path / "file.txt.json").write_text(content)
    with pytest.raises(ValueError, match=r"file\.txt\.json"):
        fetch(host.url, tmp_path / "file.txt")


@pytest.mark.parametrize("content", ["[]", "[" * 100_000, '{"url": 1}', "", '{"size_bytes": "x"}'])
def test_a_part_with_a_damaged_record_is_fetched_anew(
    host: Host, tmp_path: Path, content: str
) -> None:
    (tmp_path / "file.txt.part").write_bytes(b"wrong")
    (tmp_path / "file.txt.part.json").write_text(content)
    fetch(host.url, tmp_path / "file.txt")
    assert (tmp_path / "file.txt").read_bytes() == BODY


FINAL = {"file.txt", "file.txt.json", "file.txt.lock"}


@pytest.mark.skipif(sys.platform != "linux", reason="the layer reads /proc")
def test_a_kill_at_any_operation_leaves_no_half_file_and_nothing_behind(
    host: Host, tmp_path: Path
) -> None:
    host.body = BODY[:2_500_000]
    host.etag = f'"{hashlib.sha256(host.body).hexdigest()}"'
    place = tmp_path / "in"
    place.mkdir()
    operations = record(place, lambda: fetch(host.url, place / "file.txt"))
    assert {"write", "fsync", "rename"} <= {operation.name for operation in operations}
    for number in range(len(operations)):
        shutil.rmtree(place)
        place.mkdir()
        assert killed_at(number, place, lambda: fetch(host.url, place / "file.txt"))
        assert not (place / "file.txt").exists() or ((place / "file.txt").read_bytes() == host.body)
        fetch(host.url, place / "file.txt")
        assert (place / "file.txt").read_bytes() == host.body
        left = {path.name for path in place.iterdir()}
        assert left - FINAL == set(), operations[number]


@pytest.mark.campaign
@pytest.mark.parametrize("for_good", [False, True], ids=["once", "for good"])
def test_a_failing_disk_leaves_no_half_file_and_the_next_start_completes_it(
    host: Host, tmp_path: Path, for_good: bool
) -> None:
    host.body = BODY[:2_500_000]
    host.etag = f'"{hashlib.sha256(host.body).hexdigest()}"'
    place = tmp_path / "in"
    place.mkdir()
    for number, fault in every_fault(record(place, lambda: fetch(host.url, place / "file.txt"))):
        shutil.rmtree(place)
        place.mkdir()
        with (
            Disk(place, at=number, fault=fault, for_good=for_good),
            contextlib.suppress(OSError, ValueError),
        ):
            fetch(host.url, place / "file.txt")
        if (place / "file.txt").exists():
            assert (place / "file.txt").read_bytes() == host.body
        fetch(host.url, place / "file.txt")
        assert (place / "file.txt").read_bytes() == host.body
        assert {path.name for path in place.iterdir()} - FINAL == set(), (number, fault)


def test_a_disk_that_is_full_meanwhile_keeps_the_part(host: Host, tmp_path: Path) -> None:
    with (
        Disk(tmp_path, at=9, fault="ENOSPC", for_good=True) as disk,
        pytest.raises(ValueError, match=r"no space for .*file\.txt"),
    ):
        fetch(host.url, tmp_path / "file.txt")
    kept = (tmp_path / "file.txt.part").stat().st_size
    assert 0 < kept < len(BODY), disk.operations
    host.requests.clear()
    fetch(host.url, tmp_path / "file.txt")
    assert host.requests[0]["Range"] == f"bytes={kept}-"
    assert (tmp_path / "file.txt").read_bytes() == BODY


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
