"""Cutters: special tokens apart, the same in batches of any size, any pattern, any length."""

import itertools
import mmap
import random

import numpy as np
import pytest
import regex

import bpe
from bpe._kernels.cutting.cutter import Cutter, Cutting
from bpe._kernels.cutting.regex_cutter import RegexCutter, cutter_for
from bpe._kernels.memory import address_of

NAMES = list(bpe.PATTERNS)
SPECIALS = [
    ["<|endoftext|>"],
    ["<|a|>", "<|a|><|a|>", "<|a|>b", "|>b", "<|"],
    ["ab", "aba", "bab", "  ", "\n\n", "'s", "\xe9\u3000", "\U0001f600\U0001f600"],
    [f"<|reserved_{number}|>" for number in range(250)],
    [f"{first}{second}" for first in "abcdefgh" for second in "0123456789"],
]


def ends_of(cutter: Cutting, content: bytes, padding: int = 64) -> list[int]:
    buffer = np.frombuffer(content + b"<|endoftext|>" * (padding // 13 + 1), np.uint8)
    return ends_in(cutter, buffer, len(content), len(content) + padding)


def ends_in(cutter: Cutting, buffer: np.ndarray, num_bytes: int, readable_bytes: int) -> list[int]:
    cutter.open(address_of(buffer), num_bytes, readable_bytes)
    ends = []
    while count := cutter.cut():
        base = cutter.origin - address_of(buffer)
        ends += [base + end for end in cutter.ends[:count].tolist()]
    return ends


def true_ends(pattern: str, special_tokens: list[str], text: str) -> list[int]:
    longest_first = sorted(special_tokens, key=len, reverse=True)
    cut_at = regex.compile("(" + "|".join(map(regex.escape, longest_first)) + ")")
    parts = cut_at.split(text) if special_tokens else [text]
    pretokenizer = bpe.Pretokenizer(pattern)
    tokens = []
    for ordinary, special in itertools.zip_longest(parts[::2], parts[1::2]):
        tokens += pretokenizer.split(ordinary) + [special] * (special is not None)
    return list(itertools.accumulate(len(token.encode()) for token in tokens))


def encoded(special_tokens: list[str]) -> list[bytes]:
    return [special.encode() for special in special_tokens]


@pytest.mark.parametrize("pattern", [*NAMES, r"\p{L}+|\s", "a|[^a]+"])
def test_special_tokens_are_cut_out_leftmost_then_longest(pattern: str) -> None:
    rng = random.Random(f"specials {pattern}")
    for special_tokens in SPECIALS:
        cutters = [
            cutter_for(pattern, encoded(special_tokens), capacity=size) for size in (1, 5, 8192)
        ]
        fragments = [*special_tokens, *"".join(special_tokens), *" \n'sab<|>\xe9\u3000\U0001f600"]
        for _ in range(60):
            text = "".join(rng.choices(fragments, k=rng.randrange(60)))
            for cutter in cutters:
                ends = ends_of(cutter, text.encode(), rng.choice([0, 64]))
                assert ends == true_ends(pattern, special_tokens, text), text


@pytest.mark.parametrize("pattern", NAMES)
def test_special_tokens_far_apart_are_found_wherever_they_are(pattern: str) -> None:
    words = ["word", " word", "\n\n", "  ", "(", " x", "'s", " \xe9t\xe9", "\u4f60\u597d", "1234"]
    rng = random.Random(f"far {pattern}")
    cutter = Cutter(pattern, [b"<|endoftext|>", b" <|x|>"])
    for _ in range(12):
        text = ""
        for size in rng.choices([0, 20, 3000, 30_000, 100_000], k=3):
            body = "".join(rng.choices(words, k=size // 4))
            # Without a border, or with a single one far ahead, the search continues.
            text += rng.choice([body, body.replace(" ", "_"), " " * size, "x " + "x" * size])
            text += rng.choice(["<|endoftext|>", " <|x|>", "<|end", ""])
        expected = true_ends(pattern, ["<|endoftext|>", " <|x|>"], text)
        assert ends_of(cutter, text.encode()) == expected


@pytest.mark.parametrize("pattern", NAMES)
def test_the_windows_of_the_search_leave_no_trace(pattern: str) -> None:
    rng = random.Random(f"windows {pattern}")
    borders = ["a ", "! ", "1 ", "'s ", "a  ", "a \n", "! \xa0", "' s", "a '", "A b"]
    text = "".join(rng.choices(borders, k=90_000))
    plain, searching = Cutter(pattern), Cutter(pattern, [b"<|endoftext|>"])
    assert ends_of(searching, text.encode()) == ends_of(plain, text.encode())


def test_text_that_only_begins_a_special_token_is_ordinary() -> None:
    cutter = Cutter("gpt2", [b"<|endoftext|>"])
    assert ends_of(cutter, b"a<|endoftext|", 64) == [1, 3, 12, 13]
    assert ends_of(cutter, b"", 64) == []
    assert ends_of(cutter, b"<|endoftext|>" * 2) == [13, 26]


def test_bytes_that_are_no_text_may_stand_around_special_tokens() -> None:
    rng = random.Random(3)
    for pattern in ["gpt2", "cl100k", "o200k", "a|[^a]+"]:
        cutters = [cutter_for(pattern, [b"<|x|>"], capacity=size) for size in (2, 8192)]
        for _ in range(300):
            content = b"<|x|>".join(rng.randbytes(rng.randrange(80)) for _ in range(4))
            first, second = (ends_of(cutter, content) for cutter in cutters)
            assert first == second == sorted(set(first))
            assert first[-1] == len(content)


def test_one_cutter_cuts_one_buffer_after_the_other() -> None:
    cutter = Cutter("gpt2", [b"<|x|>"], capacity=2)
    assert ends_of(cutter, b"one two<|x|>") == [3, 7, 12]
    abandoned = np.frombuffer(b"a b c d e f g<|x|>h", np.uint8)
    cutter.open(address_of(abandoned), len(abandoned), len(abandoned))
    assert cutter.cut()
    assert ends_of(cutter, b"<|x|>one") == [5, 8]


def test_patterns_have_a_scanner_by_name_and_by_source() -> None:
    for name, source in bpe.PATTERNS.items():
        assert isinstance(cutter_for(name), Cutter)
        assert isinstance(cutter_for(source), Cutter)
    assert set(bpe.patterns.SCANNED) == set(bpe.PATTERNS.values())
    assert isinstance(cutter_for(r"\p{L}+"), RegexCutter)
    with pytest.raises(ValueError, match="no scanner"):
        Cutter(r"\p{L}+")
    with pytest.raises(ValueError, match="shorter than two bytes"):
        Cutter("gpt2", [b"ok", b"x"])


@pytest.mark.parametrize("pattern", NAMES)
def test_both_cutters_agree(pattern: str) -> None:
    text = "Don't  panic:\n\n\tl'\xe9t\xe9 1234 \u4f60\u597d <|x|> \U0001f600HTTPServer's\r\n " * 50
    for special_tokens in [[], [b"<|x|>"]]:
        first, second = Cutter(pattern, special_tokens), RegexCutter(pattern, special_tokens)
        assert ends_of(first, text.encode()) == ends_of(second, text.encode())


def _nothing(num_bytes: int) -> mmap.mmap:
    """Zeros that take up address space and no memory, as long as they are only read."""
    return mmap.mmap(-1, num_bytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)


@pytest.mark.slow
@pytest.mark.parametrize("pattern", NAMES)
def test_buffers_beyond_4_gigabytes_are_cut(pattern: str) -> None:
    num_bytes, step = (1 << 32) + 12345, 700_000_000
    pages = _nothing(num_bytes)
    expected = []
    for place in range(step, num_bytes, step):
        pages[place : place + 2] = b" a"
        expected += [place, place + 2]
    cutter = Cutter(pattern, [b"<|endoftext|>"])
    found = ends_in(cutter, np.frombuffer(pages, np.uint8), num_bytes, num_bytes)
    assert found == [*expected, num_bytes]


@pytest.mark.slow
@pytest.mark.parametrize("pattern", NAMES)
def test_a_pretoken_beyond_a_gigabyte_is_refused(pattern: str) -> None:
    pages = _nothing(5 << 28)
    buffer = np.frombuffer(pages, np.uint8)
    cutter = Cutter(pattern)
    cutter.open(address_of(buffer), len(buffer), len(buffer))
    with pytest.raises(ValueError, match="longer than 1073741824 bytes"):
        cutter.cut()
