"""Special tokens: leftmost first, longest first, and undecided while text may still come."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tokenizer.special_tokens import SpecialTokens, cut_at_escaped_bytes, require_no_surrogates

TOKENS = st.lists(st.text("ab<", min_size=1, max_size=4), unique=True, max_size=4)


def cut_obviously(text: str, specials: list[str]) -> list[str]:
    parts = [""]
    place = 0
    while place < len(text):
        here = [token for token in specials if text.startswith(token, place)]
        if here:
            parts += [max(here, key=len), ""]
            place += len(parts[-2])
        else:
            parts[-1] += text[place]
            place += 1
    return parts


@settings(max_examples=300, deadline=None)
@given(specials=TOKENS, text=st.text("ab<c", max_size=20))
def test_cut_is_leftmost_and_longest(specials: list[str], text: str) -> None:
    cuts = list(SpecialTokens({token: 0 for token in specials}).cut(text))
    parts = [part for stretch, special in cuts for part in (stretch, special)][:-1]
    assert parts == cut_obviously(text, specials)


@settings(max_examples=300, deadline=None)
@given(specials=TOKENS, text=st.text("ab<c", max_size=12), rest=st.text("ab<c", max_size=5))
def test_what_is_decided_stays(specials: list[str], text: str, rest: str) -> None:
    tokens = SpecialTokens({token: 0 for token in specials})
    match = tokens.search(text, start=0)
    if match is not None and match.start() < tokens.undecided_from(text, start=0):
        later = tokens.search(text + rest, start=0)
        assert (later.start(), later.group()) == (match.start(), match.group())


def test_special_characters_of_regular_expressions_are_plain() -> None:
    specials = SpecialTokens({".*": 0, "(a|b)": 1, "\\d+": 2})
    assert list(specials.cut("x.*(a|b)7\\d+")) == [
        ("x", ".*"),
        ("", "(a|b)"),
        ("7", "\\d+"),
        ("", None),
    ]


@settings(deadline=None)
@given(data=st.binary())
def test_escaped_bytes_and_text_are_the_data(data: bytes) -> None:
    cuts = list(cut_at_escaped_bytes(data.decode(errors="surrogateescape")))
    assert b"".join(text.encode() + malformed for text, malformed in cuts) == data


@pytest.mark.parametrize("index", [0, 1, 5])
def test_lone_surrogates_are_refused_with_their_place(index: int) -> None:
    with pytest.raises(ValueError, match=rf"U\+DC00\) at index {index + 7}"):
        require_no_surrogates("\u00e9" * index + "\udc00", offset=7)
