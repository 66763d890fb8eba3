"""How are the pieces of a corpus counted on several CPUs?

Stage: pieces -> *pretoken counts*. Workers are plain child processes that speak over pipes: JSON
lines in, one line back for each piece, all counts at the end. Unlike `multiprocessing` that needs
no `if __name__ == "__main__"` in the caller's script, and nothing is forked from a process that
has threads or a GPU. Not here: cutting files (`pieces`).
"""

import json
import marshal
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from queue import SimpleQueue
from threading import Thread
from typing import Any

from bpe.counting.piece_queue import PieceError, PieceQueue, first_reason
from bpe.counting.pretoken_counter import PretokenCounter
from bpe.pieces import Piece

_BOOTSTRAP = (
    "import json, sys; sys.path[:] = json.loads(sys.stdin.buffer.readline()); "
    "from bpe.counting.workers import serve; serve()"
)


def count_in_workers(
    pieces: Iterator[Piece],
    *,
    settings: Mapping[str, Any],
    num_workers: int,
    report: Callable[[int], None],
) -> dict[bytes, int]:
    """Count pieces in `num_workers` processes; each takes the next piece when it is free.

    Args:
        pieces: what to count, in order; taken one at a time.
        settings: arguments of `PretokenCounter`.
        num_workers: processes to start.
        report: called in this thread with the bytes of each piece that is done.

    Raises:
        OSError, ValueError: what the first piece that cannot be counted raises.
    """
    queue = PieceQueue(pieces)
    events: SimpleQueue[Any] = SimpleQueue()
    total: Counter[bytes] = Counter()
    failures: list[PieceError] = []
    with ExitStack() as stack:
        workers = [stack.enter_context(_Worker(settings)) for _ in range(num_workers)]
        threads = [Thread(target=_drive, args=(worker, queue, events)) for worker in workers]
        stack.callback(_stop, queue, workers, threads)
        for thread in threads:
            thread.start()
        num_running = num_workers
        while num_running:
            event = events.get()
            if isinstance(event, int):
                report(event)
                continue
            num_running -= 1
            failures.append(event) if isinstance(event, PieceError) else total.update(event)
    if failures:
        raise first_reason(failures)
    return dict(total)


def serve() -> None:
    """Be a worker: count the pieces named on stdin until it ends, then write the counts."""
    try:
        _serve()
    except BrokenPipeError:
        os._exit(1)  # the parent has gone, and with it whoever would read a traceback


def _serve() -> None:
    requests, replies = sys.stdin.buffer, sys.stdout.buffer
    counter = PretokenCounter(**json.loads(requests.readline()))
    for line in requests:
        path, start_byte, end_byte = json.loads(line)
        try:
            counter.add(Piece(Path(path), start_byte, end_byte).read_text())
            reply = None
        except (OSError, ValueError) as error:
            reply = ["OSError" if isinstance(error, OSError) else "ValueError", str(error)]
        replies.write(json.dumps(reply).encode() + b"\n")
        replies.flush()
    replies.write(marshal.dumps(counter.by_pretoken()))
    replies.flush()


def _drive(worker: "_Worker", queue: PieceQueue, events: "SimpleQueue[Any]") -> None:
    """Feed one worker; put bytes done, then its counts or what went wrong."""
    number = -1
    try:
        for number, piece in queue:  # noqa: B007 - the error is filed under it
            worker.count(piece)
            events.put(piece.num_bytes)
        events.put(worker.finish())
    except PieceError as error:
        queue.stop()
        events.put(error)
    except Exception as error:  # raised again by the caller's thread
        queue.stop()
        events.put(PieceError(number, error))


def _stop(queue: PieceQueue, workers: list["_Worker"], threads: list[Thread]) -> None:
    """End the workers, whatever they do, and then the threads, which wait for them."""
    queue.stop()
    for worker in workers:
        worker.kill()
    for thread in threads:
        if thread.is_alive():
            thread.join()


class _Worker:
    """One child process and the pipes to it."""

    def __init__(self, settings: Mapping[str, Any]) -> None:
        # -P: the child's import path is what the first line says, and nothing else
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-c", _BOOTSTRAP],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            process_group=0,  # Ctrl-C reaches the parent alone, which ends us
        )
        self._send(sys.path)
        self._send(settings)

    def __enter__(self) -> "_Worker":
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        self._process.wait()
        self._process.stdout.close()
        with suppress(BrokenPipeError):  # what the child did not read is of no use to anybody
            self._process.stdin.close()

    def count(self, piece: Piece) -> None:
        """Have one piece counted.

        Raises:
            OSError, ValueError: what counting it raised.
        """
        self._send([os.fspath(piece.path), piece.start_byte, piece.end_byte])
        reply = self._process.stdout.readline()
        if not reply:
            raise self._death()
        if (failure := json.loads(reply)) is not None:
            kind, message = failure
            raise OSError(message) if kind == "OSError" else ValueError(message)

    def finish(self) -> dict[bytes, int]:
        """Say that there is no more, and return the counts."""
        self._process.stdin.close()
        content = self._process.stdout.read()
        if self._process.wait() != 0:
            raise self._death()
        return marshal.loads(content)

    def kill(self) -> None:
        """End the process, whatever it does."""
        self._process.kill()

    def _send(self, message: object) -> None:
        try:
            self._process.stdin.write(json.dumps(message).encode() + b"\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise self._death() from None

    def _death(self) -> ChildProcessError:
        code = self._process.wait()
        return ChildProcessError(
            f"a counting process ended with status {code} before its work was done; see its "
            "message above, or count with num_workers=1"
        )
