"""Accept ids in any form in which people pass them.

Stage: *ids* -> text. Lists, arrays, tensors and iterables of whole numbers; `True` is not one,
though Python treats it as 1. Not here: which ids a vocabulary has.
"""

from array import array
from collections.abc import Iterable
from operator import index
from typing import Any

import numpy as np

from tokenizer._bpe import wrong_kind


def smallest_dtype(vocab_size: int) -> np.dtype:
    """Return uint16 if it holds every id below `vocab_size`, else uint32.

    >>> smallest_dtype(65_536).name, smallest_dtype(65_537).name
    ('uint16', 'uint32')
    """
    return np.dtype(np.uint16 if vocab_size <= 1 << 16 else np.uint32)


def as_ids(ids: Any) -> list[Any] | np.ndarray:
    """Return ids as something with a length.

    Raises:
        TypeError: not ids at all, such as a text or a single number.
        ValueError: an array that does not have exactly one axis.
    """
    if isinstance(ids, np.ndarray):
        if ids.ndim != 1:
            raise ValueError(f"ids has the shape {ids.shape}; pass one sequence with one axis")
        return ids
    if hasattr(ids, "tolist"):
        ids = ids.tolist()
    if isinstance(ids, list):
        return ids
    if isinstance(ids, str) or not isinstance(ids, Iterable):
        raise wrong_kind(ids, name="ids", needed="a list or an array of ids")
    return list(ids)


def pack(ids: list[Any] | np.ndarray) -> np.ndarray | None:
    """Return ids as an (n,) array of integers; None unless all are integers of 64 bits."""
    if isinstance(ids, np.ndarray):
        return ids if np.issubdtype(ids.dtype, np.integer) else None
    try:
        packed = np.frombuffer(array("q", ids), np.int64)
    except (TypeError, OverflowError):
        return None
    # Checking the type of each would take as long as everything else.
    suspects = np.flatnonzero((packed == 0) | (packed == 1))
    return None if any(isinstance(ids[place], bool) for place in suspects) else packed


def as_keys(ids: list[Any]) -> list[int]:
    """Return ids as ints that find their tokens; -1, which no token has, for what is not an id."""
    return ids if {*map(type, ids)} <= {int} else [*map(_key, ids)]


def _key(token_id: Any) -> int:
    if isinstance(token_id, bool):
        return -1
    try:
        return index(token_id)
    except TypeError:
        return -1
