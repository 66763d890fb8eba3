"""Score simple predictors on the validation text, as baselines for the model.

Stage: token files -> *baselines* -> summary. `xz -9` compresses the text; a token unigram and a
token bigram are fitted on the training tokens and scored like the model. Not here: the model.

Source: Kneser & Ney 1995, interpolated as in Chen & Goodman 1999, section 2.8. Departure: tokens
unseen in training get a share too, so that every probability is positive.
"""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from accounting.plural import agree, plural

_BLOCK_TOKENS = 1 << 22
MAX_TRAINING_TOKENS = 100_000_000
"""Only these first training tokens are counted, which bounds the memory."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Baseline:
    """The score of one simple predictor."""

    name: str
    bits_per_byte: float
    nats_per_token: float | None
    """None: the predictor has no tokens."""


def compare_baselines(
    train_tokens: np.ndarray,
    validation_tokens: np.ndarray,
    *,
    vocab_size: int,
    token_bytes: list[bytes],
    end_of_text_id: int,
) -> list[Baseline]:
    """Fit the baselines on one token stream and score every token of another once.

    `xz -9` is skipped if Python was built without lzma; see `why_no_xz`.

    Args:
        train_tokens: (n,) ids; may be a memory map.
        validation_tokens: (m,) ids; the context of the first one is end-of-text.
        vocab_size: exclusive upper bound of the ids.
        token_bytes: (v,) bytes of each id; empty for special tokens, which cost nats but no bytes.
        end_of_text_id: separates documents.

    Raises:
        ValueError: the validation tokens have no text.
    """
    lengths = np.array([len(token) for token in token_bytes], np.int64)
    num_bytes = sum(int(lengths[block].sum()) for block in _blocks(validation_tokens))
    if not num_bytes:
        number = len(validation_tokens)
        raise ValueError(
            f"{plural(number, 'validation token')} {agree(number, 'holds', 'hold')} no text, so "
            "bits per byte are undefined; provide a longer validation text"
        )
    counted = train_tokens[:MAX_TRAINING_TOKENS]
    is_cut = len(counted) < len(train_tokens)
    suffix = f" of the first {plural(len(counted), 'token')}" if is_cut else ""
    rows = []
    if why_no_xz() is None:
        bits_per_byte = xz_bits_per_byte(iter_text(validation_tokens, token_bytes))
        rows.append(Baseline(name="xz -9", bits_per_byte=bits_per_byte, nats_per_token=None))
    for name, model in (
        ("token unigram", Unigram.fit(counted, vocab_size=vocab_size)),
        ("smoothed token bigram", Bigram.fit(counted, end_of_text_id, vocab_size=vocab_size)),
    ):
        nats = _total_nats(model, validation_tokens, end_of_text_id)
        rows.append(
            Baseline(
                name=name + suffix,
                bits_per_byte=nats / math.log(2) / num_bytes,
                nats_per_token=nats / len(validation_tokens),
            )
        )
    return rows


def why_no_xz() -> str | None:
    """Return why `xz -9` is not available; None: it is."""
    try:
        import lzma  # noqa: F401 - only its presence matters
    except ImportError as error:
        return f"skipping xz -9: this Python was built without lzma ({error})"
    return None


def xz_bits_per_byte(text: Iterable[bytes]) -> float:
    """Return the size of a text, given in pieces, after compression by `xz -9`.

    Raises:
        ImportError: this Python has no lzma.
        ValueError: the text is empty.

    >>> xz_bits_per_byte([b"spam " * 1000]) < 0.2
    True
    """
    import lzma

    compressor = lzma.LZMACompressor(preset=9)
    num_bytes = num_compressed = 0
    for piece in text:
        num_bytes += len(piece)
        num_compressed += len(compressor.compress(piece))
    num_compressed += len(compressor.flush())
    if not num_bytes:
        raise ValueError("the text is empty, so bits per byte are undefined; provide some text")
    return 8 * num_compressed / num_bytes


def iter_text(tokens: np.ndarray, token_bytes: list[bytes]) -> Iterator[bytes]:
    """Yield the text of a token stream in pieces.

    >>> b"".join(iter_text(np.array([1, 0, 2, 2]), [b"", b"a", b"bc"]))
    b'abcbc'
    """
    for block in _blocks(tokens):
        yield b"".join([token_bytes[token_id] for token_id in block.tolist()])


@dataclass(frozen=True, slots=True)
class Unigram:
    """Independent tokens, by their counts plus one.

    Attributes:
        probability: (v,) float64; sums to 1.
    """

    probability: np.ndarray

    @classmethod
    def fit(cls, tokens: np.ndarray, *, vocab_size: int) -> "Unigram":
        """Count a token stream."""
        counts = np.ones(vocab_size)
        for block in _blocks(tokens):
            counts += np.bincount(block, minlength=vocab_size)
        return cls(counts / counts.sum())

    def probabilities(self, contexts: np.ndarray, tokens: np.ndarray) -> np.ndarray:
        """Return (n,) float64; contexts are ignored."""
        del contexts
        return self.probability[tokens]


@dataclass(frozen=True, slots=True)
class Bigram:
    """Tokens given their predecessor: interpolated Kneser-Ney with a single discount.

    Every observed pair gives up `discount` of its count. Each context distributes that mass over
    all tokens, in proportion to the number of distinct contexts that each token followed.

    Attributes:
        pairs: (p,) int64, ascending; context * vocabulary + token of each observed pair.
        counts: (p,) int64; occurrences of each pair.
        context_counts: (v,) int64; pairs that begin with each id.
        context_kinds: (v,) int64; distinct pairs that begin with each id.
        discount: in (0, 1].
        continuation: (v,) float64; distribution that unseen pairs fall back to; sums to 1.
    """

    pairs: np.ndarray
    counts: np.ndarray
    context_counts: np.ndarray
    context_kinds: np.ndarray
    discount: float
    continuation: np.ndarray

    @classmethod
    def fit(cls, tokens: np.ndarray, end_of_text_id: int, *, vocab_size: int) -> "Bigram":
        """Count a token stream; the context of its first token is end-of-text."""
        pairs, counts = _count_pairs(tokens, end_of_text_id, vocab_size)
        contexts, followers = np.divmod(pairs, vocab_size)
        context_counts = np.zeros(vocab_size, np.int64)
        np.add.at(context_counts, contexts, counts)
        return cls(
            pairs=pairs,
            counts=counts,
            context_counts=context_counts,
            context_kinds=np.bincount(contexts, minlength=vocab_size),
            discount=_estimate_discount(counts),
            continuation=_smooth(np.bincount(followers, minlength=vocab_size)),
        )

    def probabilities(self, contexts: np.ndarray, tokens: np.ndarray) -> np.ndarray:
        """Return (n,) float64: the probability of each token after its context."""
        wanted = contexts.astype(np.int64) * len(self.continuation) + tokens
        place = np.minimum(np.searchsorted(self.pairs, wanted), len(self.pairs) - 1)
        counts = np.where(self.pairs[place] == wanted, self.counts[place], 0)
        seen = np.maximum(self.context_counts[contexts], 1)  # 0 / 1 for an unseen context
        kept = np.maximum(counts - self.discount, 0) / seen
        given_up = self.discount * self.context_kinds[contexts] / seen
        given_up = np.where(self.context_counts[contexts], given_up, 1.0)
        return kept + given_up * self.continuation[tokens]


def _count_pairs(
    tokens: np.ndarray, end_of_text_id: int, vocab_size: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return the distinct pairs, ascending, and their counts."""
    pairs = counts = np.zeros(0, np.int64)
    for contexts, block in _with_contexts(tokens, end_of_text_id):
        new_pairs, new_counts = np.unique(contexts * vocab_size + block, return_counts=True)
        joined = np.concatenate([pairs, new_pairs])
        order = np.argsort(joined, kind="stable")  # linear: both halves are ascending
        joined = joined[order]
        starts = np.flatnonzero(np.diff(joined, prepend=-1))
        counts = np.add.reduceat(np.concatenate([counts, new_counts])[order], starts)
        pairs = joined[starts]
    return pairs, counts


