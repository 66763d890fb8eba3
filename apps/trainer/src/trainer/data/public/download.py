"""Download one large file: announced, resumable, checked, complete or absent.

Stage: *URL -> file* -> corpus. Bytes are collected in `NAME.part`, which is renamed at the end;
`NAME.json` beside it records the URL, the size and the SHA-256. Not here: which files there are and
how they are unpacked (`datasets.py`).
"""

import errno
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from http.client import HTTPException
from io import FileIO
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.request import Request

from trainer.data.public.http_source import HttpAnswer, Validator, open_url
from trainer.data.text_files import hash_file
from trainer.monitoring.progress import Reporter, Stage, format_amount
from trainer.storage.durable import TEMPORARY, rename_durably
from trainer.storage.file_lock import file_lock
from trainer.storage.run_directory import read_json, write_json_atomically

FORMAT, VERSION = "trainer-download", 1
ATTEMPTS = 6
"""Consecutive attempts without progress before giving up."""

_CHUNK_BYTES = 1 << 20
_RETRIED_STATUSES = frozenset({408, 425, 429, 500, 502, 503, 504})


@dataclass(frozen=True, kw_only=True, slots=True)
class DownloadRecord:
    """The content of `NAME.json` beside a downloaded file."""

    url: str
    size_bytes: int
    sha256: str
    checked: bool
    """Whether the host stated the same SHA-256 (in its ETag); False: it stated none."""


_RECORDED = {"url": str, "size_bytes": int, "sha256": str, "checked": bool}


class _InterruptedError(Exception):
    """The connection delivered less than announced; a retry may help."""


def download(
    url: str,
    destination: Path,
    *,
    reporter: Reporter,
    sleep: Callable[[float], None] = time.sleep,
    timeout_seconds: float = 60.0,
) -> DownloadRecord:
    """Fetch `url` to `destination`, or return at once if an earlier download is complete.

    A partial file is resumed, provided that the host still has the same version.

    Args:
        url: http or https.
        destination: file to write; `.part`, `.part.json`, `.json` and `.lock` appear beside it.
        reporter: announces the file, its source and its size before the first byte.
        sleep: waits between attempts; tests pass their own.
        timeout_seconds: silence after which a connection counts as lost.

    Raises:
        ValueError: the host refuses or keeps failing, the disk is full (the part is kept for the
            next attempt), or the content does not match the host's hash (the part is removed).
    """
    waiting = f"another process is downloading {destination.name}; waiting for it"
    with file_lock(_beside(destination, ".lock"), on_wait=lambda: reporter.say(waiting)):
        for path in list(destination.parent.iterdir()):  # left by an interrupted process
            if path.name.startswith(f".{destination.name}.") and path.name.endswith(TEMPORARY):
                path.unlink()
        record = find_download(url, destination)
        if record is not None:
            _beside(destination, ".part.json").unlink(missing_ok=True)
            reporter.say(f"reusing {destination} ({_size(record.size_bytes)}, {record.url})")
            return record
        return _Download(url, destination, reporter, sleep, timeout_seconds).run()


def find_download(url: str, destination: Path) -> DownloadRecord | None:
    """Return the record of a complete earlier download of `url`; None: there is none.

    Raises:
        ValueError: the file exists without a usable record, or does not match it.
    """
    path = _beside(destination, ".json")
    if not destination.exists():
        return None
    if not path.exists():
        # Downloads always have a record, so this is the user's own file: never overwrite it.
        raise ValueError(
            f"{destination} exists but has no record {path.name}; remove it to download it again, "
            "or train on it as a file of your own with --corpus.train"
        )
    document = read_json(path)
    if (document.pop("format", None), document.pop("version", None)) != (FORMAT, VERSION):
        raise ValueError(f"{path} is not a {FORMAT} record of version {VERSION}; remove both files")
    if {key: type(value) for key, value in document.items()} != _RECORDED:
        raise ValueError(f"{path} is not a complete {FORMAT} record; remove both files")
    record = DownloadRecord(**document)
    if destination.stat().st_size != record.size_bytes:
        raise ValueError(
            f"{destination} is {destination.stat().st_size:,} bytes, but its record says "
            f"{record.size_bytes:,}; remove it to download it again"
        )
    return record if record.url == url else None


