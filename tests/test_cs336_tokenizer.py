"""The claims of CS336's tests of the tokenizer, under their names of 2026, by oracles of our own.

GPT-2's vocabulary where its files are, and one that is trained here, which needs none; ids are
tiktoken's. Not here: what else the tokenizer promises (`test_tokenizer.py`).
"""

import argparse
import tracemalloc
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
import tiktoken

from bpe import train_bpe
from tokenizer import Tokenizer

DATA = Path(__file__).resolve().parents[1] / ".." / "shared" / "data"
END = "<|endoftext|>"
GREETING = "Hello, how are you?"
UNICODE = "H\u00e9ll\u00f2 h\u00f4w are \u00fc? \U0001f643"
DOCUMENTS = f"H\u00e9ll\u00f2 h\u00f4w {END}{END} are \u00fc? \U0001f643{END}"
ADDRESS = (  # Abraham Lincoln, 1863
    "Four score and seven years ago our fathers brought forth, upon this continent, a new nation, "
    "conceived in Liberty, and dedicated to the proposition that all men are created equal.\n\n"
    "Now we are engaged in a great civil war, testing whether that nation, or any nation so "
    "conceived, and so dedicated, can long endure. We are met on a great battle-field of that war."
)
GERMAN = (
    "Die Größe des Wörterbuchs heißt „Umfang“, übrigens auch für Ärzte, Köche und Füchse.\n"
    "Straßenbahnhaltestellen, Fußgängerübergänge: zusammengesetzte Wörter bleiben lang!\n"
)
STORIES = (
    "Once upon a time there was a little boy named Ben. Ben loved to explore the world.\n"
    f'He saw many amazing things, like a beautiful vase!\n{END}\nLily said, "I can\'t."\n{END}\n'
)
MEGABYTE = 10**6


@pytest.fixture(scope="module", params=["gpt2", "trained"])
def build(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., Tokenizer]:
    """Return a tokenizer with the special tokens that are asked for."""
    if request.param == "gpt2":
        files = DATA / "gpt2_vocab.json", DATA / "gpt2_merges.txt"
        if not files[0].exists():
            pytest.skip("needs the GPT-2 files of ../shared/data")
        return lambda *specials: Tokenizer.from_files(*files, list(specials))
    corpus = tmp_path_factory.mktemp("corpus") / "corpus.txt"
    corpus.write_text(Path(argparse.__file__).read_text("utf-8")[:60_000] + GERMAN, "utf-8")
    vocab, merges = train_bpe(corpus, 600, num_workers=1)
    return lambda *specials: Tokenizer(vocab, merges, list(specials))


@pytest.fixture(scope="module")
def stories() -> str:
    path = DATA / "tinystories_head.txt"
    return path.read_text("utf-8") if path.exists() else STORIES * 20


def _assert_round_trip(tokenizer: Tokenizer, text: str) -> None:
    assert tokenizer.decode(tokenizer.encode(text)) == text


def _assert_matches_tiktoken(
    tokenizer: Tokenizer, text: str, *, encode: Callable[[str], Iterable[int]] | None = None
) -> None:
    specials = dict(tokenizer.special_tokens)
    ranks = {token: i for i, token in tokenizer.vocabulary.tokens.items()}
    oracle = tiktoken.Encoding(
        "oracle",
        pat_str=tokenizer.vocabulary.pattern,
        mergeable_ranks={t: i for t, i in ranks.items() if i not in specials.values()},
        special_tokens=specials,
    )
    expected = oracle.encode(text, allowed_special="all", disallowed_special=())
    assert list((encode or tokenizer.encode)(text)) == expected
    assert tokenizer.decode(expected) == oracle.decode(expected) == text


def test_roundtrip_empty(build: Callable[..., Tokenizer]) -> None:
    _assert_round_trip(build(), "")


def test_empty_matches_tiktoken(build: Callable[..., Tokenizer]) -> None:
    _assert_matches_tiktoken(build(), "")
    assert build().encode("") == []


def test_roundtrip_single_character(build: Callable[..., Tokenizer]) -> None:
    _assert_round_trip(build(), "s")


def test_single_character_matches_tiktoken(build: Callable[..., Tokenizer]) -> None:
    _assert_matches_tiktoken(build(), "s")
    assert len(build().encode("s")) == 1


def test_roundtrip_single_unicode_character(build: Callable[..., Tokenizer]) -> None:
    _assert_round_trip(build(), "\U0001f643")


def test_single_unicode_character_matches_tiktoken(build: Callable[..., Tokenizer]) -> None:
    _assert_matches_tiktoken(build(), "\U0001f643")


def test_roundtrip_ascii_string(build: Callable[..., Tokenizer]) -> None:
    _assert_round_trip(build(), GREETING)


