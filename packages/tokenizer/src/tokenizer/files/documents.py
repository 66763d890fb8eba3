"""Find where documents start in ids that arrive block by block.

Stage: ids -> *starts of documents* -> token file. A document is a stretch of at least one id
between end-of-text ids and ends of files. Not here: how they are stored (`token_file`).
"""

import numpy as np


class DocumentStarts:
    """Finds where documents start in ids that arrive block by block.

    Args:
        end_of_text_id: what separates documents; None: only files do.
    """

    def __init__(self, end_of_text_id: int | None) -> None:
        self._end_of_text_id = end_of_text_id
        self._found = [np.zeros(0, np.int64)]
        self._num_tokens = 0
        self._is_between = True

    def add(self, ids: np.ndarray, *, starts_file: bool) -> None:
        """Examine the next (n,) ids."""
        self._is_between |= starts_file
        if not len(ids):
            return
        ends = np.zeros(0, np.int64)
        if self._end_of_text_id is not None:
            ends = np.flatnonzero(ids == self._end_of_text_id)
        starts = ends + 1
        if self._is_between:
            starts = np.concatenate([[0], starts])
        starts = starts[starts < len(ids)]
        if len(ends):
            starts = starts[ids[starts] != self._end_of_text_id]
        self._found.append(starts + self._num_tokens)
        self._num_tokens += len(ids)
        self._is_between = len(ends) > 0 and int(ends[-1]) == len(ids) - 1

    def starts(self) -> np.ndarray:
        """Return (m,) int64."""
        return np.concatenate(self._found)
