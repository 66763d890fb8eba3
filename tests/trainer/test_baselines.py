import lzma
import math
import sys

import numpy as np
import pytest

from trainer.evaluation import baselines
from trainer.evaluation.baselines import Bigram, Unigram, compare_baselines, xz_bits_per_byte

END = 0
TOKEN_BYTES = [b"", b"a", b"bc", b"d"]


def random_tokens(*, size: int, vocab_size: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return (rng.random(size) ** 3 * vocab_size).astype(np.uint16)


def test_unigram_counts_each_id_once_more_than_it_occurs():
    model = Unigram.fit(np.array([1, 1, 2], np.uint16), vocab_size=4)
    np.testing.assert_allclose(model.probability, np.array([1, 3, 2, 1]) / 7)


def test_bigram_equals_the_hand_worked_example():
    # Pairs: (end, 1), (1, 2), (2, 1), (1, 2), (2, 1), (1, 1): counts 1, 2, 2, 1.
    model = Bigram.fit(np.array([1, 2, 1, 2, 1, 1]), END, vocab_size=3)
    discount = 2 / (2 + 2 * 2)
    # Token 1 followed three kinds of context, token 2 one: counts of counts 1 and 0, discount 1.
    continuation = np.array([0 + 2 / 3, 2 + 2 / 3, 0 + 2 / 3]) / 4
    assert model.discount == pytest.approx(discount)
    np.testing.assert_allclose(model.continuation, continuation)
    found = model.probabilities(np.array([1, 1, 2]), np.array([2, 0, 1]))
    expected = [
        (2 - discount) / 3 + discount * 2 / 3 * continuation[2],
        discount * 2 / 3 * continuation[0],
        (2 - discount) / 2 + discount * 1 / 2 * continuation[1],
    ]
    np.testing.assert_allclose(found, expected)


@pytest.mark.parametrize("size", [1, 7, 5000])
def test_bigram_sums_to_one_after_every_context(size: int):
    vocab_size = 50
    model = Bigram.fit(random_tokens(size=size, vocab_size=40, seed=3), END, vocab_size=vocab_size)
    every = np.arange(vocab_size)
    for context in every:
        probability = model.probabilities(np.full(vocab_size, context), every)
        assert probability.min() > 0
        assert probability.sum() == pytest.approx(1, abs=1e-12)


def test_counting_in_blocks_changes_nothing(monkeypatch: pytest.MonkeyPatch):
    tokens = random_tokens(size=3000, vocab_size=30, seed=1)
    whole = Bigram.fit(tokens, END, vocab_size=30)
    monkeypatch.setattr(baselines, "_BLOCK_TOKENS", 7)
    blocks = Bigram.fit(tokens, END, vocab_size=30)
    np.testing.assert_array_equal(blocks.pairs, whole.pairs)
    np.testing.assert_array_equal(blocks.counts, whole.counts)


def test_largest_vocabulary_needs_no_square_table():
    tokens = random_tokens(size=10_000, vocab_size=65_536, seed=2)
    model = Bigram.fit(tokens, END, vocab_size=65_536)
    assert model.counts.sum() == 10_000
    last = np.array([65_535])
    assert 0 < model.probabilities(last, last)[0] < 1


def test_xz_is_the_size_that_lzma_gives_however_the_text_is_cut():
    text = b"def f(x):\n    return x\n" * 50
    expected = 8 * len(lzma.compress(text, preset=9)) / len(text)
    assert xz_bits_per_byte([text[:5], b"", text[5:]]) == expected


def test_bits_per_byte_count_the_end_of_text_loss_but_no_bytes_for_it():
    train = np.array([1, 2, 0, 1, 3, 0], np.uint16)
    validation = np.array([1, 2, 0, 2], np.uint16)
    rows = compare_baselines(
        train, validation, vocab_size=4, token_bytes=TOKEN_BYTES, end_of_text_id=END
    )
    assert [row.name for row in rows] == ["xz -9", "token unigram", "smoothed token bigram"]
    nats = -np.log(np.array([3, 2, 3, 2]) / 10).sum()
    assert rows[1].nats_per_token == pytest.approx(nats / 4)
    assert rows[1].bits_per_byte == pytest.approx(nats / math.log(2) / 5)
    assert rows[0].nats_per_token is None
    assert rows[0].bits_per_byte == 8 * len(lzma.compress(b"abcbc", preset=9)) / 5


def test_first_validation_token_is_scored_after_end_of_text():
    train = np.array([1, 0, 1, 0, 1, 0, 2, 0, 3, 3], np.uint16)
    row = compare_baselines(
        train, np.array([1]), vocab_size=4, token_bytes=TOKEN_BYTES, end_of_text_id=END
    )[2]
    model = Bigram.fit(train, END, vocab_size=4)
    expected = -math.log(model.probabilities(np.array([END]), np.array([1]))[0])
    assert row.nats_per_token == pytest.approx(expected)


def test_bigram_beats_unigram_where_tokens_depend_on_each_other():
    tokens = np.tile(np.array([1, 2, 3], np.uint16), 200)
    rows = compare_baselines(
        tokens, tokens, vocab_size=4, token_bytes=TOKEN_BYTES, end_of_text_id=END
    )
    assert rows[2].nats_per_token < 0.05 < 1.0 < rows[1].nats_per_token


def test_tokens_beyond_the_limit_are_left_out_and_said(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(baselines, "MAX_TRAINING_TOKENS", 4)
    rows = compare_baselines(
        np.array([1, 1, 1, 1, 2]),
        np.array([1]),
        vocab_size=4,
        token_bytes=TOKEN_BYTES,
        end_of_text_id=END,
    )
    assert rows[1].name == "token unigram of the first 4 tokens"
    assert rows[1].nats_per_token == pytest.approx(-math.log(5 / 8))


def test_validation_without_text_is_refused():
    with pytest.raises(ValueError, match="2 validation tokens hold no text"):
        compare_baselines(
            np.array([1, 2]),
            np.array([0, 0]),
            vocab_size=4,
            token_bytes=TOKEN_BYTES,
            end_of_text_id=END,
        )


def test_without_lzma_the_other_comparisons_are_left(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "lzma", None)  # as a Python that was built without it
    assert "built without lzma" in baselines.why_no_xz()
    tokens = np.array([1, 2, 0, 1, 3, 0], np.uint16)
    rows = compare_baselines(
        tokens, tokens, vocab_size=4, token_bytes=TOKEN_BYTES, end_of_text_id=END
    )
    assert [row.name for row in rows] == ["token unigram", "smoothed token bigram"]
