"""Compare the encoding kernels with plain Python.

Stage: texts -> *ids, twice* -> findings. The plain encoder splits with the `regex` module and
merges in a loop; on some of the texts it is compared with `reference`. Not here: the texts
(`texts`).
"""

import random
from pathlib import Path

import numpy as np

from bench.fuzzing.campaign import FindingError
from bench.fuzzing.texts import ALPHABETS, SPECIALS, draw_bytes, draw_texts
from bpe import PATTERNS, Vocabulary, count_documents, vocabulary_from_counts
from tokenizer import Tokenizer
from tokenizer.plain import PlainEncoder
from tokenizer.reference import encode as encode_by_reference
from tokenizer.special_tokens import SpecialTokens, cut_at_escaped_bytes

_BATCH = 2000
_REFERENCE_STEP = 250  # one text in so many is also encoded by the reference
_MAX_REFERENCE_LENGTH = 60
_SENSELESS_EVERY = 8
_TRAINED_MERGES = 400


class _Pair:
    """A tokenizer with kernels, and a plain encoder with the same vocabulary."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self.vocabulary = vocabulary
        self.compiled = Tokenizer.from_vocabulary(vocabulary)
        self.compiled.warm_up()
        ids = vocabulary.ids
        specials = SpecialTokens({name: ids[name.encode()] for name in vocabulary.special_tokens})
        self.plain = PlainEncoder(vocabulary, specials)

    def encode_plainly(self, text: str, *, cuts: bool = True) -> list[int]:
        return list(self.plain.encode(text, cuts_at_specials=cuts))


class EncodeTexts:
    """Text to ids by kernels: alone, joined to one large text, in memory and from a file."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "encode.txt"
        self._pairs = [_Pair(_trained(pattern)) for pattern in PATTERNS]

    def run(self, rng: random.Random) -> int:
        """Try a batch of texts with one vocabulary."""
        senseless = rng.randrange(_SENSELESS_EVERY) == 0
        pair = _Pair(_senseless(rng)) if senseless else rng.choice(self._pairs)
        texts = draw_texts(rng, _BATCH)
        expected = [pair.encode_plainly(text) for text in texts]
        self._compare_each(pair, texts, expected)
        self._compare_joined(pair, texts, expected)
        for place in range(rng.randrange(_REFERENCE_STEP), len(texts), _REFERENCE_STEP):
            _compare_with_reference(pair, texts[place][:_MAX_REFERENCE_LENGTH])
        return len(texts)

    def _compare_each(self, pair: _Pair, texts: list[str], expected: list[list[int]]) -> None:
        found = pair.compiled.encode_batch(texts, num_threads=1)
        for text, ids, truth in zip(texts, found, expected, strict=True):
            if ids != truth:
                raise _difference("encode", pair, text.encode(), ids, truth)
            if pair.compiled.decode_bytes(np.array(ids, np.int64)) != text.encode():
                raise _difference("decode", pair, text.encode(), ids, truth)
        text = texts[-1]
        plainly = pair.encode_plainly(text, cuts=False)
        if (ids := pair.compiled.encode(text, special="text")) != plainly:
            raise _difference("encode as text", pair, text.encode(), ids, plainly)

    def _compare_joined(self, pair: _Pair, texts: list[str], expected: list[list[int]]) -> None:
        """Encode one text instead of many: other kernels, other places in blocks of 64 bytes."""
        special = SPECIALS[0]
        if special not in pair.vocabulary.special_tokens:
            return
        # A special token before a border could be the beginning of a longer one.
        kept = [i for i, text in enumerate(texts) if not text.endswith(("<", "|", "<|x|>"))]
        joined = special.join(texts[i] for i in kept)
        end = pair.vocabulary.ids[special.encode()]
        truth = [i for number in kept for i in (*expected[number], end)][:-1]
        if (ids := pair.compiled.encode_array(joined).tolist()) != truth:
            raise _difference("encode joined", pair, joined.encode(), ids, truth)
        self._file.write_text(joined, encoding="utf-8", newline="")
        ids = pair.compiled.encode_files_to_array(self._file, num_threads=2).tolist()
        if ids != truth:
            raise _difference("encode a file", pair, joined.encode(), ids, truth)


