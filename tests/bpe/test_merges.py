"""Merging: two fast implementations against the slow one, under every rule for ties."""

import json
import subprocess
import sys
import time
from itertools import chain
from pathlib import Path

import numpy as np
import pytest
import tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st

import bpe
from bpe._kernels.merging import learning as merging
from bpe._kernels.merging.learning import merge_compiled
from bpe.byte_spelling import unspell
from bpe.counts import PretokenCounts
from bpe.merges import merge_plainly
from bpe.packed_counts import Packed
from bpe.reference import merge_reference, train_reference

RULES = list(bpe.TIE_BREAKING)
WORDS = st.one_of(
    st.binary(min_size=1, max_size=12),
    st.text("ab", min_size=1, max_size=16).map(str.encode),  # overlaps, ties
    st.text("a", min_size=1, max_size=40).map(str.encode),
    st.text("\x00\x01", min_size=1, max_size=24).map(str.encode),
    st.text(min_size=1, max_size=6).map(lambda text: text.encode("utf-8", "replace")),
)
# Light ones make ties; weights of more than 31 bits are kept elsewhere; 2^33 exceeds 32 bits.
WEIGHTS = st.integers(1, 5) | st.sampled_from([2**31 - 1, 2**31, 2**33]) | st.integers(1, 2**40)
CORPORA = st.dictionaries(WORDS, WEIGHTS, max_size=12)


def ignore(done: int, total: int) -> None:
    assert 0 <= done <= total


def packed(counts: dict[bytes, int]) -> Packed:
    return PretokenCounts(counts).packed


def compiled(counts: dict[bytes, int], num_merges: int, **options: object) -> list[bpe.merges.Pair]:
    return merge_compiled(packed(counts), num_merges, progress=ignore, **options)


@pytest.mark.parametrize("tie_breaking", RULES)
@settings(deadline=None, max_examples=400)
@given(CORPORA, st.integers(0, 60), st.sampled_from([None, 1, 2, 7, 2**32]))
def test_all_implementations_agree(
    tie_breaking: str, counts: dict[bytes, int], num_merges: int, threshold: int | None
) -> None:
    expected = merge_reference(counts, num_merges, tie_breaking=tie_breaking)
    options = {"tie_breaking": tie_breaking}
    assert merge_plainly(counts, num_merges, progress=ignore, **options) == expected
    assert compiled(counts, num_merges, threshold=threshold, **options) == expected


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        (b"aaab", [(b"a", b"a"), (b"aa", b"a"), (b"aaa", b"b")]),
        (b"aaaaa", [(b"a", b"a"), (b"aa", b"aa"), (b"aaaa", b"a")]),
        (b"ababab", [(b"a", b"b"), (b"ab", b"ab"), (b"abab", b"ab")]),
        (b"\xff\xff\x00", [(b"\xff", b"\xff"), (b"\xff\xff", b"\x00")]),
        (b"a", []),
    ],
)
def test_overlaps_merge_from_the_left(word: bytes, expected: list[bpe.merges.Pair]) -> None:
    counts = {word: 3}
    assert merge_reference(counts, 9) == expected
    assert merge_plainly(counts, 9, progress=ignore) == expected
    assert compiled(counts, 9) == expected


@pytest.mark.parametrize(
    ("tie_breaking", "first"),
    [
        ("cs336", (b"b", b"b")),
        ("smallest-bytes", (b"a", b" ")),  # a space is less than a letter
        ("huggingface", (b"a", b"b")),  # which spells the space U+0120, more than a letter
    ],
)
def test_ties_go_by_the_rule_that_is_named(tie_breaking: str, first: bpe.merges.Pair) -> None:
    counts = {b"ab": 1, b"bb": 1, b"a ": 1}
    assert compiled(counts, 1, tie_breaking=tie_breaking) == [first]
    assert bpe.learn_merges(PretokenCounts(counts), 1, tie_breaking=tie_breaking) == [first]


@pytest.mark.parametrize("tie_breaking", RULES)
def test_ties_of_long_tokens_look_beyond_their_first_eight_bytes(tie_breaking: str) -> None:
    words = [b"indentation" * 2 + end for end in (b"a", b"b", b"ab", b"ba", b"\x00", b"")]
    counts = dict.fromkeys(words, 3)
    expected = merge_reference(counts, 60, tie_breaking=tie_breaking)
    assert compiled(counts, 60, tie_breaking=tie_breaking) == expected


def test_unknown_rule_is_refused_by_name() -> None:
    message = "tie_breaking is 'first'; name one of cs336, smallest-bytes, huggingface"
    with pytest.raises(ValueError, match=message):
        bpe.learn_merges(PretokenCounts({b"ab": 1}), 1, tie_breaking="first")


def words_of_many_kinds() -> dict[bytes, int]:
    return {f" {i * i % 10007:x}{i % 97:o}".encode(): 1 + i % 7 for i in range(20_000)}


@pytest.mark.parametrize("threshold", [None, 1, 10**6])
def test_large_work_gives_the_same(threshold: int | None) -> None:
    words = words_of_many_kinds()
    expected = merge_plainly(words, 400, progress=ignore)
    assert compiled(words, 400, threshold=threshold) == expected
    assert len(expected) == 400


def test_table_of_pairs_grows(monkeypatch: pytest.MonkeyPatch) -> None:
    words = words_of_many_kinds()
    expected = compiled(words, 1000, threshold=1)
    monkeypatch.setattr(merging, "FIRST_CAPACITY", 8)
    assert compiled(words, 1000, threshold=1) == expected


