"""How does a file, or a set of files, come to be complete or absent?

Stage: none; every stage that writes goes through here. Not here: formats.
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
except ImportError:  # Windows, where a file that is open cannot be removed; or a build without it
    fcntl = None


def write_atomically(path: Path, content: bytes) -> None:
    """Write `content` beside `path`, flush it to disk and rename it into place.

    The mode is that of any new file under the process's umask. A failure leaves `path` as it was.
    """
    with Staging() as staging:
        staging.open(path).write(content)
        staging.commit()


class StagedFile:
    """A file that is being written under a name that nobody looks for.

    Attributes:
        path: what it is to be called.
        beside: what it is called until then.
        file: open for writing; its errors name no file that the user knows, those of `write` do.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with naming(path):
            self.beside, self.file = _create_beside(path)

    def write(self, data: bytes | memoryview) -> None:
        """Write some more."""
        with naming(self.path):
            self.file.write(data)

    def rewind(self) -> None:
        """Go back to the beginning, to write over it."""
        with naming(self.path):
            self.file.seek(0)

    def finish(self) -> None:
        """Wait until the disk has all of it; once more is harmless."""
        if self.file.closed:
            return
        with naming(self.path):
            self.file.flush()
            os.fsync(self.file.fileno())
        if fcntl is None:
            self.file.close()  # elsewhere it stays open: the lock says that it is in use

    def take_name(self) -> None:
        """Replace whatever is at `path`."""
        with naming(self.path):
            self.beside.replace(self.path)

    def remove(self) -> None:
        """Leave nothing behind, unless it has its name by now."""
        with suppress(OSError):
            self.file.close()  # may flush, and fail
        with suppress(OSError):
            self.beside.unlink()


class Staging:
    """Writes files of one folder beside their places, then gives all of them their names.

    The last one is what tells a reader that the others are there and belong together: it is the
    first to go and the last to come. So a failure while anything is written leaves what was there
    before, and a process that is killed leaves the old files, no complete set, or the new one.
    What it leaves beside is removed by whoever writes a file of that name next.

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
        """Begin a file that is to be called `path`."""
        self._files.append(StagedFile(path))
        return self._files[-1]

    def commit(self) -> None:
        """Bring all files to the disk, then let them be found."""
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
    """Make a directory and those above it, and bring their names to the disk."""
    if directory.is_dir():
        return
    make_directory(directory.parent)
    with naming(directory):
        directory.mkdir(exist_ok=True)
    sync_directory(directory.parent)


def require_working_directory() -> None:
    """Refuse to work where the process is in no directory: torch, for one, ends it then.

    Raises:
        ValueError: it was deleted.
    """
    try:
        Path.cwd()
    except FileNotFoundError as error:
        raise ValueError("the working directory was deleted; go to another one first") from error


def sync_directory(directory: Path) -> None:
    """Flush a directory to disk, so that renames in it outlive a power cut."""
    if os.name != "posix":
        return  # other systems cannot open a directory
    with naming(directory):
        descriptor = os.open(directory, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def require_inside(path: Path, *folders: Path) -> None:
    """Refuse a file that a link takes out of the folders that were named, or that is no file.

    A folder from a stranger can then show nothing but itself, and cannot make a reader wait.

    Raises:
        ValueError: it leads elsewhere, or to a pipe or a device.
    """
    target = path.resolve()
    if not any(target.is_relative_to(folder.resolve()) for folder in folders):
        raise ValueError(
            f"{path} is a link to {target}, outside of {folders[0]}; put the file itself there"
        )
    if target.exists() and not target.is_file():
        raise ValueError(f"{path} is no regular file; put one there")


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Let an error of the system name the file that the user knows."""
    try:
        yield
    except OSError as error:
        if error.errno is not None:
            error.filename, error.filename2 = str(path), None
        raise


def _create_beside(path: Path) -> tuple[Path, BinaryIO]:
    """Return a new file in the folder of `path`, locked, and its name."""
    _remove_leftovers(path)
    while True:
        beside = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
        file = beside.open("xb")
        # Whoever removes leftovers may have come between.
        if _lock(file) is not False and os.fstat(file.fileno()).st_nlink:
            return beside, file
        file.close()


def _remove_leftovers(path: Path) -> None:
    """Remove what processes left that were stopped while they wrote a file of this name."""
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
    """Lock a file for as long as it is open; False: another has it, None: nothing can be locked."""
    if fcntl is None:
        return None
    try:
        fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True
