"""Pretokens: worked examples, nothing lost, and the same as the pattern's own engine."""

import copy
import pickle

import pytest
import regex
from hypothesis import given
from hypothesis import strategies as st

import bpe

TEXTS = st.text(st.characters(exclude_categories=["Cs"]) | st.sampled_from(" \n\r\t'sdmtleEAZ09!/"))


@pytest.mark.parametrize(
    ("pattern", "text", "expected"),
    [
        ("gpt2", "some text that i'll pre-tokenize", None),
        ("gpt2", "a  b\n\n c", ["a", " ", " b", "\n\n", " c"]),
        ("gpt2", "12345 1", ["12345", " 1"]),
        ("cl100k", "12345 a", ["123", "45", " a"]),
        ("cl100k", "WE'LL (don't)\n\n", ["WE", "'LL", " (", "don", "'t", ")\n\n"]),
        ("o200k", "HTTPServer don't a/\n/", ["HTTPServer", " don't", " a", "/\n/"]),
        ("o200k", "camelCase", ["camel", "Case"]),
    ],
)
def test_worked_examples(pattern: str, text: str, expected: list[str] | None) -> None:
    expected = expected or ["some", " text", " that", " i", "'ll", " pre", "-", "tokenize"]
    assert bpe.Pretokenizer(pattern).split(text) == expected


@given(TEXTS, st.sampled_from([*bpe.PATTERNS, r"\p{L}+", r"[^\s]*", r"(a)|(b)", "x*", r"\b"]))
def test_no_text_is_lost(text: str, pattern: str) -> None:
    pretokens = bpe.Pretokenizer(pattern).split(text)
    assert "".join(pretokens) == text
    assert all(pretokens)


@given(TEXTS, st.sampled_from([*bpe.PATTERNS, r"\p{L}+"]))
def test_spans_say_the_same_as_split(text: str, pattern: str) -> None:
    pretokenizer = bpe.Pretokenizer(pattern)
    spans = list(pretokenizer.spans(text))
    assert [text[start:end] for start, end in spans] == pretokenizer.split(text)


def test_unmatched_text_is_a_pretoken_of_its_own() -> None:
    assert bpe.Pretokenizer(r"\d+").split("ab1--22") == ["ab", "1", "--", "22"]


@pytest.mark.parametrize(
    "text", ["a \n b\t\r\n\n  c'S 'll 1234 x.\n", "A'\u017f \u00e9\u0301\n \nb"]
)
def test_cl100k_is_tiktokens_but_for_white_space_that_ends_a_text(text: str) -> None:
    tiktokens = (
        r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+"
        r"| ?[^\s\p{L}\p{N}]++[\r\n]*+|\s++$|\s*[\r\n]|\s+(?!\S)|\s"
    )
    ours = bpe.Pretokenizer("cl100k").split
    assert ours(text) == regex.findall(tiktokens, text)
    assert ours("a\n ") == ["a", "\n", " "] and regex.findall(tiktokens, "a\n ") == ["a", "\n "]


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("", "is empty"),
        ("(", "not a valid regular expression"),
        ("\ud800", "not a valid regular expression"),
        ("gpt-2", "no split pattern named 'gpt-2'; use one of gpt2, cl100k, o200k"),
        (r"(?r)\w+", "searches backwards"),
    ],
)
def test_senseless_patterns_are_refused(pattern: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        bpe.Pretokenizer(pattern)


def test_spans_are_lazy() -> None:
    spans = bpe.Pretokenizer("gpt2").spans("word " * 1_000_000)
    assert next(spans) == (0, 4)


def test_code_points_assigned_after_our_version_are_no_letters() -> None:
    seal_script = "\U0003d000"
    assert bpe.Pretokenizer("gpt2").split(f"a{seal_script}a") == ["a", seal_script, "a"]
    assert bpe.Pretokenizer("gpt2").split("a\u0295a") == ["a\u0295a"]
    assert bpe.Pretokenizer("o200k").split("A\u0295B") == ["A\u0295", "B"]  # lower case, then upper


def test_pretokenizer_can_be_copied_and_pickled() -> None:
    original = bpe.Pretokenizer("cl100k")
    for copied in (copy.deepcopy(original), pickle.loads(pickle.dumps(original))):
        assert copied.split("123456") == ["123", "456"]


def test_resolve_pattern_knows_names_and_checks_the_rest() -> None:
    assert bpe.resolve_pattern("o200k") == bpe.O200K == bpe.PATTERNS["o200k"]
    assert bpe.resolve_pattern(r"\w+") == r"\w+"
    for bad in ("(", "", r"\p{Nonsense}"):
        with pytest.raises(ValueError, match="pattern"):
            bpe.resolve_pattern(bad)


@pytest.mark.parametrize("pattern", bpe.PATTERNS.values())
def test_known_patterns_have_no_groups_and_match_everything(pattern: str) -> None:
    compiled = regex.compile(pattern)
    assert compiled.groups == 0
    for character in map(chr, [*range(0xD800), *range(0xE000, 0x20000)]):
        assert compiled.fullmatch(character)