def test_order_of_pretokens_does_not_matter() -> None:
    counts = {b"low": 5, b"lower": 2, b"widest": 3, b"newest": 6}
    reversed_counts = dict(reversed(counts.items()))
    assert compiled(counts, 9) == compiled(reversed_counts, 9)
    assert merge_plainly(counts, 9, progress=ignore) == compiled(counts, 9)


def seconds_to_merge(word: bytes) -> float:
    content = np.frombuffer(word, np.uint8)
    one = np.ones(1, np.int64)
    started = time.perf_counter()
    merges = merge_compiled(Packed(content, one * len(word), one), 200, progress=ignore)
    assert merges
    return time.perf_counter() - started


@pytest.mark.parametrize("unit", [b"a", b"ab", b"\xf0\x9f\x98\x80", b"abcabcabd"])
def test_one_huge_pretoken_takes_time_that_grows_with_its_length(unit: bytes) -> None:
    seconds_to_merge(unit * 10)
    short, long = (
        min(seconds_to_merge(unit * (size // len(unit))) for _ in range(3))
        for size in (1 << 18, 1 << 21)
    )
    assert long < 8 * short * 2.5, (short, long)  # quadratic would be 64


def test_huge_pretoken_merges_as_a_small_one_does() -> None:
    merges = compiled({b"a" * ((1 << 20) + 1): 1}, 100)
    assert [len(left) for left, _ in merges] == [1 << power for power in range(21)]
    assert [len(right) for _, right in merges] == [*(1 << power for power in range(20)), 1]


def test_progress_ends_at_the_last_merge() -> None:
    seen: list[tuple[int, int]] = []
    bpe.learn_merges(PretokenCounts({b"low": 2}), 2, progress=lambda *amounts: seen.append(amounts))
    assert seen == [(0, 2), (1, 2), (2, 2)]


@pytest.mark.parametrize(
    "learn", [merge_plainly, lambda c, n, **o: merge_compiled(packed(c), n, **o)]
)
def test_progress_of_either_implementation_ascends_to_the_end(learn: object) -> None:
    seen: list[tuple[int, int]] = []
    learn(words_of_many_kinds(), 300, progress=lambda *amounts: seen.append(amounts))
    assert seen[0] == (0, 300) and seen[-1] == (300, 300)
    assert seen == sorted(seen) and len(seen) > 2


def test_interrupt_ends_compiled_merging() -> None:
    def interrupt(done: int, total: int) -> None:
        if done:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        merge_compiled(packed(words_of_many_kinds()), 300, progress=interrupt)


def test_progress_ends_where_nothing_is_left_to_merge() -> None:
    seen: list[tuple[int, int]] = []
    counts = PretokenCounts({b"low low low": 2})
    merges = bpe.learn_merges(counts, 10**12, progress=lambda *amounts: seen.append(amounts))
    assert seen[0] == (0, 11) and seen[-1] == (len(merges), len(merges))


def test_counts_that_64_bits_cannot_hold_are_refused() -> None:
    with pytest.raises(ValueError, match="pair counts end at"):
        bpe.learn_merges(PretokenCounts({b"ab": 2**62}), 1)
    assert bpe.learn_merges(PretokenCounts({b"ab": 2**61}), 1) == [(b"a", b"b")]
    assert compiled({b"ab": 2**61, b"xab": 2**61}, 2) == [(b"a", b"b"), (b"x", b"ab")]


def test_negative_number_of_merges_is_refused() -> None:
    with pytest.raises(ValueError, match="num_merges is -1"):
        bpe.learn_merges(PretokenCounts({b"ab": 1}), -1)


@pytest.mark.parametrize("tie_breaking", RULES)
@settings(deadline=None)
@given(
    text=st.text(st.sampled_from("ab '\n\u00e9\u6e2c<|>1"), max_size=60),
    num_merges=st.integers(0, 30),
)
def test_training_equals_the_reference(text: str, num_merges: int, tie_breaking: str) -> None:
    special_tokens = ["<|>", "<|><|>", "a<"]
    counts = bpe.count_documents([text], special_tokens)
    vocabulary = bpe.vocabulary_from_counts(counts, 259 + num_merges, tie_breaking=tie_breaking)
    expected = train_reference(text, 259 + num_merges, special_tokens, tie_breaking=tie_breaking)
    assert (vocabulary.tokens, vocabulary.merges) == expected


def python_sources(num_bytes: int) -> str:
    """Some of the standard library's own source: real text on every machine."""
    texts = (
        path.read_text("utf-8") for path in sorted(Path(subprocess.__file__).parent.glob("*.py"))
    )
    text = "".join(chain.from_iterable(texts))
    return text[:num_bytes]


def test_huggingface_rule_gives_the_merges_of_hf_tokenizers() -> None:
    text, size = python_sources(2_000_000), 6000
    oracle = tokenizers.Tokenizer(tokenizers.models.BPE())
    oracle.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=size,
        show_progress=False,
        initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet(),
    )
    oracle.train_from_iterator([text], trainer)
    model = json.loads(oracle.to_str())["model"]
    expected = [tuple(map(unspell, pair)) for pair in model["merges"]]
    counts = bpe.count_documents([text])
    merges = bpe.learn_merges(counts, size - 256, tie_breaking="huggingface")
    assert merges == expected
    assert bpe.learn_merges(counts, size - 256) != expected  # the rule matters


def test_small_work_and_import_never_load_numba() -> None:
    program = (
        "import sys, bpe; bpe.learn_merges(bpe.count_documents(['low lower']), 3); "
        "sys.exit('numba' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
