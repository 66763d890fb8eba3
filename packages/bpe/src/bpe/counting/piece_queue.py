"""Hand out the pieces of a corpus to several threads.

Stage: files -> *pieces* -> pretoken counts. Threads take numbered pieces from one queue, in order,
so the first failure in the order of the files is known: every piece before it has been handed out.
Not here: what the threads do with a piece.
"""

from collections.abc import Iterator
from threading import Lock

from bpe.pieces import Piece


class PieceQueue:
    """Hands out numbered pieces to several threads, in order.

    Raises (when iterated):
        PieceError: the next piece could not be found; has the number it would have had.
    """

    def __init__(self, pieces: Iterator[Piece]) -> None:
        self._pieces = pieces
        self._number = -1
        self._lock = Lock()
        self._is_stopped = False

    def __iter__(self) -> "PieceQueue":
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
                raise PieceError(self._number, error) from error

    def stop(self) -> None:
        """Hand out no more pieces."""
        self._is_stopped = True


class PieceError(Exception):
    """Why a piece failed, and its number."""

    def __init__(self, number: int, reason: Exception) -> None:
        super().__init__(number, reason)
        self.number, self.reason = number, reason


def first_reason(failures: list[PieceError]) -> Exception:
    """Return why the first of the failed pieces failed."""
    return min(failures, key=lambda failure: failure.number).reason
