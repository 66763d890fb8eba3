"""Count the pieces of a corpus in threads that run compiled code.

Stage: pieces -> *pretoken counts*. Compiled code runs without Python's lock, so threads suffice:
each counts into its own table, and the tables are added up at the end. Importing this module is
cheap; it imports Numba only to count. Not here: the tables (`_kernels.counting`), and child
processes for patterns without a compiled scanner (`workers`).
"""

from collections.abc import Callable, Iterator

import numpy as np

from bpe.counting.piece_queue import count_pieces
from bpe.packed_counts import CountSettings, Packed
from bpe.pieces import Piece


def can_count(settings: CountSettings, *, is_worth_compiling: bool) -> bool:
    """Whether kernels for the pattern exist and are compiled already or worth compiling."""
    from bpe._kernels.presence import can_compile

    if not can_compile():
        return False
    from bpe._kernels.compiling import are_ready
    from bpe._kernels.counting.counter import kernels_for
    from bpe._kernels.cutting.cutter import cut_kernel

    if cut_kernel(settings.pattern) is None:
        return False
    return is_worth_compiling or are_ready(*kernels_for(settings.pattern))


def count_in_threads(
    pieces: Iterator[Piece],
    *,
    settings: CountSettings,
    num_threads: int,
    report: Callable[[int], None],
) -> Packed:
    """Count pieces in `num_threads` threads; see `count_pieces`."""
    from bpe._kernels.compiling import announced
    from bpe._kernels.counting.counter import PieceCounter, kernels_for

    with announced("counting", *kernels_for(settings.pattern)):
        counters = [PieceCounter(settings) for _ in range(num_threads)]
        first, *others = count_pieces(pieces, counters, report=report)
    for other in others:
        first.add(other.packed())
        other.close()
    return _without(first.packed(), [special.encode() for special in settings.special_tokens])


def _without(packed: Packed, pretokens: list[bytes]) -> Packed:
    starts = np.cumsum(packed.lengths) - packed.lengths
    is_kept = np.ones(len(starts), bool)
    is_byte_kept = np.ones(len(packed.content), bool)
    for pretoken in pretokens:
        as_long = np.flatnonzero(packed.lengths == len(pretoken))
        spelled = packed.content[starts[as_long, None] + np.arange(len(pretoken))]
        for kind in as_long[(spelled == np.frombuffer(pretoken, np.uint8)).all(axis=1)]:
            is_kept[kind] = False
            is_byte_kept[starts[kind] : starts[kind] + len(pretoken)] = False
    return Packed(packed.content[is_byte_kept], packed.lengths[is_kept], packed.counts[is_kept])
