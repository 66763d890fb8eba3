"""The loss curve: well-formed, honest about the numbers, readable in light and dark."""

import math
from itertools import accumulate, pairwise
from pathlib import Path
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trainer.evaluation.axes import round_log_ticks, round_ticks
from trainer.evaluation.curve import smooth, write_loss_curve

SVG = "{http://www.w3.org/2000/svg}"


def _rows(num_steps: int = 100, *, kind: str = "train") -> list[dict]:
    return [
        {"kind": kind, "step": step, "loss": 2 + 7 / (1 + step)} for step in range(1, num_steps + 1)
    ]


def _draw(
    path: Path, rows: list[dict], *, title: str = "run", **more: object
) -> ElementTree.Element:
    write_loss_curve(rows, path / "loss.svg", title=title, **more)
    return ElementTree.parse(path / "loss.svg").getroot()


def _texts(root: ElementTree.Element) -> list[str]:
    return [element.text for element in root.iter(f"{SVG}text")]


def _line_points(root: ElementTree.Element, style: str) -> list[tuple[float, float]]:
    [line] = [e for e in root.iter(f"{SVG}polyline") if e.get("class") == style]
    return [tuple(map(float, point.split(","))) for point in line.get("points").split()]


def test_curve_shows_both_losses_the_target_and_what_they_are(tmp_path: Path) -> None:
    validation = [{"kind": "evaluation", "step": step, "loss": 2.5} for step in (50, 100)]
    root = _draw(tmp_path, _rows() + validation, target_loss=1.45)
    dots = [e for e in root.iter(f"{SVG}circle") if float(e.get("cy")) > 80]
    assert len(_line_points(root, "raw")) == len(_line_points(root, "smooth")) == 100
    assert len(dots) == 2
    wanted = {"training", "training, smoothed", "validation, last 2.5000", "target 1.45"}
    assert wanted | {"optimizer steps", "loss, nats per token", "run"} <= set(_texts(root))


def test_points_lie_where_the_axes_say(tmp_path: Path) -> None:
    rows = [{"kind": "train", "step": 0, "loss": 4.0}, {"kind": "train", "step": 100, "loss": 2.0}]
    root = _draw(tmp_path, rows)
    (x0, y0), (x1, y1) = _line_points(root, "raw")
    labels = {e.text: e for e in root.iter(f"{SVG}text")}
    assert (x0, x1) == (float(labels["0"].get("x")), float(labels["100"].get("x")))
    # Labels are set 4 below their line, so that the line meets their middle.
    assert y0 == pytest.approx(float(labels["4.0"].get("y")) - 4, abs=0.02)
    assert y1 == pytest.approx(float(labels["2.0"].get("y")) - 4, abs=0.02)


def test_text_is_escaped(tmp_path: Path) -> None:
    title = "a < b & \"c\" > 'd' ]]> <script>"
    assert _texts(_draw(tmp_path, _rows(), title=title))[0] == title


@settings(max_examples=30, deadline=None)
@given(title=st.text(st.characters(exclude_categories=())))
def test_any_title_gives_well_formed_xml(
    tmp_path_factory: pytest.TempPathFactory, title: str
) -> None:
    _draw(tmp_path_factory.mktemp("curve"), [], title=title)


@settings(max_examples=60, deadline=None)
@given(
    losses=st.lists(st.floats(1e-6, 1e6) | st.just(math.nan) | st.just(math.inf), max_size=8),
)
def test_any_losses_stay_inside_the_frame(
    tmp_path_factory: pytest.TempPathFactory, losses: list[float]
) -> None:
    rows = [{"kind": "train", "step": step, "loss": loss} for step, loss in enumerate(losses)]
    root = _draw(tmp_path_factory.mktemp("curve"), rows)
    for line in root.iter(f"{SVG}polyline"):
        for point in line.get("points").split():
            x, y = map(float, point.split(","))
            assert 64 <= x <= 848
            assert 84 <= y <= 424


def test_run_without_a_loss_says_so(tmp_path: Path) -> None:
    assert "no loss yet" in _texts(_draw(tmp_path, []))
    rows = [{"kind": "train", "step": 1, "loss": math.nan}]
    assert "no loss yet" in _texts(_draw(tmp_path, rows))


def test_single_row_is_drawn(tmp_path: Path) -> None:
    rows = [{"kind": "evaluation", "step": 0, "loss": 5.0}]
    assert "validation, last 5.0000" in _texts(_draw(tmp_path, rows))


def test_long_run_stays_a_small_file(tmp_path: Path) -> None:
    _draw(tmp_path, _rows(50_000))
    assert (tmp_path / "loss.svg").stat().st_size < 120_000


