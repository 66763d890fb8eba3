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

from bpe.counting.piece_queue import count_pieces
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
    """Count pieces in `num_workers` processes; see `count_pieces`."""
    total: Counter[bytes] = Counter()
    with ExitStack() as stack:
        workers = [stack.enter_context(_Worker(settings)) for _ in range(num_workers)]

        def kill() -> None:
            for worker in workers:
                worker.kill()

        for counts in count_pieces(pieces, workers, report=report, interrupt=kill):
            total.update(counts)
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


class _Worker:
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
        """Have the worker count one piece; raise what it raised."""
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
