"""Messages stay short and agree with their numbers."""

import pytest

from bpe import Vocabulary
from bpe.messages.excerpts import excerpt, excerpts
from bpe.messages.plural import agree, plural

LONG = 3_000_000


def test_one_thing_is_singular() -> None:
    assert [plural(n, "token") for n in (0, 1, 2, 2000)] == [
        "0 tokens",
        "1 token",
        "2 tokens",
        "2,000 tokens",
    ]
    assert plural(1, "batch", "batches") == "1 batch" and agree(1, "is", "are") == "is"


@pytest.mark.parametrize("value", ["x" * LONG, b"x" * LONG, "\U0001f600" * LONG])
def test_what_is_long_is_shown_by_its_ends(value: str | bytes) -> None:
    shown = excerpt(value)
    assert len(shown) < 100 and "..." in shown
    assert excerpt(value[:60]) == repr(value[:60])


def test_many_are_shown_by_the_first_of_them() -> None:
    assert len(excerpts(["y" * LONG] * 5000)) < 2000


def test_an_error_about_a_long_token_is_short() -> None:
    long = b"x" * LONG
    with pytest.raises(ValueError, match="both stand for") as caught:
        Vocabulary({0: long, 1: long}, [])
    assert len(str(caught.value)) < 300
