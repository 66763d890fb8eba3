"""Share the pieces of a corpus among counters, each in a thread of its own.

Stage: files -> *pieces* -> pretoken counts. Threads take numbered pieces from one queue, in order,
so the first failure in the order of the files is known: every piece before it has been handed out.
Not here: what a counter does with a piece (`threads`, `workers`).
"""

from collections.abc import Callable, Iterator, Sequence
from queue import SimpleQueue
from threading import Lock, Thread
from typing import Any, Protocol, TypeVar

from bpe.pieces import Piece

_Result_co = TypeVar("_Result_co", covariant=True)


class Counting(Protocol[_Result_co]):
    """Counts pieces, one at a time."""

    def count(self, piece: Piece) -> None:
        """Count one piece."""

    def finish(self) -> _Result_co:
        """Return the counts of all pieces."""
        ...


def count_pieces(
    pieces: Iterator[Piece],
    counters: Sequence[Counting[_Result_co]],
    *,
    report: Callable[[int], None],
    interrupt: Callable[[], None] = lambda: None,
) -> list[_Result_co]:
    """Count pieces with all counters; each takes the next piece when it is free.

    Args:
        pieces: what to count, in order; taken one at a time.
        counters: each runs in its own thread.
        report: called in this thread with the bytes of each finished piece.
        interrupt: called before waiting for the threads to end.

    Raises:
        OSError, ValueError: what the first piece that cannot be counted raises.
    """
    queue, events = _PieceQueue(pieces), SimpleQueue[Any]()
    threads = [Thread(target=_count, args=(counter, queue, events)) for counter in counters]
    results: list[_Result_co] = []
    failures: list[_PieceError] = []
    try:
        for thread in threads:
            thread.start()
        while len(results) + len(failures) < len(threads):
            event = events.get()
            if isinstance(event, int):
                report(event)
            elif isinstance(event, _PieceError):
                failures.append(event)
            else:
                results.append(event)
    finally:  # also after Ctrl-C or an error of `report`: each thread finishes its piece
        queue.stop()
        interrupt()
        for thread in threads:
            if thread.is_alive():
                thread.join()
    if failures:
        raise min(failures, key=lambda failure: failure.number).reason
    return results


def _count(counter: Counting[Any], queue: "_PieceQueue", events: SimpleQueue[Any]) -> None:
    """Count pieces until none are left; put bytes done, then the result or the failure."""
    number = -1
    try:
        for number, piece in queue:  # noqa: B007 - the error is reported with it
            counter.count(piece)
            events.put(piece.num_bytes)
        events.put(counter.finish())
    except _PieceError as error:
        queue.stop()
        events.put(error)
    except Exception as error:  # raised again in the caller's thread
        queue.stop()
        events.put(_PieceError(number, error))


class _PieceQueue:
    """Hands out numbered pieces to several threads, in order.

    Raises (when iterated):
        _PieceError: the next piece could not be found; has the number it would have had.
    """

    def __init__(self, pieces: Iterator[Piece]) -> None:
        self._pieces = pieces
        self._number = -1
        self._lock = Lock()
        self._is_stopped = False

    def __iter__(self) -> "_PieceQueue":
        return self

    def __next__(self) -> tuple[int, Piece]:
        with self._lock:
            if self._is_stopped:
                raise StopIteration
            self._number += 1
            try:
                return self._number, next(self._pieces)
            except StopIteration:
                raise
            except Exception as error:
                raise _PieceError(self._number, error) from error

    def stop(self) -> None:
        self._is_stopped = True


class _PieceError(Exception):
    def __init__(self, number: int, reason: Exception) -> None:
        super().__init__(number, reason)
        self.number, self.reason = number, reason