def test_ascii_string_matches_tiktoken(build: Callable[..., Tokenizer]) -> None:
    tokenizer = build(END)
    _assert_matches_tiktoken(tokenizer, GREETING)
    if tokenizer.vocab_size > 50_000:
        pieces = [tokenizer.decode([token]) for token in tokenizer.encode(GREETING)]
        assert pieces == ["Hello", ",", " how", " are", " you", "?"]


def test_roundtrip_unicode_string(build: Callable[..., Tokenizer]) -> None:
    _assert_round_trip(build(), UNICODE)


def test_unicode_string_matches_tiktoken(build: Callable[..., Tokenizer]) -> None:
    _assert_matches_tiktoken(build(END), UNICODE)


def test_roundtrip_unicode_string_with_special_tokens(build: Callable[..., Tokenizer]) -> None:
    tokenizer = build(END)
    _assert_round_trip(tokenizer, DOCUMENTS)
    pieces = [tokenizer.decode([token]) for token in tokenizer.encode(DOCUMENTS)]
    assert pieces.count(END) == 3


def test_unicode_string_with_special_tokens_matches_tiktoken(
    build: Callable[..., Tokenizer],
) -> None:
    _assert_matches_tiktoken(build(END), DOCUMENTS)


def test_overlapping_special_tokens(build: Callable[..., Tokenizer]) -> None:
    tokenizer, text = build(END, END + END), f"Hello, how {END}{END} are you?{END}"
    _assert_round_trip(tokenizer, text)
    pieces = [tokenizer.decode([token]) for token in tokenizer.encode(text)]
    assert (pieces.count(END), pieces.count(END + END)) == (1, 1)


def test_address_roundtrip(build: Callable[..., Tokenizer]) -> None:
    _assert_round_trip(build(), ADDRESS)


def test_address_matches_tiktoken(build: Callable[..., Tokenizer]) -> None:
    _assert_matches_tiktoken(build(), ADDRESS)


def test_german_roundtrip(build: Callable[..., Tokenizer]) -> None:
    _assert_round_trip(build(), GERMAN)


def test_german_matches_tiktoken(build: Callable[..., Tokenizer]) -> None:
    _assert_matches_tiktoken(build(), GERMAN)


def test_tinystories_sample_roundtrip(build: Callable[..., Tokenizer], stories: str) -> None:
    _assert_round_trip(build(), stories)


def test_tinystories_matches_tiktoken(build: Callable[..., Tokenizer], stories: str) -> None:
    _assert_matches_tiktoken(build(END), stories)


@pytest.mark.parametrize("text", [f"{END}\n\n", f"one {END}\n\n\n", f"{END}\n\n{END}\n"])
def test_encode_special_token_trailing_newlines(build: Callable[..., Tokenizer], text: str) -> None:
    _assert_matches_tiktoken(build(END), text)


@pytest.mark.parametrize("text", [f"{END}\n\ntesting!", f"{END} \n\n{END}\n\n!x"])
def test_encode_special_token_double_newline_non_whitespace(
    build: Callable[..., Tokenizer], text: str
) -> None:
    _assert_matches_tiktoken(build(END), text)


def _by_lines(tokenizer: Tokenizer) -> Callable[[str], Iterable[int]]:
    return lambda text: tokenizer.encode_iterable(text.splitlines(keepends=True))


def test_encode_iterable_tinystories_sample_roundtrip(
    build: Callable[..., Tokenizer], stories: str
) -> None:
    tokenizer = build()
    assert tokenizer.decode(list(_by_lines(tokenizer)(stories))) == stories


def test_encode_iterable_tinystories_matches_tiktoken(
    build: Callable[..., Tokenizer], stories: str
) -> None:
    tokenizer = build(END)
    _assert_matches_tiktoken(tokenizer, stories, encode=_by_lines(tokenizer))


def _peak_bytes(consume: Callable[[], int]) -> tuple[int, int]:
    """Return what is counted, and the most memory at once while it is."""
    tracemalloc.start()
    try:
        return consume(), tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_encode_iterable_memory_usage(build: Callable[..., Tokenizer]) -> None:
    tokenizer, copies = build(END), 2 * MEGABYTE // len(STORIES)
    tokenizer.warm_up()  # tables are no part of what a stream takes
    in_one = sum(1 for _ in tokenizer.encode_iterable([STORIES]))  # nor is what is made once
    lines = (line for _ in range(copies) for line in STORIES.splitlines(keepends=True))
    num_ids, peak = _peak_bytes(lambda: sum(1 for _ in tokenizer.encode_iterable(lines)))
    assert num_ids == copies * in_one
    assert peak < MEGABYTE


def test_encode_memory_usage(build: Callable[..., Tokenizer]) -> None:
    """What the course expects to fail: `encode` holds all ids at once, and needs more than that."""
    tokenizer, text = build(END), STORIES * (MEGABYTE // len(STORIES))
    num_ids, peak = _peak_bytes(lambda: len(tokenizer.encode(text)))
    assert peak > max(MEGABYTE, 8 * num_ids)
