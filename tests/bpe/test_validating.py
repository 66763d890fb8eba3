"""Malformed UTF-8: found where Python finds it."""

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bpe.kernel_parts import address_of, first_malformed

# Bytes at the borders of what may stand first, second and later.
BORDERS = bytes.fromhex("007f808f909f a0bfc0c1c2df e0e1ecedeeef f0f1f3f4f5ff")
CHARACTERS = "a\x80\xe9\u07ff\u0800\u4f60\ud7ff\ue000\uffff\U00010000\U0001f600\U0010ffff"


def found_by_python(content: bytes) -> int:
    try:
        content.decode()
    except UnicodeDecodeError as error:
        return error.start
    return -1


def assert_found(content: bytes) -> None:
    for padding in [b"", b"a" * 64, b"\x80" * 64, b"\xe4" * 64]:
        buffer = np.frombuffer(content + padding or b"?", np.uint8)
        readable = len(content) + len(padding)
        found = first_malformed(address_of(buffer), len(content), readable)
        assert found == found_by_python(content), (content, padding)


def test_every_pair_and_many_sequences_of_border_bytes() -> None:
    rng = random.Random(0)
    for first in range(256):
        for second in BORDERS:
            third, fourth = rng.choice(BORDERS), rng.choice(BORDERS)
            for sequence in [
                (first, second),
                (first, second, third),
                (first, second, third, fourth),
            ]:
                assert_found(b"x" * rng.choice([0, 1, 60, 61, 62, 63, 64]) + bytes(sequence))


@pytest.mark.parametrize("length", range(56, 70))
def test_a_character_across_the_border_of_a_block_is_whole_or_not(length: int) -> None:
    for front in ["a", "\xe9"]:
        for character in CHARACTERS:
            whole = front.encode() * length + character.encode() + b"tail" * 20
            cut = front.encode() * length + character.encode()[:-1] + b"tail" * 20
            cut_and_lead = front.encode() * length + character.encode()[:-1] + b"\xee\x80\x80" * 20
            for content in [whole, cut, cut_and_lead]:
                assert_found(content)


def test_one_error_anywhere_in_multilingual_text() -> None:
    rng = random.Random(1)
    for _ in range(4000):
        content = bytearray("".join(rng.choices(CHARACTERS, k=rng.randrange(1, 120))).encode())
        place = rng.randrange(len(content))
        content[place : place + rng.randrange(3)] = rng.choices(BORDERS, k=rng.randrange(3))
        assert_found(bytes(content))


@settings(deadline=None)
@given(
    st.binary(max_size=300) | st.text(max_size=100).map(lambda text: text.encode(errors="replace"))
)
def test_any_bytes(content: bytes) -> None:
    assert_found(content)
