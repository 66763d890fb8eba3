"""Turn text into ids and ids into text, in memory.

Stage: text -> special tokens -> pretokens -> *ids* -> text. Plain Python handles small inputs and
compiled kernels large ones, with the same ids. Not here: files and streams (`tokenizer`).
"""

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np

from tokenizer._bpe import Vocabulary, require, wrong_kind
from tokenizer.engine import Engine
from tokenizer.ids import as_ids, as_keys, pack, smallest_dtype
from tokenizer.plain import PlainEncoder
from tokenizer.special_tokens import SpecialTokens, cut_at_escaped_bytes, require_no_surrogates

if TYPE_CHECKING:
    from tokenizer._kernels.encoder import KernelEncoder

END_OF_TEXT = "<|endoftext|>"
_WORTH_PACKING = 200  # ids; fewer are decoded faster without a kernel
SpecialText = Literal["split", "forbid", "text"]
"""How to read the text of a special token: as that token, as an error, or as ordinary text."""


class Codec:
    """Encodes and decodes with one vocabulary; the basis of `Tokenizer`."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._vocabulary = vocabulary
        self._tokens = vocabulary.tokens
        ids = vocabulary.ids
        specials = {name: ids[name.encode()] for name in vocabulary.special_tokens}
        self._specials = SpecialTokens(specials)
        self._plain = PlainEncoder(vocabulary, self._specials)
        self._engine = Engine(vocabulary)

    @property
    def vocabulary(self) -> Vocabulary:
        """The tokens, merges, special tokens and pattern."""
        return self._vocabulary

    @property
    def vocab_size(self) -> int:
        """The highest id + 1: the number of rows that an embedding needs."""
        return max(self._tokens) + 1

    @property
    def special_tokens(self) -> Mapping[str, int]:
        """The id of each special token."""
        return MappingProxyType(self._specials.ids)

    @property
    def end_of_text_id(self) -> int | None:
        """The id of <|endoftext|>; None if it is not a special token."""
        return self._specials.ids.get(END_OF_TEXT)

    @property
    def fingerprint(self) -> str:
        """SHA-256, in hex, of everything that decides the ids of a text."""
        return self._vocabulary.fingerprint

    @property
    def dtype(self) -> np.dtype:
        """The dtype for arrays and files of ids: uint16 if the vocabulary fits, else uint32."""
        return smallest_dtype(self.vocab_size)

    def warm_up(self) -> None:
        """Load the kernels now, and compile them if this machine has not done so before.

        Otherwise the first call whose text is large enough to pay for it does this.
        """
        self._engine.start()

    def encode(self, text: str, *, special: SpecialText = "split") -> list[int]:
        """Return the ids of `text`.

        Args:
            text: any `str` without lone surrogates.
            special: "split": the text of a special token becomes that token; "forbid": it is an
                error; "text": it is ordinary text.

        Raises:
            ValueError: a lone surrogate, a byte for which the vocabulary has no token, or the
                text of a special token if that is forbidden.
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

        Bytes are read as UTF-8. Malformed stretches are encoded byte by byte and nothing merges
        with them, so `decode_bytes` returns exactly what was passed.

        Args:
            text: a `str`, or `bytes` with any content.
            special: as for `encode`; an index in an error counts each malformed byte as one.

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

    def decode(self, ids: Iterable[int]) -> str:
        """Return the text of `ids`; bytes that are not UTF-8 become U+FFFD.

        Raises:
            ValueError: an id outside the vocabulary; names it and its position.
        """
        return self.decode_bytes(ids).decode("utf-8", errors="replace")

    def decode_bytes(self, ids: Iterable[int]) -> bytes:
        """Return the bytes of `ids`, joined."""
        ids = as_ids(ids)
        kernels = self._engine.kernels_for(len(ids))
        if kernels is not None and len(ids) >= _WORTH_PACKING:
            packed = pack(ids)
            if packed is not None:
                return self._decode_array(packed, kernels)
        return self._bytes_of(ids)

    def kernels_for(self, num_bytes: int) -> "KernelEncoder | None":
        """Return the compiled encoder, or None if plain Python finishes sooner.

        For the other modules of this package; see `engine`.
        """
        return self._engine.kernels_for(num_bytes)

    def _bytes_of(self, ids: list[int] | np.ndarray, first_position: int = 0) -> bytes:
        listed = ids.tolist() if isinstance(ids, np.ndarray) else ids
        keys = as_keys(listed)
        try:
            return b"".join([self._tokens[key] for key in keys])
        except KeyError:
            place = next(i for i, key in enumerate(keys) if key not in self._tokens)
            raise ValueError(
                f"id {listed[place]!r} at position {first_position + place} is not a token of this "
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