def _estimate_discount(counts: np.ndarray) -> float:
    """Estimate the absolute discount from the number of counts that are 1 and 2.

    Without any count of 1 the estimate would be 0 and leave nothing for unseen events; it is one
    half then. Source: Ney, Essen & Kneser 1994.

    >>> _estimate_discount(np.array([1, 1, 2, 5]))
    0.5
    """
    num_ones, num_twos = np.count_nonzero(counts == 1), np.count_nonzero(counts == 2)
    return float(num_ones / (num_ones + 2 * num_twos)) if num_ones else 0.5


def _smooth(counts: np.ndarray) -> np.ndarray:
    """Turn counts into probabilities, sharing the discounted mass equally."""
    discount = _estimate_discount(counts)
    kept = np.maximum(counts - discount, 0)
    freed = discount * np.count_nonzero(counts)
    return (kept + freed / len(counts)) / counts.sum()


def _total_nats(model: Unigram | Bigram, tokens: np.ndarray, end_of_text_id: int) -> float:
    return sum(
        -float(np.log(model.probabilities(contexts, block)).sum())
        for contexts, block in _with_contexts(tokens, end_of_text_id)
    )


def _with_contexts(
    tokens: np.ndarray, end_of_text_id: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield (predecessors, tokens) in blocks of int64; each token occurs once."""
    before = end_of_text_id
    for block in _blocks(tokens):
        yield np.concatenate([[before], block[:-1]]), block
        before = int(block[-1])


def _blocks(tokens: np.ndarray) -> Iterator[np.ndarray]:
    for start in range(0, len(tokens), _BLOCK_TOKENS):
        yield np.asarray(tokens[start : start + _BLOCK_TOKENS], np.int64)
