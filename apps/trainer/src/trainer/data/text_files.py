"""Check that files are UTF-8 text, and hash them, without loading them into memory.

Stage: *files* -> corpus. Results for large files are cached by path, size and modification time, so
that the second run on gigabytes starts at once. Not here: documents inside files.
"""

import codecs
import hashlib
from dataclasses import asdict, dataclass
from pathlib import Path

from trainer.config.run_config import END_OF_TEXT
from trainer.monitoring.progress import Reporter
from trainer.storage.file_format import require_format
from trainer.storage.file_lock import file_lock
from trainer.storage.run_directory import read_json, write_json_atomically

SEPARATOR = END_OF_TEXT.encode()
MARK = codecs.BOM_UTF8
"""Written by some editors at the start of a file; not text."""

FORMAT, VERSION = "trainer-text-files", 2
_CHUNK_BYTES = 1 << 20
_BINARY_PREFIX_BYTES = 1 << 13  # NUL is valid UTF-8, but text has none near its start
_REMEMBERED_BYTES = 1 << 24  # reading a smaller file again is faster than looking it up
_LONGEST_TAIL_BYTES = 64  # of white space after the last separator


@dataclass(frozen=True, kw_only=True, slots=True)
class TextFile:
    """One checked file of a corpus."""

    path: Path
    size_bytes: int
    sha256: str
    ends_with_separator: bool
    """Whether only white space follows its last end-of-text."""
    starts_with_mark: bool = False
    """Whether it starts with a byte-order mark."""


def check_text_file(
    path: Path, *, cache_dir: Path, reporter: Reporter, refuse_binary: bool = True
) -> TextFile:
    """Read and check a file.

    `refuse_binary` looks for NUL near the start; it is off for text cut from checked files, which
    may start in the middle of one.

    Raises:
        ValueError: the file is missing, a folder, unreadable, empty, binary or not UTF-8.
    """
    try:
        if not path.is_file():
            kind = "a folder" if path.is_dir() else "missing" if not path.exists() else "not a file"
            raise ValueError(f"{path} is {kind}, but the corpus needs a UTF-8 text file; name one")
        stat = path.stat()
        if not stat.st_size:
            raise ValueError(f"{path} is empty, but the corpus needs text; name another file")
        if stat.st_size < _REMEMBERED_BYTES:
            return _read(path, reporter, refuse_binary=refuse_binary)
        key = [str(path.resolve()), stat.st_size, stat.st_mtime_ns]
        memory = cache_dir / "text-files.json"
        for entry in _load_memory(memory):
            if entry["key"] == key:
                return TextFile(path=path, **entry["file"])
        file = _read(path, reporter, refuse_binary=refuse_binary)
    except OSError as error:
        raise ValueError(f"cannot read {path}: {error.strerror or error}") from error
    _remember(memory, key, file)
    return file


def text_error(data: bytes, *, name: object) -> str | None:
    r"""Return what is wrong with a small text in memory; None: nothing.

    >>> text_error(b"caf\xe9!", name="menu.txt")
    'menu.txt is not UTF-8: byte 0xe9 at offset 3 (invalid continuation byte)'
    """
    try:
        data.decode("utf-8")
    except UnicodeDecodeError as error:
        return _not_utf8(name, data[error.start], error.start, error.reason)
    return None


def hash_file(path: Path, *, reporter: Reporter, shown_bytes: int = 0) -> str:
    """Return a file's SHA-256; progress is shown for files of at least `shown_bytes`."""
    size, done, digest = path.stat().st_size, 0, hashlib.sha256()
    shown = reporter if size >= shown_bytes else Reporter(mode="silent")
    stage_of = shown.stage(f"check {path.name}", total=size, unit="bytes")
    with stage_of as stage, path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
            done += len(chunk)
            stage.update(done)
    return digest.hexdigest()


def _read(path: Path, reporter: Reporter, *, refuse_binary: bool) -> TextFile:
    size = path.stat().st_size
    shown = reporter if size >= _REMEMBERED_BYTES else Reporter(mode="silent")
    decoder = codecs.getincrementaldecoder("utf-8")()
    digest, done, tail, has_mark = hashlib.sha256(), 0, b"", False
    stage_of = shown.stage(f"check {path.name}", total=size, unit="bytes")
    with stage_of as stage, path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            if refuse_binary and not done:
                _refuse_binary(path, chunk[:_BINARY_PREFIX_BYTES])
            has_mark = has_mark or (not done and chunk.startswith(MARK))
            _decode(decoder, chunk, path=path, start=done)
            digest.update(chunk)
            done += len(chunk)
            tail = (tail + chunk)[-_LONGEST_TAIL_BYTES - len(SEPARATOR) :]
            stage.update(done)
        _decode(decoder, b"", path=path, start=done)
    return TextFile(
        path=path,
        size_bytes=done,
        sha256=digest.hexdigest(),
        ends_with_separator=tail.rstrip().endswith(SEPARATOR),
        starts_with_mark=has_mark,
    )


def _refuse_binary(path: Path, beginning: bytes) -> None:
    offset = beginning.find(b"\0")
    if offset >= 0:
        raise ValueError(
            f"{path} looks binary: byte 0x00 at offset {offset}; the corpus needs UTF-8 text, so "
            "name another file, or convert it if it is UTF-16"
        )


def _decode(decoder: codecs.IncrementalDecoder, chunk: bytes, *, path: Path, start: int) -> None:
    """Check the next bytes of a file; an empty chunk is its end."""
    waiting = decoder.getstate()[0]
    try:
        decoder.decode(chunk, final=not chunk)
    except UnicodeDecodeError as error:
        offset = start - len(waiting) + error.start
        problem = _not_utf8(path, (waiting + chunk)[error.start], offset, error.reason)
        raise ValueError(f"{problem}; convert or repair the file") from None


def _not_utf8(name: object, byte: int, offset: int, reason: str) -> str:
    return f"{name} is not UTF-8: byte 0x{byte:02x} at offset {offset} ({reason})"


def _load_memory(path: Path) -> list[dict]:
    """Return the cached entries; an unreadable cache counts as empty."""
    try:
        document = read_json(path)
        require_format(document, name=FORMAT, version=VERSION, source=path)
        for entry in document["files"]:
            TextFile(path=path, **entry["file"])
            entry["key"][0]
    except (OSError, ValueError, KeyError, TypeError, IndexError):
        return []
    return document["files"]


def _remember(path: Path, key: list, file: TextFile) -> None:
    entry = {"key": key, "file": {k: v for k, v in asdict(file).items() if k != "path"}}
    with file_lock(path.with_name(path.name + ".lock"), on_wait=lambda: None):
        others = [other for other in _load_memory(path) if other["key"][0] != key[0]]
        document = {"format": FORMAT, "version": VERSION, "files": [*others, entry]}
        write_json_atomically(path, document)
