"""Cut a buffer into pretokens, thousands at a time.

Stage: text -> *pretokens* -> counts, or ids. Each special token becomes one token, and no pretoken
crosses it; ordinary text never contains one, so its bytes identify it. Python calls compiled code
once per batch, however short the documents are. Not here: where a pretoken ends (`gpt2`, `words`)
and where a special token is (`special_search`).
"""

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np

from bpe._kernels.compiling import helper, inlined, kernel
from bpe._kernels.cutting.character_classes import class_table
from bpe._kernels.cutting.gpt2 import FARTHEST, scan_gpt2
from bpe._kernels.cutting.o200k import scan_o200k
from bpe._kernels.cutting.special_search import SpecialTable, find_special
from bpe._kernels.cutting.words import scan_words
from bpe._kernels.machine import load8, load32, load64, min_signed, store32, store64
from bpe._kernels.memory import address_of, zeros
from bpe.patterns import CL100K, GPT2, O200K, QWEN2, resolve_pattern

BATCH_TOKENS = 1 << 13
"""Approximate tokens per batch: 32 KB of ends, which stay in the nearest caches."""

SPARE_ENDS = 160
"""How many ends past its capacity a scan may overwrite."""

_WINDOW_BYTES = 1 << 16  # searched for special tokens at once, so the text stays cached
_BORDER_BYTES = 1 << 10  # searched for a border
_NUM_WORDS = 13
(
    _BASE,  # address of the buffer
    _POSITION,  # where the next token begins
    _NUM_BYTES,
    _READABLE,  # bytes of the buffer and after it that may be read
    _ENDS,  # address for the ends
    _CAPACITY,
    _CLASSES,  # address of the class table
    _SPECIALS,  # address of the special table, 0 without special tokens
    _STRETCH_END,  # the text up to here is known to contain no special token
    _SPECIAL_BYTES,  # length of the special token that begins there, 0 if none does
    _ORIGIN,  # address at which the first token of the batch begins
    _COUNT,  # tokens of the batch so far
    _IS_STUCK,  # 1 if the next token is too long
) = range(0, 8 * _NUM_WORDS, 8)


class Cutting(Protocol):
    """Anything that cuts a buffer; its user need not know the pattern."""

    origin: int
    """Address at which the first token of the last batch begins."""
    ends: np.ndarray
    """Where the tokens of the last batch end, int32 relative to `origin`; the rest is void."""
    ends_address: int

    def open(self, address: int, num_bytes: int, readable_bytes: int) -> None:
        """Begin with a buffer, which the caller keeps alive; at least `num_bytes` are readable."""
        ...

    def cut(self) -> int:
        """Fill `ends` and return how many there are, 0 at the end of the buffer.

        Raises:
            ValueError: a pretoken is longer than a gigabyte.
        """
        ...


