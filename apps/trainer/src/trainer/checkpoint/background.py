"""Save checkpoints in a background thread: training waits for a copy in memory, not for the disk.

Stage: loop -> snapshot -> *a thread* -> checkpoint, verified; then the oldest are removed. Saves
take turns. A failure stops the run or is reported, as `checkpoint.on-failure` decides.
"""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from trainer.checkpoint.run_checkpoint import (
    Snapshot,
    list_checkpoints,
    prune_checkpoints,
    write_checkpoint,
)
from trainer.command_hints import command


class SaveError(OSError):
    """A checkpoint could not be saved, and the run stops."""


class CheckpointSaver:
    """Write snapshots one after another; use as a context manager, which waits for the last.

    Args:
        run_dir: the run directory.
        keep: newest checkpoints kept; None: all.
        on_failure: stop: raise `SaveError`; continue: report it, and try again at the next save.
        say: reports failures.
    """

    def __init__(
        self,
        run_dir: Path,
        *,
        keep: int | None,
        on_failure: Literal["stop", "continue"],
        say: Callable[[str], None],
    ) -> None:
        self._run_dir, self._keep = run_dir, keep
        self._on_failure, self._say = on_failure, say
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None
        self._step = 0

    def __enter__(self) -> "CheckpointSaver":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self.finish(must_succeed=True)
        elif (message := self._wait()) is not None:
            self._say(message)  # the block's own error is raised

    def start(self, snapshot: Snapshot) -> None:
        """Write a snapshot in the background, once the previous one is written."""
        self.finish()
        self._step = snapshot.step
        # A daemon, as half a save does no harm.
        self._thread = threading.Thread(target=self._save, args=(snapshot,), daemon=True)
        self._thread.start()

    def check(self) -> None:
        """Report or raise a failure if a save has ended, without waiting."""
        if self._thread is not None and not self._thread.is_alive():
            self.finish()

    def finish(self, *, must_succeed: bool = False) -> None:
        """Wait until the disk has the snapshot given to `start`.

        Raises:
            SaveError: the save failed, and `must_succeed` or `on_failure` is stop.
        """
        message = self._wait()
        if message is None:
            return
        if must_succeed or self._on_failure == "stop":
            raise SaveError(message)
        self._say(f"{message}; continuing, as checkpoint.on-failure is set")

    def _wait(self) -> str | None:
        """Wait for the thread; return the failure, if any, as a message."""
        if self._thread is None:
            return None
        self._thread.join()
        self._thread, error, self._error = None, self._error, None
        if error is None:
            return None
        kept = [path.name for path in list_checkpoints(self._run_dir)]
        return (
            f"the checkpoint of step {self._step:,} could not be saved: {error}; there are "
            f"{', '.join(kept) or 'no checkpoints'} in {self._run_dir}; free space or repair the "
            f"disk, then {command('train', '--resume', self._run_dir)}"
        )

    def _save(self, snapshot: Snapshot) -> None:
        try:
            write_checkpoint(self._run_dir, snapshot)
            if self._keep is not None:
                prune_checkpoints(self._run_dir, self._keep)
        except BaseException as error:  # raised by `_wait`
            self._error = error
