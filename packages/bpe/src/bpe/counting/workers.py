"""Count the pieces of a corpus in child processes.

Stage: pieces -> *pretoken counts*. Workers are plain child processes that communicate over pipes:
JSON lines in, one line back per piece, all counts at the end. Unlike `multiprocessing`, this
needs no `if __name__ == "__main__"` in the caller's script, and nothing is forked from a process
with threads or a GPU. Not here: cutting files (`pieces`).
"""

import json
import marshal
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import astuple
from pathlib import Path
from queue import SimpleQueue
from threading import Thread
from typing import Any

from bpe.counting.piece_queue import PieceError, PieceQueue, first_reason
from bpe.counting.pretoken_counter import PretokenCounter
from bpe.packed_counts import CountSettings
from bpe.pieces import Piece

_BOOTSTRAP = (
    "import json, sys; sys.path[:] = json.loads(sys.stdin.buffer.readline()); "
    "from bpe.counting.workers import serve; serve()"
)


def count_in_workers(
    pieces: Iterator[Piece],
    *,
    settings: CountSettings,
    num_workers: int,
    report: Callable[[int], None],
) -> dict[bytes, int]:
    """Count pieces in `num_workers` processes; each takes the next piece when it is free.

    Args:
        pieces: what to count, in order; taken one at a time.
        settings: how the text is split.
        num_workers: processes to start.
        report: called in this thread with the bytes of each finished piece.

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
    """Run as a worker: count the pieces named on stdin until it ends, then write the counts."""
    try:
        _serve()
    except BrokenPipeError:
        os._exit(1)  # the parent has gone, so nobody would read a traceback


def _serve() -> None:
    requests, replies = sys.stdin.buffer, sys.stdout.buffer
    counter = PretokenCounter(CountSettings(*json.loads(requests.readline())))
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
    """Feed one worker; put bytes done, then its counts or the failure."""
    number = -1
    try:
        for number, piece in queue:  # noqa: B007 - the error is reported with it
            worker.count(piece)
            events.put(piece.num_bytes)
        events.put(worker.finish())
    except PieceError as error:
        queue.stop()
        events.put(error)
    except Exception as error:  # raised again in the caller's thread
        queue.stop()
        events.put(PieceError(number, error))


def _stop(queue: PieceQueue, workers: list["_Worker"], threads: list[Thread]) -> None:
    """Kill the workers, then wait for the threads that depend on them."""
    queue.stop()
    for worker in workers:
        worker.kill()
    for thread in threads:
        if thread.is_alive():
            thread.join()


class _Worker:
    """One child process and the pipes to it."""

    def __init__(self, settings: CountSettings) -> None:
        # -P: the child's import path is exactly the one sent in the first line
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-c", _BOOTSTRAP],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            process_group=0,  # Ctrl-C reaches only the parent, which kills the child
        )
        assert self._process.stdin is not None and self._process.stdout is not None
        self._requests, self._replies = self._process.stdin, self._process.stdout
        self._send(sys.path)
        self._send(astuple(settings))

    def __enter__(self) -> "_Worker":
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        self._process.wait()
        self._replies.close()
        with suppress(BrokenPipeError):  # unread requests no longer matter
            self._requests.close()

    def count(self, piece: Piece) -> None:
        """Have the worker count one piece.

        Raises:
            OSError, ValueError: what counting it raised.
        """
        self._send([os.fspath(piece.path), piece.start_byte, piece.end_byte])
        reply = self._replies.readline()
        if not reply:
            raise self._death()
        if (failure := json.loads(reply)) is not None:
            kind, message = failure
            raise OSError(message) if kind == "OSError" else ValueError(message)

    def finish(self) -> dict[bytes, int]:
        """Close the worker's input, and return its counts."""
        self._requests.close()
        content = self._replies.read()
        if self._process.wait() != 0:
            raise self._death()
        return marshal.loads(content)

    def kill(self) -> None:
        """Kill the process, whatever it is doing."""
        self._process.kill()

    def _send(self, message: object) -> None:
        try:
            self._requests.write(json.dumps(message).encode() + b"\n")
            self._requests.flush()
        except BrokenPipeError:
            raise self._death() from None

    def _death(self) -> ChildProcessError:
        code = self._process.wait()
        return ChildProcessError(
            f"a counting process ended with status {code} before it finished; see its message "
            "above, or count with num_workers=1"
        )
