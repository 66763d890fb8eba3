"""Ranges of fields: borders of an interval, nan, fields that are off."""

from types import SimpleNamespace

import pytest

from trainer.config.field_checks import require_range


@pytest.mark.parametrize(
    ("interval", "inside", "outside"),
    [
        ("[0, 1)", (0, 0.5), (-0.1, 1, float("nan"))),
        ("(0, 1]", (1e-9, 1), (0, 1.1)),
        ("(0, inf)", (1, 2**62), (0, -1, float("inf"))),
        ("[0, inf)", (0, 7), (-1, float("inf"))),
    ],
)
def test_an_interval_has_the_borders_that_it_states(
    interval: str, inside: tuple[float, ...], outside: tuple[float, ...]
) -> None:
    for value in (*inside, None):
        require_range("a", SimpleNamespace(b_c=value), interval, "b_c")
    needed = "positive and finite" if interval == "(0, inf)" else f"in {interval}"
    for value in outside:
        with pytest.raises(ValueError) as caught:
            require_range("a", SimpleNamespace(b_c=value), interval, "b_c")
        assert str(caught.value) == f"a.b-c is {value}, but must be {needed}"
