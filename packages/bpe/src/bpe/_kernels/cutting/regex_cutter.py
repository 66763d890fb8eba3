"""Cut a buffer by a pattern that has no scanner.

Stage: text -> *pretokens* -> counts, or ids. The `regex` module cuts, and lengths in characters
become lengths in bytes; this is ten to a hundred times slower than a scanner, and the decoded text
is held in memory. Not here: the patterns that have a scanner (`cutter`).
"""

import ctypes
from collections.abc import Iterator, Sequence

import numpy as np

from bpe._kernels.cutting.cutter import BATCH_TOKENS, SPARE_ENDS, Cutter, Cutting, cut_kernel
from bpe._kernels.cutting.gpt2 import FARTHEST
from bpe._kernels.memory import address_of, zeros
from bpe.pretokens import Pretokenizer
from bpe.special_tokens import compile_special_tokens

_ESCAPE = "surrogateescape"  # every byte that is not UTF-8 becomes a character of its own


def cutter_for(
    pattern: str, special_tokens: Sequence[bytes] = (), *, capacity: int = BATCH_TOKENS
) -> Cutting:
    """Return a scanner's cutter if the pattern has one, else a `RegexCutter`; arguments are theirs.

    Raises:
        ValueError: the pattern is not a valid regular expression.
    """
    kind = RegexCutter if cut_kernel(pattern) is None else Cutter
    return kind(pattern, special_tokens, capacity=capacity)


class RegexCutter:
    """Cut a buffer by any pattern; has the arguments and the interface of `Cutter`.

    >>> text = np.frombuffer(b"ab12<|end|>c", np.uint8)
    >>> cutter = RegexCutter("[a-z]+|[0-9]", [b"<|end|>"])
    >>> cutter.open(address_of(text), len(text), len(text))
    >>> cutter.ends[: cutter.cut()].tolist(), cutter.cut()
    ([2, 3, 4, 11, 12], 0)
    """

    def __init__(
        self, pattern: str, special_tokens: Sequence[bytes] = (), *, capacity: int = BATCH_TOKENS
    ) -> None:
        self._pretokenizer = Pretokenizer(pattern)
        specials = [special.decode("utf-8", _ESCAPE) for special in special_tokens]
        self._special_tokens = compile_special_tokens(specials)
        self._capacity = capacity
        self.ends = zeros(capacity + SPARE_ENDS, np.int32)
        self.ends_address = address_of(self.ends)
        self.origin = 0
        self._lengths: Iterator[int] = iter(())
        self._too_many: int | None = None
        self._batch_bytes = 0

    def open(self, address: int, num_bytes: int, readable_bytes: int) -> None:
        """Begin with a buffer; it is copied, so the caller need not keep it alive."""
        assert readable_bytes >= num_bytes >= 0
        text = ctypes.string_at(address, num_bytes).decode("utf-8", _ESCAPE)
        spans = self._spans(text)
        if len(text) == num_bytes:
            self._lengths = (end - start for start, end in spans)
        else:
            self._lengths = (len(text[s:e].encode("utf-8", _ESCAPE)) for s, e in spans)
        self.origin, self._batch_bytes, self._too_many = address, 0, None

    def cut(self) -> int:
        """Fill `ends` with the next batch; see `Cutting`."""
        self.origin += self._batch_bytes
        count = end = 0
        while count < self._capacity:
            length = self._too_many or next(self._lengths, None)
            self._too_many = None
            if length is None:
                break
            if end + length > FARTHEST:
                if not count:
                    raise ValueError(
                        f"a pretoken is longer than {FARTHEST} bytes ({length}); break up the text"
                    )
                self._too_many = length
                break
            end += length
            self.ends[count] = end
            count += 1
        self._batch_bytes = end
        return count

    def _spans(self, text: str) -> Iterator[tuple[int, int]]:
        """Yield start and end of each token, including special tokens, in characters."""
        done = 0
        specials = self._special_tokens.finditer(text) if self._special_tokens else ()
        for special in specials:
            yield from self._plain_spans(text, done, special.start())
            yield special.span()
            done = special.end()
        yield from self._plain_spans(text, done, len(text))

    def _plain_spans(self, text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
        part = text[start:end]
        for first, last in self._pretokenizer.spans(part):
            yield start + first, start + last
