"""Text cut anywhere gives the pretokens of the whole, as early as is safe."""

import io
import tracemalloc
from collections.abc import Iterable
from itertools import pairwise

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from bpe import PATTERNS, Pretokenizer
from tokenizer import Tokenizer
from tokenizer.special_tokens import SpecialTokens
from tokenizer.stream import TextStream, read_text_blocks

SPECIALS = SpecialTokens({"<s>": 0, "<s><t>": 1, "><u>": 2, "abcd": 3, "bc": 4})
# One character of each kind that a pattern distinguishes, and of each part of a special token.
ALPHABET = "aBrels'1 \n\r\t/!<>tu\u01c5\u02b0\u0301\u00a0\u6d4b\u0663\u017fcd"
BYTES = {i: bytes([i]) for i in range(256)}


def cut_whole(text: str, pattern: str) -> list[str]:
    pretokens = []
    for stretch, special in SPECIALS.cut(text):
        pretokens += Pretokenizer(pattern).split(stretch)
        pretokens += [special] if special else []
    return pretokens


def cut_in_pieces(pieces: Iterable[str], pattern: str) -> list[str]:
    """Cut what is there after each piece, however little, as if the block were full."""
    stream = TextStream(SPECIALS, Pretokenizer(pattern))
    stretches: list[str] = []
    for piece in pieces:
        stretches += [*stream.push(piece), *stream._cut(is_end=False)]
    stretches += stream.finish()
    assert all(stretches)
    return [pretoken for stretch in stretches for pretoken in cut_whole(stretch, pattern)]