@dataclass(frozen=True, slots=True)
class _Download:
    """One download in progress: attempts, the part, the checks."""

    url: str
    destination: Path
    reporter: Reporter
    sleep: Callable[[float], None]
    timeout_seconds: float

    @property
    def part(self) -> Path:
        return _beside(self.destination, ".part")

    @property
    def part_record(self) -> Path:
        return _beside(self.destination, ".part.json")

    def run(self) -> DownloadRecord:
        """Try until the file is complete, as long as attempts make progress."""
        furthest, failures = self._part_bytes(), 0
        while True:
            try:
                return self._finish(self._attempt())
            except _InterruptedError as error:
                reached = self._part_bytes()
                # A server without ranges restarts at zero: only new bytes count as progress.
                failures = 0 if reached >= furthest + _CHUNK_BYTES else failures + 1
                furthest = max(furthest, reached)
                if failures >= ATTEMPTS:
                    raise ValueError(
                        f"could not download {self.url}: {error}, {failures} times in a row; "
                        f"{_size(reached)} are kept in {self.part}, run again to resume"
                    ) from error
                delay = min(2.0**failures, 30.0)
                self.reporter.say(f"{self.url}: {error}; trying again in {delay:.0f} s")
                self.sleep(delay)

    def _attempt(self) -> Validator:
        """Append the missing bytes; return what the host states about the whole file."""
        validator, have = self._load_part()
        if validator is not None and validator.size_bytes == have:
            return validator
        request = Request(self.url, headers={"User-Agent": "trainer-download/1"})
        if validator is not None and validator.if_range is not None and have:
            request.add_header("Range", f"bytes={have}-")
            request.add_header("If-Range", validator.if_range)
        try:
            with self._open(request) as answer:
                return self._receive(answer, validator, have)
        except (HTTPException, TimeoutError, ConnectionError) as error:
            raise _InterruptedError(f"connection lost ({error or type(error).__name__})") from error

    def _open(self, request: Request) -> HttpAnswer:
        try:
            return open_url(request, timeout_seconds=self.timeout_seconds)
        except HTTPError as error:
            error.close()
            if error.code == 416:
                self._drop_part()
                raise _InterruptedError("the host cannot resume; starting over") from error
            if error.code in _RETRIED_STATUSES:
                raise _InterruptedError(f"HTTP {error.code} {error.reason}") from error
            raise ValueError(
                f"could not download {self.url}: the host answered HTTP {error.code} "
                f"{error.reason}; check the address, or name another with --corpus.mirror"
            ) from error
        except URLError as error:
            raise _InterruptedError(f"no connection ({error.reason})") from error

    def _receive(self, answer: HttpAnswer, earlier: Validator | None, have: int) -> Validator:
        validator = answer.validator
        resumed = answer.starts_at == have and have > 0
        if resumed and earlier is not None and not validator.is_same_file(earlier):
            self._drop_part()
            raise _InterruptedError("the file changed on the host; starting over")
        if not resumed and answer.starts_at != 0:
            self._drop_part()
            raise _InterruptedError(f"the host continued at byte {answer.starts_at}, not {have}")
        if not answer.states_its_end and validator.sha256 is None:
            raise ValueError(
                f"{self.url} comes with neither its length nor its SHA-256, so a partial file "
                "would go unnoticed; use another --corpus.mirror"
            )
        start = have if resumed else 0
        total, name = validator.size_bytes, self.destination.name
        size = "of unknown size" if total is None else _size(total)
        rest = f", resuming at {_size(start)}" if start else ""
        self.reporter.say(f"downloading {name} ({size}) from {self.url}{rest}")
        missing = (total or 0) - start
        if shutil.disk_usage(self.destination.parent).free < missing:
            raise self._no_space(missing)
        with self._writing():
            write_json_atomically(self.part_record, {"url": self.url, **asdict(validator)})
        with self.reporter.stage(f"download {name}", total=total, unit="bytes") as stage:
            received = self._copy(answer, start, stage)
            if total is not None and received > total:
                self._drop_part()
                raise _InterruptedError(f"the answer continued past {_size(total)}")
            if total is not None and received < total:
                raise _InterruptedError(f"the answer ended at {_size(received)} of {_size(total)}")
        return validator

    def _copy(self, answer: HttpAnswer, start: int, stage: Stage) -> int:
        done = start
        with self._writing():
            file = self.part.open("r+b" if start else "wb", buffering=0)
        with file:
            with self._writing():
                file.seek(start)
                file.truncate()
            stage.update(done)
            while chunk := answer.read(_CHUNK_BYTES):
                with self._writing():
                    _write_all(file, chunk)
                done += len(chunk)
                stage.update(done)
            with self._writing():
                os.fsync(file.fileno())
        return done

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """Separate disk errors from connection errors, and name the file in them."""
        try:
            yield
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise self._no_space(0) from error
            error.filename = str(self.destination)
            raise

    def _no_space(self, needed: int) -> ValueError:
        free = shutil.disk_usage(self.destination.parent).free
        return ValueError(
            f"no space for {self.destination}: {_size(needed) + ' missing, ' if needed else ''}"
            f"{_size(free)} free on that disk; free some, or choose another --corpus.cache-dir"
        )

    def _finish(self, validator: Validator) -> DownloadRecord:
        size, sha256 = self._part_bytes(), hash_file(self.part, reporter=self.reporter)
        if validator.sha256 not in (None, sha256):
            self._drop_part()
            raise ValueError(
                f"{self.url} arrived with SHA-256 {sha256}, but the host states "
                f"{validator.sha256}; the part was removed, retry or use another --corpus.mirror"
            )
        checked = validator.sha256 is not None
        record = DownloadRecord(url=self.url, size_bytes=size, sha256=sha256, checked=checked)
        document = {"format": FORMAT, "version": VERSION, **asdict(record)}
        with self._writing():
            write_json_atomically(_beside(self.destination, ".json"), document)
            rename_durably(self.part, self.destination)
            self.part_record.unlink(missing_ok=True)
        against = "as the host states" if checked else "the host states none"
        self.reporter.say(f"{self.destination.name}: {_size(size)}, SHA-256 {sha256} ({against})")
        return record

    def _load_part(self) -> tuple[Validator | None, int]:
        """Return what is known of the part, or drop a part that cannot be resumed safely."""
        try:
            document = json.loads(self.part_record.read_text(encoding="utf-8"))
            is_text = all(isinstance(document[key], str | None) for key in ("sha256", "if_range"))
            is_usable = is_text and isinstance(document["size_bytes"], int | None)
            if document.pop("url") == self.url and is_usable:
                return Validator(**document), self._part_bytes()
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
            pass  # killed before anything was recorded: the same as no part
        self._drop_part()
        return None, 0

    def _drop_part(self) -> None:
        self.part.unlink(missing_ok=True)
        self.part_record.unlink(missing_ok=True)

    def _part_bytes(self) -> int:
        return self.part.stat().st_size if self.part.exists() else 0


def _write_all(file: FileIO, data: bytes) -> None:
    """Write unbuffered: a buffer would fail a second time when the file is closed."""
    view = memoryview(data)
    while view:
        view = view[file.write(view) :]


def _beside(path: Path, suffix: str) -> Path:
    return path.with_name(path.name + suffix)


def _size(num_bytes: float) -> str:
    return format_amount(num_bytes, unit="bytes")
