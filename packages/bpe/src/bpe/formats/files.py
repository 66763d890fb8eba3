"""Write files so that each, or a whole set, is either complete or absent.

Stage: none; every stage that writes files does so here. Not here: formats.
"""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

try:
    import fcntl
except ImportError:  # Windows, where an open file cannot be removed; or a build without it
    fcntl = None


def write_atomically(path: Path, content: bytes) -> None:
    """Write `content` beside `path`, flush it to disk and rename it into place.

    The mode is that of any new file under the process's umask. If writing fails, `path` is
    unchanged.
    """
    with Staging() as staging:
        staging.open(path).write(content)
        staging.commit()


class StagedFile:
    """A file that is being written under a temporary name.

    Attributes:
        path: its final name.
        beside: its name until then.
        file: open for writing; errors of `write` name `path`, its own errors name no file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with naming(path):
            self.beside, self.file = _create_beside(path)

    def write(self, data: bytes | memoryview) -> None:
        """Write `data` after what is there."""
        with naming(self.path):
            self.file.write(data)

    def rewind(self) -> None:
        """Return to the beginning, to overwrite it."""
        with naming(self.path):
            self.file.seek(0)

    def finish(self) -> None:
        """Wait until everything is on disk; harmless if repeated."""
        if self.file.closed:
            return
        with naming(self.path):
            self.file.flush()
            os.fsync(self.file.fileno())
        if fcntl is None:
            self.file.close()  # elsewhere it stays open: the lock marks it as in use

    def take_name(self) -> None:
        """Replace whatever is at `path`."""
        with naming(self.path):
            self.beside.replace(self.path)

    def remove(self) -> None:
        """Remove the temporary file, unless it already has its final name."""
        with suppress(OSError):
            self.file.close()  # this may flush, and fail
        with suppress(OSError):
            self.beside.unlink()


class Staging:
    """Writes the files of one folder under temporary names, then renames them all.

    The last file is the one whose presence proves that the set is complete: it is the first to be
    removed and the last to appear. If writing fails, the old files stay; if the process is killed,
    the old files, an incomplete set or the new files remain. Temporary files that it leaves are
    removed by the next process that writes a file of the same name.

    Use as a context manager: leaving the block without `commit` leaves nothing behind.
    """

    def __init__(self) -> None:
        self._files: list[StagedFile] = []

    def __enter__(self) -> "Staging":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for file in self._files:
            file.remove()

    def open(self, path: Path) -> StagedFile:
        """Begin a file that will be called `path`."""
        self._files.append(StagedFile(path))
        return self._files[-1]

    def commit(self) -> None:
        """Flush all files to disk, then give them their names."""
        for file in self._files:
            file.finish()
        *others, last = self._files
        if others:
            with naming(last.path):
                last.path.unlink(missing_ok=True)
            sync_directory(last.path.parent)
            for file in others:
                file.take_name()
            sync_directory(last.path.parent)
        last.take_name()
        sync_directory(last.path.parent)


def make_directory(directory: Path) -> None:
    """Make a directory and its parents, and flush their names to disk."""
    if directory.is_dir():
        return
    make_directory(directory.parent)
    with naming(directory):
        directory.mkdir(exist_ok=True)
    sync_directory(directory.parent)


def require_working_directory() -> None:
    """Refuse to run without a working directory, which makes torch, for one, end the process."""
    try:
        Path.cwd()
    except FileNotFoundError as error:
        raise ValueError("the working directory was deleted; change to another one") from error


def sync_directory(directory: Path) -> None:
    """Flush a directory to disk, so that renames in it survive a power failure."""
    if os.name != "posix":
        return  # other systems cannot open a directory
    with naming(directory):
        descriptor = os.open(directory, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def require_inside(path: Path, *folders: Path) -> None:
    """Refuse a path that a link leads out of the given folders, or that is not a regular file.

    So a folder from a stranger can expose only itself, and cannot make a reader wait.

    Raises:
        ValueError: it leads elsewhere, or to a pipe or a device.
    """
    target = path.resolve()
    if not any(target.is_relative_to(folder.resolve()) for folder in folders):
        raise ValueError(
            f"{path} is a link to {target}, outside of {folders[0]}; copy the file itself there"
        )
    if target.exists() and not target.is_file():
        raise ValueError(f"{path} is not a regular file; put one there")


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Make system errors name the file that the user knows."""
    try:
        yield
    except OSError as error:
        if error.errno is not None:
            error.filename, error.filename2 = str(path), None
        raise


def _create_beside(path: Path) -> tuple[Path, BinaryIO]:
    """Create a locked temporary file in the folder of `path`; return its name and the file."""
    _remove_leftovers(path)
    while True:
        beside = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
        file = beside.open("xb")
        # Another process may have removed it as a leftover before it was locked.
        if _lock(file) is not False and os.fstat(file.fileno()).st_nlink:
            return beside, file
        file.close()


def _remove_leftovers(path: Path) -> None:
    """Remove temporary files of processes that were stopped while they wrote `path`."""
    begin, end = f".{path.name}.", ".part"
    with suppress(OSError):
        for found in list(path.parent.iterdir()):
            if not (found.name.startswith(begin) and found.name.endswith(end)):
                continue
            with suppress(OSError):
                if found.is_file() and not found.is_symlink() and _is_abandoned(found):
                    found.unlink()


def _is_abandoned(path: Path) -> bool:
    with path.open("r+b") as file:
        return os.name == "nt" if fcntl is None else _lock(file) is True


def _lock(file: BinaryIO) -> bool | None:
    """Lock a file while it is open; False: another process has it, None: locks do not work here."""
    if fcntl is None:
        return None
    try:
        fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True
