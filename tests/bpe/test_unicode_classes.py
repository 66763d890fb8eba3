"""The character classes against every oracle at hand, on every code point."""

import random
import unicodedata

import pytest
import regex
import tiktoken
from tokenizers import Regex, pre_tokenizers

import bpe
from bpe.unicode_classes import class_members, stand_ins

CLASSES = ["Lu", "Ll", "Lt", "Lm", "Lo", "L", "M", "N"]
EVERY_CODE_POINT = [c for c in range(0x110000) if not 0xD800 <= c < 0xE000]
EVERY_CHARACTER = "".join(map(chr, EVERY_CODE_POINT))
RECLASSED_LATER = {0x0295}  # Ll until Unicode 16, Lo since
WHITE_SPACE = {0x20, 0x85, 0xA0, 0x1680, 0x2028, 0x2029, 0x202F, 0x205F, 0x3000}
WHITE_SPACE |= {*range(0x9, 0xE), *range(0x2000, 0x200B)}


def seen_by_tiktoken(pattern: str) -> set[int]:
    """Code points that a pattern for one character matches; tiktoken drops the others."""
    bytes_only = {bytes([byte]): byte for byte in range(256)}
    encoding = tiktoken.Encoding(
        "bytes", pat_str=pattern, mergeable_ranks=bytes_only, special_tokens={}
    )
    return set(map(ord, bytes(encoding.encode_ordinary(EVERY_CHARACTER)).decode()))


def seen_by_hf(pattern: str) -> set[int]:
    split = pre_tokenizers.Split(Regex(pattern), "removed", invert=True)
    step = 1 << 16
    texts = (EVERY_CHARACTER[i : i + step] for i in range(0, len(EVERY_CHARACTER), step))
    return {ord(piece) for text in texts for piece, _ in split.pre_tokenize_str(text)}


def seen_by_regex(pattern: str) -> set[int]:
    return set(map(ord, regex.findall(pattern, EVERY_CHARACTER)))


@pytest.mark.parametrize("name", CLASSES)
def test_class_equals_tiktoken_and_hf_on_every_code_point(name: str) -> None:
    assert class_members(name) == seen_by_tiktoken(rf"\p{{{name}}}")
    assert class_members(name) == seen_by_hf(rf"\p{{{name}}}")


def test_white_space_is_the_same_everywhere() -> None:
    assert seen_by_regex(r"\s") == WHITE_SPACE
    assert seen_by_tiktoken(r"\s") == WHITE_SPACE
    assert seen_by_hf(r"\s") == WHITE_SPACE
    assert WHITE_SPACE.isdisjoint({0x1C, 0x1D, 0x1E, 0x1F, 0x180E, 0x200B, 0xFEFF})


@pytest.mark.parametrize("pattern", [bpe.GPT2, bpe.CL100K, bpe.O200K])
def test_regex_differs_exactly_on_code_points_assigned_later(pattern: str) -> None:
    names = set(regex.findall(r"\\p\{(\w+)\}", pattern))
    unassigned = seen_by_tiktoken(r"\p{Cn}")
    assigned_later = unassigned & seen_by_regex("|".join(rf"\p{{{name}}}" for name in names))
    differing = set(stand_ins(pattern))
    assert differing & unassigned == assigned_later
    assert differing - unassigned <= RECLASSED_LATER


@pytest.mark.skipif(
    tuple(map(int, unicodedata.unidata_version.split("."))) > (16, 0, 0),
    reason="this Python knows a newer Unicode version than the tables",
)
def test_class_equals_unicodedata_where_that_knows_the_code_point() -> None:
    for name in CLASSES:
        known = {c for c in EVERY_CODE_POINT if unicodedata.category(chr(c)) != "Cn"}
        theirs = {c for c in known if unicodedata.category(chr(c)).startswith(name)}
        assert class_members(name) & known == theirs, name
        if unicodedata.unidata_version == bpe.UNICODE_VERSION:
            assert class_members(name) == theirs, name


def assert_splits_like_hf(pattern: str, code_points: list[int]) -> None:
    split = pre_tokenizers.Split(Regex(pattern), "isolated")
    ours = bpe.Pretokenizer(pattern)
    for start in range(0, len(code_points), 2000):
        characters = map(chr, code_points[start : start + 2000])
        text = "".join(f"a{c}A {c}1{c}{c}'s\n!{c} " for c in characters)
        theirs = [piece for piece, _ in split.pre_tokenize_str(text)]
        assert ours.split(text) == theirs


@pytest.mark.parametrize("pattern", [bpe.GPT2, bpe.CL100K, bpe.O200K])
def test_split_equals_hf_around_code_points_assigned_later(pattern: str) -> None:
    later = list(stand_ins(pattern))
    assert_splits_like_hf(pattern, later[:3000] + later[-1000:])
    assert_splits_like_hf(pattern, random.Random(0).sample(EVERY_CODE_POINT[: 1 << 17], 6000))


@pytest.mark.slow
@pytest.mark.parametrize("pattern", [bpe.GPT2, bpe.CL100K, bpe.O200K])
def test_split_equals_hf_around_every_code_point(pattern: str) -> None:
    assert_splits_like_hf(pattern, EVERY_CODE_POINT)


def test_pattern_that_looks_beyond_the_classes_is_left_to_regex() -> None:
    assert stand_ins(r"\p{L}+")
    assert stand_ins(r"\p{Han}+|\p{L}+") == {}
    assert stand_ins(r"\w+|\p{L}") == {}
    assert stand_ins("\u00e9|\\p{L}+") == {}
    assert stand_ins("[a-z]+") == {}
