"""The two merge loops equal the reference, on learnt merges and on senseless ones."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tokenizer import reference
from tokenizer.merge import MergeTable

BYTES = {i: bytes([i]) for i in range(256)}


@st.composite
def vocabularies(draw: st.DrawFn) -> tuple[dict[int, bytes], list[tuple[bytes, bytes]]]:
    """Merges over two letters in any order, also one that no training could give."""
    tokens = [b"a", b"b"]
    merges: list[tuple[bytes, bytes]] = []
    for _ in range(draw(st.integers(0, 8))):
        pair = draw(st.sampled_from(tokens)), draw(st.sampled_from(tokens))
        if pair not in merges:
            merges.append(pair)
            tokens += [pair[0] + pair[1]] if pair[0] + pair[1] not in tokens else []
    ids = draw(st.permutations(range(len(tokens))))
    return dict(zip(ids, tokens, strict=True)), draw(st.permutations(merges))


@settings(max_examples=400, deadline=None)
@given(vocabulary=vocabularies(), text=st.text("ab", max_size=40))
def test_both_loops_equal_the_reference(
    vocabulary: tuple[dict[int, bytes], list[tuple[bytes, bytes]]], text: str
) -> None:
    vocab, merges = vocabulary
    table = MergeTable(vocab, merges)
    data = text.encode()
    tokens = reference.merge([bytes([byte]) for byte in data], merges)
    ids = {token: token_id for token_id, token in vocab.items()}
    expected = [ids[token] for token in tokens]
    assert table._merge_short(table.byte_ids(data)) == expected
    assert table._merge_long(table.byte_ids(data)) == expected


@pytest.mark.parametrize("length", [0, 1, 2, 190, 191, 192, 193, 5000])
def test_the_switch_between_the_loops_does_not_show(length: int) -> None:
    vocab = BYTES | {256: b"aa", 257: b"aaaa", 258: b"aaaaaa"}
    table = MergeTable(vocab, [(b"a", b"a"), (b"aa", b"aa"), (b"aaaa", b"aa")])
    fours, rest = divmod(length, 4)
    tail = {0: [], 1: [97], 2: [256], 3: [256, 97]}[rest]
    if fours and rest >= 2:
        fours, tail = fours - 1, [258, *tail[1:]]
    assert table.encode(b"a" * length) == [257] * fours + tail


def test_merges_go_by_rank_and_not_by_id() -> None:
    vocab = {0: b"a", 1: b"b", 2: b"c", 3: b"bc", 4: b"ab"}
    assert MergeTable(vocab, [(b"a", b"b"), (b"b", b"c")]).encode(b"abc") == [4, 2]
    assert MergeTable(vocab, [(b"b", b"c"), (b"a", b"b")]).encode(b"abc") == [0, 3]


def test_a_repeated_merge_is_refused() -> None:
    with pytest.raises(ValueError, match=r"merge 1 .* repeats merge 0"):
        MergeTable(BYTES | {256: b"ab"}, [(b"a", b"b"), (b"a", b"b")])


def test_a_merge_of_unknown_tokens_is_refused() -> None:
    with pytest.raises(ValueError, match=r"merge 0 .* needs the token b'ab'"):
        MergeTable(BYTES, [(b"a", b"b")])