@pytest.mark.parametrize("pattern", [*PATTERNS, r"a+(?=b)|[^a]+|a", r"\w+"])
@settings(max_examples=400, deadline=None)
@given(text=st.text(ALPHABET, max_size=60), data=st.data())
@example(text="'r" + "e" * 20, data=None)
@example(text="x" + " " * 30 + "y", data=None)
@example(text="\n" + " " * 30 + "\n", data=None)
@example(text="\u02b0" + "B" * 30 + "b" * 30, data=None)
@example(text="!" * 20 + "\n" * 20 + "/" * 20, data=None)
@example(text="<s><s><t><s><u>abcabcd" * 3, data=None)
def test_any_pieces_give_the_pretokens_of_the_whole(
    pattern: str, text: str, data: st.DataObject | None
) -> None:
    pieces: list[str] = list(text)
    if data is not None:
        cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=10)))
        pieces = [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    assert cut_in_pieces(pieces, pattern) == cut_whole(text, pattern)


@pytest.mark.parametrize("pattern", list(PATTERNS))
@settings(max_examples=100, deadline=None)
@given(
    runs=st.lists(st.tuples(st.sampled_from(ALPHABET), st.integers(1, 25)), max_size=8),
)
def test_long_runs_in_single_characters_give_the_pretokens_of_the_whole(
    pattern: str, runs: list[tuple[str, int]]
) -> None:
    text = "".join(character * count for character, count in runs)
    assert cut_in_pieces(text, pattern) == cut_whole(text, pattern)


@settings(deadline=None, max_examples=200)
@given(words=st.lists(st.text(ALPHABET.replace("!", ""), min_size=1, max_size=5), min_size=30))
def test_text_without_any_place_to_cut_at_is_cut_behind_pretokens(words: list[str]) -> None:
    text = "".join(words).replace(" ", "\u00a0")
    for pattern in PATTERNS:
        assert cut_in_pieces(text, pattern) == cut_whole(text, pattern)


@pytest.mark.parametrize("pattern", list(PATTERNS))
def test_little_is_held_back(pattern: str) -> None:
    stream = TextStream(SPECIALS, Pretokenizer(pattern))
    for _ in stream.push("some words " * 10_000):
        pass
    assert len(stream._held) < 100


def test_a_custom_pattern_holds_text_until_a_special_token() -> None:
    stream = TextStream(SPECIALS, Pretokenizer(r"\w+|\W+"))
    assert not list(stream.push("word " * 20_000))
    stretches = list(stream.push("<s>" + "x" * 200_000))
    assert "".join(stretches) == "word " * 20_000 + "<s>"


def test_one_giant_pretoken_in_small_pieces_takes_linear_time() -> None:
    tokenizer = Tokenizer(BYTES, [])
    pretokenizer = tokenizer._plain.pretokenizer
    split = pretokenizer.split
    lengths = []
    pretokenizer.split = lambda text: lengths.append(len(text)) or split(text)
    assert sum(1 for _ in tokenizer.encode_iterable("a" * 1000 for _ in range(1000))) == 1_000_000
    assert sum(lengths) < 5_000_000  # characters looked at


def test_one_huge_piece_is_cut_in_blocks() -> None:
    tokenizer = Tokenizer(BYTES, [])
    text = "some words " * 200_000
    list(tokenizer.encode_iterable([text]))  # kernels that are cached are loaded here, once
    tracemalloc.start()
    try:
        assert sum(1 for _ in tokenizer.encode_iterable([text])) == len(text)
        assert tracemalloc.get_traced_memory()[1] < 4_000_000  # bytes; a list of ids takes 17.6 MB
    finally:
        tracemalloc.stop()


def test_encoder_can_be_used_again_after_finish() -> None:
    encoder = Tokenizer(BYTES, []).encoder()
    for text in ("ab", "cd"):
        assert [*encoder.push(text), *encoder.finish()] == list(text.encode())


def test_surrogate_index_counts_from_the_start_of_the_text() -> None:
    encoder = Tokenizer(BYTES, []).encoder()
    list(encoder.push("abc"))
    list(encoder.finish())
    list(encoder.push("\u00e9"))
    with pytest.raises(ValueError, match="at index 2"):
        list(encoder.push("x\ud800"))


def test_decoder_names_the_position_of_an_unknown_id() -> None:
    decoder = Tokenizer(BYTES, []).decoder()
    decoder.push_many([65, 66])
    with pytest.raises(ValueError, match="id 256 at position 3"):
        decoder.push_many([67, 256])


@settings(deadline=None)
@given(data=st.binary(max_size=30), cuts=st.lists(st.integers(0, 30), max_size=5))
def test_push_many_joined_equals_decode(data: bytes, cuts: list[int]) -> None:
    tokenizer = Tokenizer(BYTES, [])
    decoder = tokenizer.decoder()
    borders = [0, *sorted(cuts), 30]
    parts = [data[a:b] for a, b in pairwise(borders)]
    text = "".join(decoder.push_many(list(part)) for part in parts) + decoder.finish()
    assert text == tokenizer.decode(data)


@pytest.mark.parametrize("block_bytes", [1, 2, 3, 7, 1000])
def test_blocks_of_a_file_are_its_text(block_bytes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tokenizer.stream._BLOCK_BYTES", block_bytes)
    text = "a\r\n\u00e9\n\u6d4b\0\U0001f600\ufeff\r"
    blocks = list(read_text_blocks(io.BytesIO(text.encode()), name="x"))
    assert "".join(block for block, _ in blocks) == text
    assert sum(count for _, count in blocks) == len(text.encode())


@pytest.mark.parametrize("block_bytes", [1, 2, 3, 1000])
@pytest.mark.parametrize(("data", "place"), [(b"abc\xffd", 3), (b"ab\xe6\xb5", 2), (b"\xe6ab", 0)])
def test_malformed_utf8_is_refused_by_byte(
    block_bytes: int, data: bytes, place: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tokenizer.stream._BLOCK_BYTES", block_bytes)
    with pytest.raises(ValueError, match=rf"corpus: byte {place} \(0x{data[place]:02x}\)"):
        list(read_text_blocks(io.BytesIO(data), name="corpus"))