class Cutter:
    """Cut a buffer into pretokens, and special tokens as tokens of their own.

    In bytes that are not UTF-8 the borders are arbitrary, but deterministic.

    Args:
        pattern: a name in `PATTERNS` that has a scanner, or its regex source.
        special_tokens: the UTF-8 bytes of each; the leftmost wins, then the longest.
        capacity: tokens per batch; up to 64 more may come.

    Raises:
        ValueError: the pattern has no scanner.

    >>> text = np.frombuffer(b"We're  here<|end|>now", np.uint8)
    >>> cutter = Cutter("gpt2", [b"<|end|>"])
    >>> cutter.open(address_of(text), len(text), len(text))
    >>> cutter.ends[: cutter.cut()].tolist(), cutter.cut()
    ([2, 5, 6, 11, 18, 21], 0)
    """

    def __init__(
        self, pattern: str, special_tokens: Sequence[bytes] = (), *, capacity: int = BATCH_TOKENS
    ) -> None:
        kernel = cut_kernel(pattern)
        if kernel is None:
            raise ValueError(f"there is no scanner for the pattern {pattern!r}; use `cutter_for`")
        self._cut = kernel
        self._specials = SpecialTable(special_tokens) if special_tokens else None
        self._classes = class_table()
        self.ends = zeros(capacity + SPARE_ENDS, np.int32)
        self.ends_address = address_of(self.ends)
        self._state = zeros(_NUM_WORDS, np.int64)
        self.state_address = address_of(self._state)
        self._state[_ENDS // 8] = self.ends_address
        self._state[_CAPACITY // 8] = capacity
        self._state[_CLASSES // 8] = address_of(self._classes)
        self._state[_SPECIALS // 8] = self._specials.address if self._specials else 0
        self.origin = 0

    def open(self, address: int, num_bytes: int, readable_bytes: int) -> None:
        """Begin with a buffer, which the caller keeps alive.

        If more than `num_bytes` may be read, the last 64 bytes are cut faster.
        """
        assert readable_bytes >= num_bytes >= 0
        self._state[: _READABLE // 8 + 1] = address, 0, num_bytes, readable_bytes
        self._state[_STRETCH_END // 8 :] = 0

    def cut(self) -> int:
        """Fill `ends` with the next batch; see `Cutting`."""
        count = self._cut(self.state_address)
        if count < 0:
            raise ValueError(
                f"the pretoken that begins at byte {self._state[_POSITION // 8]} is longer than "
                f"{FARTHEST} bytes; break up such runs of one kind of character"
            )
        self.origin = int(self._state[_ORIGIN // 8])
        return count


def cut_kernel(pattern: str) -> Callable[[int], int] | None:
    """Return the kernel that cuts by a pattern; None if only the `regex` module can."""
    return _KERNELS.get(resolve_pattern(pattern))


@kernel
def cut_by_gpt2(state):
    """Cut the next batch by the GPT-2 pattern; `state` is the address of the words named above."""
    _begin_batch(state)
    while _find_text(state):
        _take_ends(state, scan_gpt2(*_text(state)))
    return _finish_batch(state)


@kernel
def cut_by_cl100k(state):
    """As `cut_by_gpt2`, for cl100k and Llama 3."""
    _begin_batch(state)
    while _find_text(state):
        _take_ends(state, scan_words(*_text(state), 3))
    return _finish_batch(state)


@kernel
def cut_by_qwen2(state):
    """As `cut_by_gpt2`, for Qwen 2."""
    _begin_batch(state)
    while _find_text(state):
        _take_ends(state, scan_words(*_text(state), 1))
    return _finish_batch(state)


@kernel
def cut_by_o200k(state):
    """As `cut_by_gpt2`, for o200k."""
    _begin_batch(state)
    while _find_text(state):
        _take_ends(state, scan_o200k(*_text(state)))
    return _finish_batch(state)


# By regex source, as that is what vocabularies store; Llama 3 has the source of cl100k.
_KERNELS = {GPT2: cut_by_gpt2, CL100K: cut_by_cl100k, QWEN2: cut_by_qwen2, O200K: cut_by_o200k}


@inlined
def begin_buffer(state, address, num_bytes, readable_bytes):
    """Do inside a kernel what `Cutter.open` does."""
    store64(state + _BASE, address)
    store64(state + _POSITION, 0)
    store64(state + _NUM_BYTES, num_bytes)
    store64(state + _READABLE, readable_bytes)
    store64(state + _STRETCH_END, 0)
    store64(state + _SPECIAL_BYTES, 0)


@inlined
def _begin_batch(state):
    store64(state + _ORIGIN, load64(state + _BASE) + load64(state + _POSITION))
    store64(state + _COUNT, 0)
    store64(state + _IS_STUCK, 0)


@helper
def _find_text(state):
    """Take special tokens until ordinary text follows; return whether there is text and room."""
    while True:
        position, count = load64(state + _POSITION), load64(state + _COUNT)
        if position >= load64(state + _NUM_BYTES) or count >= load64(state + _CAPACITY):
            return False
        if position < load64(state + _STRETCH_END):
            return load64(state + _IS_STUCK) == 0
        special_bytes = load64(state + _SPECIAL_BYTES)
        if special_bytes:
            position += special_bytes
            end = load64(state + _BASE) + position - load64(state + _ORIGIN)
            store32(load64(state + _ENDS) + 4 * count, end)
            store64(state + _COUNT, count + 1)
            store64(state + _POSITION, position)
        _find_stretch(state, position)


@inlined
def _text(state):
    """Return the arguments of a scanner; its positions are relative to the origin of the batch."""
    count, origin = load64(state + _COUNT), load64(state + _ORIGIN)
    before = origin - load64(state + _BASE)
    return (
        origin,
        load64(state + _POSITION) - before,
        load64(state + _STRETCH_END) - before,
        load64(state + _READABLE) - before,
        load64(state + _ENDS) + 4 * count,
        load64(state + _CAPACITY) - count,
        load64(state + _CLASSES),
    )


@inlined
def _take_ends(state, found):
    """Advance past what a scanner found; it finds nothing if a pretoken is too long."""
    if found == 0:
        store64(state + _IS_STUCK, 1)
        return
    count = load64(state + _COUNT) + found
    last = load32(load64(state + _ENDS) + 4 * (count - 1))
    store64(state + _COUNT, count)
    store64(state + _POSITION, load64(state + _ORIGIN) + last - load64(state + _BASE))


@inlined
def _finish_batch(state):
    """Return the number of tokens, -1 if the first of them is too long."""
    count = load64(state + _COUNT)
    return -1 if count == 0 and load64(state + _IS_STUCK) else count


@helper
def _find_stretch(state, position):
    """Find text from `position` on that can be cut without looking at what follows it.

    It ends at the next special token; or at a border, if that token is far away.
    """
    base, num_bytes = load64(state + _BASE), load64(state + _NUM_BYTES)
    table = load64(state + _SPECIALS)
    store64(state + _SPECIAL_BYTES, 0)
    if table == 0:
        store64(state + _STRETCH_END, num_bytes)
        return
    begin, window = position, _WINDOW_BYTES
    while True:
        stop = min_signed(num_bytes, begin + window)
        place, length = find_special(base, begin, stop, num_bytes, load64(state + _READABLE), table)
        if length == 0 and stop < num_bytes:
            place = _last_border(base, position, stop)
            if place < 0:
                begin, window = stop, 2 * window
                continue
        store64(state + _STRETCH_END, place)
        store64(state + _SPECIAL_BYTES, length)
        return


@helper
def _last_border(base, position, stop):
    """Return the last place before `stop` where text can be cut in two, -1 if there is none.

    With the patterns that have a scanner, a visible ASCII character and a space after it belong to
    two pretokens, and neither depends on whether the other is seen.
    """
    lowest = stop - _BORDER_BYTES
    while stop > position + 1 and stop > lowest:
        stop -= 1
        if load8(base + stop) == 0x20 and 0x21 <= load8(base + stop - 1) <= 0x7E:
            return stop
    return -1
