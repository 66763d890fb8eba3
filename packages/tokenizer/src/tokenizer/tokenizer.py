"""How does text become ids, and how do ids become text again?

Stage: text -> special tokens -> pretokens -> *ids* -> text. Ids are those of tiktoken and of HF
tokenizers for the same vocabulary. Not here: training (`bpe`), other projects' files (`formats`),
and the parts this module joins (`special_tokens`, `plain`, `engine`, `stream`, `token_file`).
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np

from tokenizer._bpe import (
    Vocabulary,
    append_missing,
    check_special_tokens,
    require,
    require_iterable,
    wrong_kind,
)
from tokenizer.batch import encode_batch
from tokenizer.encode_file import encode_file, encode_files_to_array
from tokenizer.engine import Engine
from tokenizer.formats import load_vocabulary
from tokenizer.ids import as_ids, as_keys, pack
from tokenizer.plain import PlainEncoder
from tokenizer.special_tokens import (
    SpecialTokens,
    cut_at_escaped_bytes,
    require_no_surrogates,
)
from tokenizer.stream import StreamDecoder, StreamEncoder, TextStream
from tokenizer.token_file import TokenFile, smallest_dtype

if TYPE_CHECKING:
    from tokenizer._kernels.encoder import KernelEncoder

END_OF_TEXT = "<|endoftext|>"
_WORTH_PACKING = 200  # ids; fewer are decoded sooner without a kernel
SpecialText = Literal["split", "forbid", "text"]
"""What the text of a special token means: that token, an error, or ordinary text."""


class Tokenizer:
    r"""Byte-level BPE: text to ids and back.

    Small work is done in plain Python, large work by compiled kernels, with the same ids; see
    `warm_up`. One tokenizer serves any number of threads, and survives forks and pickles.

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
        require(vocab, Mapping, name="vocab", needed="a dict from ids to bytes")
        require_iterable(merges, name="merges", needed="a list of pairs of bytes")
        names = check_special_tokens(() if special_tokens is None else special_tokens)
        tokens = append_missing(vocab, names)
        self._set_up(Vocabulary(tokens, list(merges), names, pattern))

    @classmethod
    def from_vocabulary(cls, vocabulary: Vocabulary) -> "Tokenizer":
        """Build the tokenizer that encodes with `vocabulary`, as `bpe` trained or read it."""
        require(vocabulary, Vocabulary, name="vocabulary", needed="a bpe.Vocabulary")
        tokenizer = cls.__new__(cls)
        tokenizer._set_up(vocabulary)
        return tokenizer

    def _set_up(self, vocabulary: Vocabulary) -> None:
        self._vocabulary = vocabulary
        self._tokens = vocabulary.tokens
        ids = vocabulary.ids
        self._specials = SpecialTokens(
            {name: ids[name.encode()] for name in vocabulary.special_tokens}
        )
        self._plain = PlainEncoder(vocabulary, self._specials)
        self._engine = Engine(vocabulary)

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
        vocabulary = load_vocabulary(path)
        try:
            return cls.from_vocabulary(vocabulary)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error

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

    def warm_up(self) -> None:
        """Load the kernels now, and compile them where that was not done on this machine before.

        Otherwise that happens in the first call whose text is large enough to pay for it.
        """
        self._engine.start()

    def encode(self, text: str, *, special: SpecialText = "split") -> list[int]:
        """Return the ids of `text`.

        Args:
            text: any `str` without lone surrogates.
            special: "split": the text of a special token is that token; "forbid": it is an
                error; "text": it is ordinary text.

        Raises:
            ValueError: a lone surrogate, a byte for which the vocabulary has no token, or the
                text of a special token where that is forbidden.
        """
        if not isinstance(text, str):
            raise wrong_kind(text, name="text", needed="a str; encode_array takes bytes too")
        kernels = self._engine.kernels_for(len(text))
        if kernels is not None and special == "split":
            try:
                return kernels.encode_to_list(text.encode())
            except UnicodeEncodeError:
                require_no_surrogates(text)
                raise
        self._check_text(text, special=special)
        if kernels is not None:
            return self._encode_to_array(text, kernels, special=special).tolist()
        return list(self._plain.encode(text, cuts_at_specials=special == "split"))

    def encode_array(self, text: str | bytes, *, special: SpecialText = "split") -> np.ndarray:
        """Return the ids of `text` as an array.

        Bytes are read as UTF-8. Stretches that are not are encoded byte by byte and nothing
        merges with them, so `decode_bytes` returns exactly what was passed.

        Args:
            text: a `str`, or `bytes` of any content.
            special: see `encode`; an index that an error names counts a malformed byte as one.

        Returns:
            (n,) of `dtype`.
        """
        require(text, (str, bytes, bytearray), name="text", needed="a str or bytes")
        kernels = self._engine.kernels_for(len(text))
        if isinstance(text, str):
            self._check_text(text, special=special)
            return self._encode_to_array(text, kernels, special=special)
        if kernels is not None and special == "split" and kernels.first_malformed(text) < 0:
            return kernels.encode(text)
        parts, num_before = [], 0
        for stretch, malformed in cut_at_escaped_bytes(text.decode(errors="surrogateescape")):
            self._check_text(stretch, special=special, offset=num_before)
            num_before += len(stretch) + len(malformed)
            parts.append(self._encode_to_array(stretch, kernels, special=special))
            parts.append(np.array(self._plain.encode_bytes_singly(malformed), self.dtype))
        return np.concatenate(parts)

    def encode_batch(
        self,
        texts: Iterable[str],
        *,
        num_threads: int | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> list[list[int]]:
        """Return the ids of each text.

        Args:
            texts: any number.
            num_threads: None for one per usable CPU; kernels run in parallel, plain Python not.
            progress: called with the texts done and in all.
        """
        return encode_batch(self, texts, num_threads=num_threads, progress=progress)

    def encode_iterable(self, iterable: Iterable[str]) -> Iterator[int]:
        """Yield the ids of the pieces joined, wherever the text is cut into pieces.

        Ids come once enough text is there to be cut, so not one by one. Memory is bounded by the
        longest pretoken (with a custom pattern: by the longest document), not by the text.

        Args:
            iterable: pieces of one text, such as an open text file.
        """
        needed = "pieces of text, such as an open file or [text]"
        require_iterable(iterable, name="iterable", needed=needed)
        return self._encode_pieces(iterable)

    def _encode_pieces(self, pieces: Iterable[str]) -> Iterator[int]:
        encoder = self.encoder()
        for piece in pieces:
            yield from encoder.push(piece)
        yield from encoder.finish()

    def encode_file(
        self,
        source: str | Path | Sequence[str | Path],
        destination: str | Path,
        *,
        num_threads: int | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> TokenFile:
        """Encode text files to one file of ids, in constant memory.

        Nothing merges across the border of two files, and nothing is put between them. Files
        named *.gz and *.zst are decompressed on the way.

        Args:
            source: one UTF-8 file or several, encoded in this order.
            destination: the `.npy` to write; its sidecar is the `.json` beside it.
            num_threads: None for one per usable CPU; the result is the same.
            progress: called with the bytes done and the bytes in all, as they are on disk.

        Raises:
            OSError: a file cannot be read or written.
            ValueError: no text at all, or bytes that are no UTF-8; file and byte are named.
        """
        return encode_file(
            self, source, destination=destination, num_threads=num_threads, progress=progress
        )

    def encode_files_to_array(
        self,
        source: str | Path | Sequence[str | Path],
        *,
        num_threads: int | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> np.ndarray:
        """Encode text files as `encode_file` does, to ids in memory.

        Returns:
            (n,) of `dtype`.
        """
        return encode_files_to_array(self, source, num_threads=num_threads, progress=progress)

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
        ids = as_ids(ids)
        kernels = self._engine.kernels_for(len(ids))
        if kernels is not None and len(ids) >= _WORTH_PACKING:
            packed = pack(ids)
            if packed is not None:
                return self._decode_array(packed, kernels)
        return self._bytes_of(ids)

    def kernels_for(self, num_bytes: int) -> "KernelEncoder | None":
        """Return the compiled way to encode, or None where plain Python is done sooner.

        For the other modules of this package; see `engine`.
        """
        return self._engine.kernels_for(num_bytes)

    def encoder(self) -> StreamEncoder:
        """Return an object that turns pieces of one text into ids; see `encode_iterable`."""
        stream = TextStream(self._specials, self._plain.pretokenizer)
        return StreamEncoder(stream, encode=self._encode_stretch)

    def decoder(self) -> StreamDecoder:
        r"""Return an object that turns ids into text one by one and never splits a character.

        >>> decoder = Tokenizer({i: bytes([i]) for i in range(256)}, []).decoder()
        >>> [decoder.push(byte) for byte in "\u00fcx".encode()], decoder.finish()
        (['', '\xfc', 'x'], '')
        """
        return StreamDecoder(self._bytes_of)

    def _bytes_of(self, ids: list[int] | np.ndarray, first_position: int = 0) -> bytes:
        ids = ids.tolist() if isinstance(ids, np.ndarray) else ids
        keys = as_keys(ids)
        try:
            return b"".join([self._tokens[key] for key in keys])
        except KeyError:
            place = next(i for i, key in enumerate(keys) if key not in self._tokens)
            raise ValueError(
                f"id {ids[place]!r} at position {first_position + place} is no token of this "
                f"vocabulary, whose ids go from {min(self._tokens)} to {max(self._tokens)}; "
                "decode with the tokenizer that made the ids"
            ) from None

    def _decode_array(self, ids: np.ndarray, kernels: "KernelEncoder") -> bytes:
        found = kernels.decode(ids)
        if isinstance(found, bytes):
            return found
        return self._bytes_of(ids[found : found + 1], found)  # raises

    def _check_text(self, text: str, *, special: SpecialText, offset: int = 0) -> None:
        require_no_surrogates(text)
        if special not in get_args(SpecialText):
            names = ", ".join(map(repr, get_args(SpecialText)))
            raise ValueError(f"special is {special!r}, but must be one of {names}")
        if special == "forbid":
            self._specials.require_none(text, offset=offset)

    def _encode_to_array(
        self, text: str, kernels: "KernelEncoder | None", *, special: SpecialText
    ) -> np.ndarray:
        cuts = special == "split"
        if kernels is not None:
            return kernels.encode(text.encode(), cuts_at_specials=cuts)
        return np.fromiter(self._plain.encode(text, cuts_at_specials=cuts), dtype=self.dtype)

    def _encode_stretch(self, text: str) -> Iterable[int]:
        kernels = self._engine.kernels_for(len(text))
        if kernels is not None:
            return kernels.encode_to_list(text.encode())
        return self._plain.encode(text)
