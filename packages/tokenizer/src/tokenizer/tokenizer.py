"""How does text become ids, and how do ids become text again?

Stage: text -> special tokens -> pretokens -> *ids* -> text. Ids are those of tiktoken and of HF
tokenizers for the same vocabulary. Not here: training (`bpe`), other projects' files (`formats`),
and the parts this module joins (`special_tokens`, `stream`, `merge`, `token_file`).
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from types import MappingProxyType

import numpy as np

from tokenizer._bpe import Pretokenizer, Vocabulary, check_special_tokens
from tokenizer.encode_file import encode_file
from tokenizer.formats import load_vocabulary
from tokenizer.merge import MergeTable
from tokenizer.special_tokens import (
    SpecialTokens,
    cut_at_escaped_bytes,
    require_no_surrogates,
)
from tokenizer.stream import Cut, PretokenStream, StreamDecoder, StreamEncoder
from tokenizer.token_file import TokenFile, smallest_dtype

END_OF_TEXT = "<|endoftext|>"

_MAX_REMEMBERED = 1 << 16  # pretokens
_MAX_REMEMBERED_LENGTH = 64  # characters; longer ones hardly ever come back


class Tokenizer:
    r"""Byte-level BPE: text to ids and back.

    Special tokens in the text always become their ids; pass text in which they must not through
    a tokenizer without them.

    Args:
        vocab: the bytes of each id.
        merges: pairs of tokens, the earliest learnt first.
        special_tokens: strings that are one id each; those that `vocab` lacks are appended after
            its highest id, in this order.
        pattern: how text is cut into pretokens: a name in `bpe.PATTERNS`, or regex source.

    Raises:
        ValueError: vocabulary, merges and special tokens do not belong together.

    >>> pairs = [(b"t", b"h"), (b"th", b"e")]
    >>> vocab = {i: bytes([i]) for i in range(256)} | {256: b"th", 257: b"the"}
    >>> tokenizer = Tokenizer(vocab, pairs, ["<|endoftext|>"])
    >>> tokenizer.encode("the th<|endoftext|>")
    [257, 32, 256, 258]
    >>> tokenizer.decode([257, 32, 256, 258])
    'the th<|endoftext|>'
    """

    def __init__(
        self,
        vocab: Mapping[int, bytes],
        merges: Sequence[tuple[bytes, bytes]],
        special_tokens: Iterable[str] | None = None,
        *,
        pattern: str = "gpt2",
    ) -> None:
        names = check_special_tokens(() if special_tokens is None else special_tokens)
        tokens = _append_missing(vocab, names)
        self._vocabulary = Vocabulary(tokens, list(merges), names, pattern)
        self._tokens = self._vocabulary.tokens
        ids = self._vocabulary.ids
        self._specials = SpecialTokens({name: ids[name.encode()] for name in names})
        self._pretokenizer = Pretokenizer(self._vocabulary.pattern)
        self._merges = MergeTable(self._tokens, self._vocabulary.merges)
        self._remembered = _Remembered(self._merges)

    @classmethod
    def from_vocabulary(cls, vocabulary: Vocabulary) -> "Tokenizer":
        """Build the tokenizer that encodes with `vocabulary`, as `bpe` trained or read it."""
        return cls(
            vocabulary.tokens,
            vocabulary.merges,
            vocabulary.special_tokens,
            pattern=vocabulary.pattern,
        )

    @classmethod
    def from_files(
        cls,
        vocab_filepath: str | Path,
        merges_filepath: str | Path,
        special_tokens: Iterable[str] | None = None,
        *,
        pattern: str = "gpt2",
    ) -> "Tokenizer":
        """Read GPT-2-style vocab.json and merges.txt; special tokens they lack are appended.

        Raises:
            FileNotFoundError: a file is missing.
            ValueError: malformed content, named by file and line.
        """
        names = check_special_tokens(() if special_tokens is None else special_tokens)
        return cls.from_vocabulary(
            Vocabulary.from_files(vocab_filepath, merges_filepath, names, pattern)
        )

    @classmethod
    def load(cls, path: str | Path) -> "Tokenizer":
        """Read a tokenizer directory, as `save` and `train-bpe` write it, or a tokenizer.json.

        Raises:
            FileNotFoundError: a file is missing.
            ValueError: malformed content, another format or version, or one without our meaning.
        """
        return cls.from_vocabulary(load_vocabulary(path))

    def save(self, path: str | Path) -> None:
        """Write vocab.json, merges.txt, tokenizer.json and bpe.json into the directory `path`."""
        self._vocabulary.save(path)

    def __reduce__(self) -> tuple[Callable[[Vocabulary], "Tokenizer"], tuple[Vocabulary]]:
        return Tokenizer.from_vocabulary, (self._vocabulary,)

    def __repr__(self) -> str:
        return (
            f"Tokenizer(vocab_size={self.vocab_size}, special_tokens={list(self.special_tokens)}, "
            f"fingerprint={self.fingerprint[:12]})"
        )

    @property
    def vocabulary(self) -> Vocabulary:
        """Tokens, merges, special tokens and pattern."""
        return self._vocabulary

    @property
    def vocab_size(self) -> int:
        """The highest id + 1: the rows that an embedding needs."""
        return max(self._tokens) + 1

    @property
    def special_tokens(self) -> Mapping[str, int]:
        """Each special token and its id."""
        return MappingProxyType(self._specials.ids)

    @property
    def end_of_text_id(self) -> int | None:
        """The id of <|endoftext|>; None where it is no special token."""
        return self._specials.ids.get(END_OF_TEXT)

    @property
    def fingerprint(self) -> str:
        """SHA-256, in hex, over all that decides the ids of a text."""
        return self._vocabulary.fingerprint

    @property
    def dtype(self) -> np.dtype:
        """The dtype of arrays and files of ids: uint16 if the vocabulary fits, else uint32."""
        return smallest_dtype(self.vocab_size)

    def encode(self, text: str) -> list[int]:
        """Return the ids of `text`.

        Raises:
            ValueError: a lone surrogate, or a byte for which the vocabulary has no token.
        """
        require_no_surrogates(text)
        return list(self._encode_checked(text))

    def encode_array(self, text: str | bytes) -> np.ndarray:
        """Return the ids of `text` as an array.

        Bytes are read as UTF-8. Stretches that are not are encoded byte by byte and nothing
        merges with them, so `decode_bytes` returns exactly what was passed.

        Args:
            text: a `str`, or `bytes` of any content.

        Returns:
            (n,) of `dtype`.
        """
        ids = self._encode_bytes(text) if isinstance(text, bytes) else self.encode(text)
        return np.fromiter(ids, dtype=self.dtype)

    def encode_batch(self, texts: Iterable[str]) -> list[list[int]]:
        """Return the ids of each text."""
        return [self.encode(text) for text in texts]

    def encode_iterable(self, iterable: Iterable[str]) -> Iterator[int]:
        """Yield the ids of the pieces joined, wherever the text is cut into pieces.

        Ids come once enough text is there to be cut, so not one by one. Memory is bounded by the
        longest pretoken (with a custom pattern: by the longest document), not by the text.

        Args:
            iterable: pieces of one text, such as an open text file.
        """
        encoder = self.encoder()
        for piece in iterable:
            yield from encoder.push(piece)
        yield from encoder.finish()

    def encode_file(
        self,
        source: str | Path | Sequence[str | Path],
        destination: str | Path,
        *,
        progress: Callable[[int, int], None] | None = None,
    ) -> TokenFile:
        """Encode text files to one file of ids, in constant memory.

        Nothing merges across the border of two files, and nothing is put between them.

        Args:
            source: one UTF-8 file or several, encoded in this order.
            destination: the `.npy` to write; its sidecar is the `.json` beside it.
            progress: called with the bytes done and the bytes in all.

        Raises:
            OSError: a file cannot be read or written.
            ValueError: no text at all, or bytes that are no UTF-8; file and byte are named.
        """
        return encode_file(self, source, destination=destination, progress=progress)

    def decode(self, ids: Iterable[int]) -> str:
        """Return the text of `ids`; bytes that are no UTF-8 become U+FFFD.

        Raises:
            ValueError: an id outside the vocabulary; it and its position are named.
        """
        return self.decode_bytes(ids).decode("utf-8", errors="replace")

    def decode_bytes(self, ids: Iterable[int]) -> bytes:
        """Return the bytes of `ids`, joined.

        Raises:
            ValueError: an id outside the vocabulary; it and its position are named.
        """
        return self._bytes_of(ids.tolist() if hasattr(ids, "tolist") else list(ids))

    def encoder(self) -> StreamEncoder:
        """Return an object that turns pieces of one text into ids; see `encode_iterable`."""
        stream = PretokenStream(self._specials, self._pretokenizer)
        return StreamEncoder(stream, merge=self._encode_cut)

    def decoder(self) -> StreamDecoder:
        r"""Return an object that turns ids into text one by one and never splits a character.

        >>> decoder = Tokenizer({i: bytes([i]) for i in range(256)}, []).decoder()
        >>> [decoder.push(byte) for byte in "\u00fcx".encode()], decoder.finish()
        (['', '\xfc', 'x'], '')
        """
        return StreamDecoder(self._bytes_of)

    def _bytes_of(self, ids: list[int], first_position: int = 0) -> bytes:
        try:
            return b"".join([self._tokens[token_id] for token_id in ids])
        except KeyError as error:
            place = next(i for i, token_id in enumerate(ids) if token_id not in self._tokens)
            raise ValueError(
                f"id {error.args[0]!r} at position {first_position + place} is no token of this "
                f"vocabulary, whose ids go from {min(self._tokens)} to {max(self._tokens)}; "
                "decode with the tokenizer that made the ids"
            ) from None

    def _encode_checked(self, text: str) -> Iterator[int]:
        split = self._pretokenizer.split
        return self._encode_cut((split(part), name) for part, name in self._specials.cut(text))

    def _encode_cut(self, cut: Iterable[Cut]) -> Iterator[int]:
        """Merge pretokens; the chain of C iterators is what makes plain Python fast enough."""
        return chain.from_iterable(self._runs_of_ids(cut))

    def _runs_of_ids(self, cut: Iterable[Cut]) -> Iterator[Iterable[int]]:
        for pretokens, special in cut:
            yield chain.from_iterable(map(self._remembered.__getitem__, pretokens))
            if special is not None:
                yield (self._specials.ids[special],)

    def _encode_bytes(self, data: bytes) -> Iterator[int]:
        for text, malformed in cut_at_escaped_bytes(data.decode(errors="surrogateescape")):
            yield from self._encode_checked(text)
            yield from self._merges.byte_ids(malformed)


class _Remembered(dict[str, tuple[int, ...]]):
    """The ids of pretokens seen before; emptied when full, so that memory stays bounded."""

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


def _append_missing(vocab: Mapping[int, bytes], special_tokens: Iterable[str]) -> dict[int, bytes]:
    """Return `vocab` with an id for every special token."""
    tokens = dict(vocab)
    present = set(tokens.values())
    for token in special_tokens:
        if token.encode() not in present:
            tokens[max(tokens, default=-1) + 1] = token.encode()
    return tokens