def test_colours_follow_the_readers_scheme(tmp_path: Path) -> None:
    root = _draw(tmp_path, _rows())
    assert "prefers-color-scheme: dark" in root.find(f"{SVG}style").text


def test_equal_rows_give_equal_files(tmp_path: Path) -> None:
    _draw(tmp_path, _rows())
    first = (tmp_path / "loss.svg").read_bytes()
    _draw(tmp_path, _rows()[::-1])
    assert (tmp_path / "loss.svg").read_bytes() == first
    assert [path.name for path in tmp_path.iterdir()] == ["loss.svg"]


@given(low=st.floats(-1e6, 1e6), span=st.floats(1e-3, 1e6), max_ticks=st.integers(2, 12))
def test_ticks_are_few_round_evenly_spaced_and_inside(
    low: float, span: float, max_ticks: int
) -> None:
    ticks = round_ticks(low, low + span, max_ticks=max_ticks)
    assert len(ticks) <= max_ticks
    assert all(low - 1e-6 * span <= tick <= low + span * (1 + 1e-6) for tick in ticks)
    gaps = {f"{b - a:.3g}".strip("0.").rstrip("0")[:1] for a, b in pairwise(ticks)}
    assert gaps <= {"1", "2", "5"}


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [
        (0, 10_000, [0, 2000, 4000, 6000, 8000, 10_000]),
        (1.4, 9.3, [2, 4, 6, 8]),
        (0, 8, [0, 2, 4, 6, 8]),
        (2.01, 2.09, [2.02, 2.04, 2.06, 2.08]),
    ],
)
def test_ticks_by_hand(low: float, high: float, ticks: list[float]) -> None:
    assert round_ticks(low, high, max_ticks=6) == ticks


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [
        (1.3, 10, [1.5, 2, 3, 5, 7, 10]),
        (1, 1e4, [1, 10, 100, 1e3, 1e4]),
        (2.1, 2.4, [2.1, 2.15, 2.2, 2.25, 2.3, 2.35, 2.4]),
    ],
)
def test_log_ticks_by_hand(low: float, high: float, ticks: list[float]) -> None:
    assert round_log_ticks(low, high) == ticks


def test_smoothing_keeps_a_straight_line_and_its_ends() -> None:
    line = [(float(step), 3.0 - step / 100) for step in range(100)]
    smoothed = smooth(line)
    assert [step for step, _ in smoothed] == [step for step, _ in line]
    assert [loss for _, loss in smoothed] == pytest.approx([loss for _, loss in line])


def test_smoothing_reduces_noise() -> None:
    noisy = [(float(step), 1.0 + (-1) ** step) for step in range(1000)]
    middle = [loss for _, loss in smooth(noisy)[100:900]]
    assert max(middle) - min(middle) < 0.1


def test_smoothing_says_more_at_the_end_than_the_last_loss() -> None:
    noisy = [(float(step), 3.0 - step / 1000 + 0.5 * (-1) ** step) for step in range(1000)]
    last = [loss for _, loss in smooth(noisy)[-20:]]
    assert last == pytest.approx([3.0 - step / 1000 for step in range(980, 1000)], abs=0.06)


def test_a_spike_near_the_end_does_not_bend_the_curve_below_the_losses() -> None:
    spiked = [(float(step), 100.0 if step == 970 else 1.0) for step in range(1000)]
    assert min(loss for _, loss in smooth(spiked)) >= 1.0


@pytest.mark.parametrize("points", [[(3.0, 2.0)], [(1.0, 2.0), (2.0, 4.0)]])
def test_smoothing_leaves_one_or_two_points(points: list[tuple[float, float]]) -> None:
    assert smooth(points) == points


@given(
    st.lists(st.integers(1, 9), min_size=1, max_size=60),
    st.floats(0.1, 10),
    st.floats(-0.01, 0.01),
)
def test_smoothing_keeps_lines_however_the_steps_lie(
    gaps: list[int], start: float, slope: float
) -> None:
    steps = [float(step) for step in accumulate(gaps)]
    line = [start + slope * step for step in steps]
    smoothed = smooth(list(zip(steps, line, strict=True)))
    assert [loss for _, loss in smoothed] == pytest.approx(line, abs=1e-9)


@pytest.mark.parametrize("num_points", [8, 40])
def test_smoothing_averages_however_few_the_points(num_points: int) -> None:
    noisy = [(float(10 * i), 1.0 + (-1) ** i) for i in range(num_points)]
    middle = [loss for _, loss in smooth(noisy)[2:-2]]
    assert max(middle) - min(middle) < 1
