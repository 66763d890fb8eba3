"""Join the stages of encoding into one object: `Tokenizer`.

Stage: text or files -> *ids*, and back. Ids are those of tiktoken and of HF tokenizers for the same
vocabulary. Not here: text in memory (`codec`), training (`bpe`), other projects' files (`formats`).
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from tokenizer._bpe import (
    Vocabulary,
    append_missing,
    check_special_tokens,
    require,
    require_iterable,
)
from tokenizer.batch import encode_batch
from tokenizer.codec import Codec
from tokenizer.files.encoding import encode_file, encode_files_to_array
from tokenizer.files.token_file import TokenFile
from tokenizer.formats import load_vocabulary
from tokenizer.stream import StreamDecoder, StreamEncoder, TextStream


class Tokenizer(Codec):
    r"""Encode text to ids, and decode ids to text, with byte-level BPE.

    Plain Python handles small inputs and compiled kernels large ones, with the same ids; see
    `warm_up`. One tokenizer serves any number of threads, and survives forks and pickling.

    Args:
        vocab: the bytes of each id.
        merges: pairs of tokens, in the order in which they were learned.
        special_tokens: strings that are one id each; those that `vocab` lacks are appended after
            its highest id, in this order.
        pattern: how text is split into pretokens: a name in `bpe.PATTERNS`, or regex source.

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
        super().__init__(Vocabulary(tokens, list(merges), names, pattern))

    @classmethod
    def from_vocabulary(cls, vocabulary: Vocabulary) -> "Tokenizer":
        """Build the tokenizer that encodes with `vocabulary`, as trained or read by `bpe`."""
        require(vocabulary, Vocabulary, name="vocabulary", needed="a bpe.Vocabulary")
        tokenizer = cls.__new__(cls)
        Codec.__init__(tokenizer, vocabulary)
        return tokenizer

    @classmethod
    def from_files(
        cls,
        vocab_filepath: str | Path,
        merges_filepath: str | Path,
        special_tokens: Iterable[str] | None = None,
        *,
        pattern: str = "gpt2",
    ) -> "Tokenizer":
        """Read GPT-2-style vocab.json and merges.txt; missing special tokens are appended.

        Raises:
            FileNotFoundError: a file is missing.
            ValueError: malformed content; names file and line.
        """
        names = check_special_tokens(() if special_tokens is None else special_tokens)
        vocabulary = Vocabulary.from_files(vocab_filepath, merges_filepath, names, pattern)
        return cls.from_vocabulary(vocabulary)

    @classmethod
    def load(cls, path: str | Path) -> "Tokenizer":
        """Read a tokenizer directory, as written by `save` and `train-bpe`, or a tokenizer.json.

        Raises:
            FileNotFoundError: a file is missing.
            ValueError: malformed content, another format or version, or an unsupported feature.
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
            num_threads: None: one per usable CPU; only kernels run in parallel, not plain Python.
            progress: called with the texts done and the total.
        """
        return encode_batch(texts, self.encode, num_threads=num_threads, progress=progress)

    def encode_iterable(self, iterable: Iterable[str]) -> Iterator[int]:
        """Yield the ids of the joined pieces, wherever the text is divided into pieces.

        Ids come once there is enough text to cut, so not one by one. The longest pretoken (with a
        custom pattern: the longest document), not the text, bounds the memory.
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

        Nothing merges across the border of two files, and nothing is inserted between them. Files
        named *.gz and *.zst are decompressed on the fly.

        Args:
            source: one UTF-8 file or several, encoded in this order.
            destination: the `.npy` to write; its sidecar is the `.json` beside it.
            num_threads: None: one per usable CPU; the result is the same.
            progress: called with the bytes done and the total, as they are on disk.

        Raises:
            OSError: a file cannot be read or written.
            ValueError: no text at all, or bytes that are not UTF-8; names file and byte.
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
        """Encode text files as `encode_file` does, to (n,) ids of `dtype` in memory."""
        return encode_files_to_array(self, source, num_threads=num_threads, progress=progress)

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
