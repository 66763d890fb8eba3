"""Turn text into ids without a compiler.

Stage: text -> special tokens -> pretokens -> *ids*, in plain Python: it starts at once, but is
slower than the kernels, which give the same ids. Not here: which of the two runs (`engine`).
"""

from collections.abc import Iterable, Iterator
from itertools import chain

from tokenizer._bpe import Pretokenizer, Vocabulary
from tokenizer.merge import MergeTable
from tokenizer.special_tokens import SpecialTokens

_MAX_REMEMBERED = 1 << 16  # pretokens
_MAX_REMEMBERED_LENGTH = 64  # characters; longer ones rarely recur


class PlainEncoder:
    """Encodes text without lone surrogates.

    The vocabulary may lack bytes, which are then errors if they occur.
    """

    def __init__(self, vocabulary: Vocabulary, specials: SpecialTokens) -> None:
        self.pretokenizer = Pretokenizer(vocabulary.pattern)
        self._specials = specials
        self._merges = MergeTable(vocabulary.tokens, vocabulary.merges)
        self.remembered = _Remembered(self._merges)

    def encode(self, text: str, *, cuts_at_specials: bool = True) -> Iterator[int]:
        """Yield the ids of `text`; chained C iterators are what makes this fast enough."""
        return chain.from_iterable(self._runs_of_ids(text, cuts_at_specials=cuts_at_specials))

    def encode_bytes_singly(self, data: bytes) -> list[int]:
        """Return the ids of single bytes, without merging."""
        return self._merges.byte_ids(data)

    def _runs_of_ids(self, text: str, *, cuts_at_specials: bool) -> Iterator[Iterable[int]]:
        stretches = self._specials.cut(text) if cuts_at_specials else [(text, None)]
        for stretch, special in stretches:
            pretokens = self.pretokenizer.split(stretch)
            yield chain.from_iterable(map(self.remembered.__getitem__, pretokens))
            if special is not None:
                yield (self._specials.ids[special],)


class _Remembered(dict[str, tuple[int, ...]]):
    """The ids of pretokens seen before; emptied when full, so memory stays bounded."""

    def __init__(self, merges: MergeTable) -> None:
        super().__init__()
        self._merges = merges

    def __missing__(self, pretoken: str) -> tuple[int, ...]:
        ids = tuple(self._merges.encode(pretoken.encode()))
        if len(pretoken) <= _MAX_REMEMBERED_LENGTH:
            if len(self) >= _MAX_REMEMBERED:
                self.clear()
            self[pretoken] = ids
        return ids
