"""Encode text that arrives in pieces, and decode ids that arrive one by one.

Stage: pieces of text -> *stretches* -> ids, and back: ids -> *characters*. Memory is bounded by the
longest pretoken, not by the text. Not here: encoding a stretch, and files of ids.
"""

import codecs
from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import BinaryIO

import numpy as np

from tokenizer._bpe import PATTERNS, Pretokenizer, not_utf8, require
from tokenizer.ids import as_ids
from tokenizer.special_tokens import SpecialTokens, require_no_surrogates

_BLOCK = 1 << 15  # characters gathered before a cut; longer text is processed in such blocks
_BLOCK_BYTES = 1 << 20  # read from a file at a time
_HELD_PRETOKENS = 8
_MAX_BORDERS_TRIED = 64


class TextStream:
    r"""Cut text that arrives in pieces into stretches that can be encoded one by one.

    Special tokens: a place is undecided while everything after it could begin a special token.

    Pretokens of the known patterns: none contains a visible character followed by a space, and none
    changes if the text ends between the two. Without such a place: each match examines one prefix
    character, then one run of letters, digits, symbols or white space, then at most a contraction
    or the run of line ends after symbols. So a match can depend on text to come only if everything
    from its start on has that form, and such text makes fewer pretokens than are held back here;
    all earlier ones are final. The last of them must not end in white space, of which a match
    takes less if more text follows.

    Any other pattern may look ahead arbitrarily far, so text is held until a special token or the
    end closes it: memory is then bounded by the longest document.
    """

    def __init__(self, specials: SpecialTokens, pretokenizer: Pretokenizer) -> None:
        self._specials = specials
        self._pretokenizer = pretokenizer
        self._looks_ahead_little = pretokenizer.pattern in PATTERNS.values()
        self._held = ""
        self._pieces: list[str] = []
        self._num_gathered = 0
        self._num_pushed = 0

    def push(self, text: str) -> Iterator[str]:
        """Yield the stretches that are final by now; their ids, joined, are those of the text.

        Raises:
            ValueError: a lone surrogate; names its index in the whole stream.
        """
        require_no_surrogates(text, offset=self._num_pushed)
        self._num_pushed += len(text)
        for start in range(0, len(text), _BLOCK):
            piece = text[start : start + _BLOCK]
            self._pieces.append(piece)
            self._num_gathered += len(piece)
            # The held text is cut again each time: waiting until it doubles keeps that linear.
            if self._num_gathered >= max(_BLOCK, len(self._held)):
                yield from self._cut(is_end=False)

    def finish(self) -> Iterator[str]:
        """Yield the rest; the next push starts another text."""
        self._num_pushed = 0
        yield from self._cut(is_end=True)

    def _cut(self, *, is_end: bool) -> Iterator[str]:
        text = "".join([self._held, *self._pieces])
        self._pieces.clear()
        self._num_gathered = 0
        border = len(text) if is_end else self._last_border(text)
        self._held = text[border:]
        if border:
            yield text[:border]

    def _last_border(self, text: str) -> int:
        """Return how much of `text` has ids that do not depend on what follows."""
        position = 0
        undecided = self._specials.undecided_from(text, start=0)
        while match := self._specials.search(text, start=position):
            if match.start() >= undecided:
                break
            position = match.end()
            if position > undecided:
                undecided = self._specials.undecided_from(text, start=position)
        return position + self._final_length(text[position:undecided])

    def _final_length(self, open_stretch: str) -> int:
        """Return how much of a stretch no text to come can change."""
        if not self._looks_ahead_little:
            return 0
        place = len(open_stretch)
        for _ in range(_MAX_BORDERS_TRIED):
            place = open_stretch.rfind(" ", 1, place)
            if place < 0:
                break
            if "!" <= open_stretch[place - 1] <= "~":
                return place
        pretokens = self._pretokenizer.split(open_stretch)[:-_HELD_PRETOKENS]
        while pretokens and pretokens[-1][-1].isspace():
            pretokens.pop()
        return sum(map(len, pretokens))


class StreamEncoder:
    """Turn text that arrives in pieces into ids; joined, they are those of the whole text.

    Ids come once there is enough text to cut, so not for every piece.
    """

    def __init__(self, stream: TextStream, *, encode: Callable[[str], Iterable[int]]) -> None:
        self._stream = stream
        self._encode = encode

    def push(self, text: str) -> Iterator[int]:
        """Yield the ids that are final by now; consume them all before the next call.

        Raises:
            ValueError: a lone surrogate, or a byte for which the vocabulary has no token.
        """
        require(text, str, name="text", needed="a str")
        return chain.from_iterable(map(self._encode, self._stream.push(text)))

    def finish(self) -> Iterator[int]:
        """Yield the remaining ids; the encoder is then ready for another text."""
        return chain.from_iterable(map(self._encode, self._stream.finish()))


class StreamDecoder:
    r"""Turn ids into text one by one; a character is returned once all its bytes are there.

    `bytes_of` returns the bytes of ids; its second argument is the position of the first.

    Joined, the pieces are what `Tokenizer.decode` returns for the same ids in one list.
    """

    def __init__(self, bytes_of: Callable[[list[int] | np.ndarray, int], bytes]) -> None:
        self._bytes_of = bytes_of
        self._num_pushed = 0
        self._utf8 = codecs.getincrementaldecoder("utf-8")(errors="replace")

    def push(self, token_id: int) -> str:
        """Return the characters that this id completes; often none, or more than one.

        Raises:
            ValueError: an id outside the vocabulary; names it and its position.
        """
        return self.push_many([token_id])

    def push_many(self, ids: Iterable[int]) -> str:
        """Return what `push` returns for each of `ids`, joined."""
        ids = as_ids(ids)
        text = self._utf8.decode(self._bytes_of(ids, self._num_pushed))
        self._num_pushed += len(ids)
        return text

    def finish(self) -> str:
        """Return U+FFFD if the last character is incomplete, else nothing; then reset."""
        rest = self._utf8.decode(b"", final=True)
        self._utf8.reset()
        self._num_pushed = 0
        return rest


def read_text_blocks(file: BinaryIO, *, name: str | Path) -> Iterator[tuple[str, int]]:
    """Yield UTF-8 text in blocks, each with its number of bytes; the last block has none.

    Nothing is translated: line ends and byte order marks are kept.

    Raises:
        ValueError: bytes that are not UTF-8; names file and byte.
    """
    decoder = codecs.getincrementaldecoder("utf-8")()
    num_read = 0
    while True:
        block = file.read(_BLOCK_BYTES)
        try:
            text = decoder.decode(block, final=not block)
        except UnicodeDecodeError as error:
            start_byte = num_read - (len(error.object) - len(block))
            raise not_utf8(error, name, start_byte=start_byte) from None
        num_read += len(block)
        yield text, len(block)
        if not block:
            return
