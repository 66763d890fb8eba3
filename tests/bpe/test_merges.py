"""Merging: two fast implementations against the slow one."""

import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import bpe
from bpe._kernels import merging
from bpe._kernels.merging import merge_compiled
from bpe.merges import merge_plainly
from bpe.reference import merge_reference, train_reference

WORDS = st.one_of(
    st.binary(min_size=1, max_size=12),
    st.text("ab", min_size=1, max_size=16).map(str.encode),  # overlaps, ties
    st.text("a", min_size=1, max_size=20).map(str.encode),
    st.text(min_size=1, max_size=6).map(lambda text: text.encode("utf-8", "replace")),
)
CORPORA = st.dictionaries(WORDS, st.integers(1, 5) | st.integers(1, 2**40), max_size=12)


def ignore(done: int, total: int) -> None:
    assert 0 <= done <= total


@settings(deadline=None, max_examples=300)
@given(CORPORA, st.integers(0, 60))
def test_all_implementations_agree(counts: dict[bytes, int], num_merges: int) -> None:
    expected = merge_reference(counts, num_merges)
    assert merge_plainly(counts, num_merges, progress=ignore) == expected
    assert merge_compiled(counts, num_merges, progress=ignore) == expected


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
    assert merge_compiled(counts, 9, progress=ignore) == expected


def test_large_work_is_compiled_and_gives_the_same() -> None:
    words = {f" {i * i % 10007:x}{i % 97:o}".encode(): 1 + i % 7 for i in range(20_000)}
    assert sum(map(len, words)) > bpe.merges._SMALL_BYTES // 2
    compiled = merge_compiled(words, 400, progress=ignore)
    assert compiled == merge_plainly(words, 400, progress=ignore)
    assert len(compiled) == 400


def test_tables_grow_beyond_their_first_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(merging, "FIRST_ROWS", 1 << 16)
    words = {(i * 2654435761 % 2**64).to_bytes(8, "little"): 1 for i in range(1, 20_000)}
    state = merging._State(words, 1000)
    num_byte_pairs = state.num_rows
    assert merge_compiled(words, 1000, progress=ignore) == merge_plainly(
        words, 1000, progress=ignore
    )
    for _ in range(1000):
        state.merge(state.pop(), b"?")
    assert num_byte_pairs < 1 << 16 < state.num_rows


def test_order_of_pretokens_does_not_matter() -> None:
    counts = {b"low": 5, b"lower": 2, b"widest": 3, b"newest": 6}
    reversed_counts = dict(reversed(counts.items()))
    for learn in (merge_plainly, merge_compiled):
        assert learn(counts, 9, progress=ignore) == learn(reversed_counts, 9, progress=ignore)


def test_progress_ends_at_the_last_merge() -> None:
    seen: list[tuple[int, int]] = []
    bpe.learn_merges(
        bpe.PretokenCounts({b"low": 2}), 2, progress=lambda *amounts: seen.append(amounts)
    )
    assert seen == [(0, 2), (1, 2), (2, 2)]


def test_progress_ends_with_what_was_done_where_nothing_is_left_to_merge() -> None:
    seen: list[tuple[int, int]] = []
    counts = bpe.PretokenCounts({b"low": 2})
    bpe.learn_merges(counts, 9, progress=lambda *amounts: seen.append(amounts))
    assert seen[-1] == (2, 2)


def test_more_merges_than_memory_holds_may_be_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bpe.merges, "_SMALL_BYTES", 0)
    assert bpe.learn_merges(bpe.PretokenCounts({b"ab": 1}), 10**18) == [(b"a", b"b")]


def test_counts_that_64_bits_cannot_hold_are_refused() -> None:
    with pytest.raises(ValueError, match="pair counts end at"):
        bpe.learn_merges(bpe.PretokenCounts({b"ab": 2**62}), 1)
    assert bpe.learn_merges(bpe.PretokenCounts({b"ab": 2**61}), 1) == [(b"a", b"b")]


def test_negative_number_of_merges_is_refused() -> None:
    with pytest.raises(ValueError, match="num_merges is -1"):
        bpe.learn_merges(bpe.PretokenCounts({b"ab": 1}), -1)


@settings(deadline=None)
@given(st.text(st.sampled_from("ab '\n\u00e9\u6e2c<|>1"), max_size=60), st.integers(0, 30))
def test_training_equals_the_reference(text: str, num_merges: int) -> None:
    special_tokens = ["<|>", "<|><|>", "a<"]
    counts = bpe.count_documents([text], special_tokens)
    vocabulary = bpe.vocabulary_from_counts(counts, 259 + num_merges, special_tokens)
    expected = train_reference(text, 259 + num_merges, special_tokens)
    assert (vocabulary.tokens, vocabulary.merges) == expected


def test_small_work_and_import_never_load_numba() -> None:
    program = (
        "import sys, bpe; bpe.learn_merges(bpe.count_documents(['low lower']), 3); "
        "sys.exit('numba' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
