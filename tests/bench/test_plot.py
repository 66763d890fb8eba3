"""Pictures: every value that can be drawn is, inside of the frame."""

from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree

from hypothesis import given, settings
from hypothesis import strategies as st

from bench.display.plot import _powers, _ticks, write_curves, write_marks


@given(st.floats(-300, 300), st.floats(0, 300))
def test_powers_are_few_even_and_around_both(least: float, spread: float) -> None:
    powers = _powers(least, least + spread)
    assert powers[0] <= least
    assert least + spread <= powers[-1]
    assert 2 <= len(powers) <= 10
    assert len({after - before for before, after in pairwise(powers)}) == 1


@given(st.floats(1e-9, 1e12))
def test_ticks_begin_at_zero_and_pass_the_largest_value(most: float) -> None:
    ticks = _ticks(most)
    assert ticks[0] == 0
    assert ticks[-1] >= most * (1 - 1e-9)
    assert 3 <= len(ticks) <= 8


_VALUES = st.lists(st.one_of(st.none(), st.floats(0, 1e9)), min_size=2, max_size=2)


@settings(max_examples=30)
@given(st.lists(_VALUES, min_size=1, max_size=5))
def test_marks_stand_in_their_rows(tmp_path_factory, rows: list[list[float | None]]) -> None:
    path = Path(tmp_path_factory.getbasetemp(), "marks.svg")
    named = {f"row <{index}>": values for index, values in enumerate([*rows, [1.0, None]])}
    write_marks(named, path, title="t & t", series=["a", "b"], label="x")
    marks = ElementTree.parse(path).findall("{*}circle")
    known = sum(value is not None for values in named.values() for value in values)
    assert len(marks) == known + 2  # and the legend
    assert all(0 <= float(mark.get("cx")) <= 880 for mark in marks)


def test_what_has_no_logarithm_is_left_out(tmp_path: Path) -> None:
    points = [(0, 10.0), (1, 0.0), (2, float("inf")), (3, -1.0), (4, 1e-3)]
    write_curves({"a": points}, tmp_path / "x.svg", title="t", labels=("x", "y"))
    (curve,) = ElementTree.parse(tmp_path / "x.svg").findall("{*}polyline")
    assert len(curve.get("points").split()) == 2