class EncodeBytes:
    """Bytes of any content to ids by kernels, and back."""

    def __init__(self, folder: Path) -> None:
        del folder
        self._pairs = [_Pair(_trained(pattern)) for pattern in PATTERNS]

    def run(self, rng: random.Random) -> int:
        """Try a batch of bytes with one vocabulary."""
        pair = rng.choice(self._pairs)
        inputs = draw_bytes(rng, _BATCH)
        for data in inputs:
            ids = pair.compiled.encode_array(data)
            truth = _encode_bytes_plainly(pair, data)
            if ids.tolist() != truth:
                raise _difference("encode bytes", pair, data, ids.tolist(), truth)
            if pair.compiled.decode_bytes(ids) != data:
                raise _difference("decode bytes", pair, data, ids.tolist(), truth)
        return len(inputs)


def _encode_bytes_plainly(pair: _Pair, data: bytes) -> list[int]:
    ids: list[int] = []
    for stretch, malformed in cut_at_escaped_bytes(data.decode(errors="surrogateescape")):
        ids += pair.encode_plainly(stretch)
        ids += pair.plain.encode_bytes_singly(malformed)
    return ids


def _compare_with_reference(pair: _Pair, text: str) -> None:
    vocabulary = pair.vocabulary
    truth = encode_by_reference(
        text,
        vocabulary.tokens,
        merges=vocabulary.merges,
        special_tokens=vocabulary.special_tokens,
        pattern=vocabulary.pattern,
    )
    if (ids := pair.encode_plainly(text)) != truth:
        raise _difference("plain encoder against the reference", pair, text.encode(), ids, truth)


def _difference(
    what: str, pair: _Pair, data: bytes, found: list[int], truth: list[int]
) -> FindingError:
    place = next((i for i, (a, b) in enumerate(zip(found, truth, strict=False)) if a != b), -1)
    return FindingError(
        f"{what} with {pair.compiled!r}: {len(found)} ids instead of {len(truth)}, differing "
        f"at {place}: {found[place : place + 5]} instead of {truth[place : place + 5]}",
        {"input.bin": data, "pattern.txt": pair.vocabulary.pattern.encode()},
    )


def _trained(pattern: str) -> Vocabulary:
    rng = random.Random(f"vocabulary {pattern}")
    documents = [" ".join(draw_texts(rng, 60)) for _ in ALPHABETS * 3]
    counts = count_documents(documents, SPECIALS, pattern=pattern)
    size = 256 + len(SPECIALS) + _TRAINED_MERGES
    return vocabulary_from_counts(counts, size, SPECIALS, pattern=pattern)


def _senseless(rng: random.Random) -> Vocabulary:
    """Return merges in any order, several for one token, and ids in any order with gaps."""
    tokens = [bytes([byte]) for byte in range(256)]
    merges: list[tuple[bytes, bytes]] = []
    for _ in range(rng.randrange(20)):
        pool = [b"a", b"b", b" ", b"\xe2", *tokens[256:]]
        pair = rng.choice(pool), rng.choice(pool)
        if pair not in merges and len(pair[0] + pair[1]) < 80:
            merges.append(pair)
            tokens += [pair[0] + pair[1]] if pair[0] + pair[1] not in tokens else []
    tokens += [special.encode() for special in SPECIALS]
    ids = rng.sample(range(rng.choice([len(tokens), 70_000])), len(tokens))
    rng.shuffle(merges)
    pattern = rng.choice(list(PATTERNS))
    return Vocabulary(dict(zip(ids, tokens, strict=True)), merges, SPECIALS, pattern)
