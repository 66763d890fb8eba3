"""Draw figures as curves or as marks in rows.

Stage: numbers -> *SVG*: curves on two axes, or marks in rows on one. Colours follow the reader's
light or dark scheme. Not here: the pictures of contests (`chart`).
"""

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from xml.etree.ElementTree import Element, SubElement

from bench.display.svg import Point, canvas, line, text, write_svg

_WIDTH, _RIGHT, _TOP = 880, 848, 96
_COLOURS = (("#2f6fde", "#6ea8fe"), ("#d9480f", "#ff922b"), ("#2b8a3e", "#51cf66"),
            ("#8a3ea8", "#cc8ae6"))  # fmt: skip


def write_curves(
    curves: Mapping[str, Sequence[Point]],
    path: Path,
    *,
    title: str,
    labels: tuple[str, str],
    y_range: Point | None = None,
    dashed: float | None = None,
) -> None:
    """Draw at most four curves; the file is complete or absent.

    Without a `y_range`, the y axis is logarithmic, and values without a finite logarithm are left
    out. With one, it has a mark for each tenth, and larger values are left out.

    Args:
        curves: points by name.
        path: SVG file to write.
        title: title of the picture.
        labels: labels of the x axis and the y axis, with units.
        y_range: lowest and highest value.
        dashed: value of a dashed horizontal line.
    """
    left, bottom = 84, 416
    root = _canvas(476, title)
    if y_range is None:
        shown = {
            name: [(x, math.log10(y)) for x, y in points if 0 < y < math.inf]
            for name, points in curves.items()
        }
        ys = [y for points in shown.values() for _, y in points]
        marks = {power: f"1e{power:+d}" for power in _powers(min(ys), max(ys))}
        y_range = min(marks), max(marks)
    else:
        low, high = y_range
        shown = {n: [(x, y) for x, y in points if y <= high] for n, points in curves.items()}
        marks = {n / 10: f"{n / 10:.1f}" for n in range(int(low * 10) + 1, int(high * 10) + 1)}
    most = max(x for points in shown.values() for x, _ in points)
    x_at, y_at = _scale((0.0, most), (left, _RIGHT)), _scale(y_range, (bottom, _TOP))
    for mark, label in marks.items():
        line(root, (left, y_at(mark)), (_RIGHT, y_at(mark)), "grid")
        text(root, left - 8, y_at(mark) + 4, label, "soft end")
    for tick in _ticks(most):
        if tick <= most:
            text(root, x_at(tick), bottom + 21, f"{tick:,.4g}", "soft middle")
    if dashed is not None:
        line(root, (left, y_at(dashed)), (_RIGHT, y_at(dashed)), "dashed")
    text(root, (left + _RIGHT) / 2, bottom + 43, labels[0], "soft middle")
    text(root, 16, _TOP - 14, labels[1], "soft")
    _legend(root, list(shown))
    for index, points in enumerate(shown.values()):
        places = (f"{x_at(x):.1f},{y_at(y):.1f}" for x, y in points)
        SubElement(root, "polyline", {"class": f"stroke{index}", "points": " ".join(places)})
    write_svg(root, path)


def write_marks(
    rows: Mapping[str, Sequence[float | None]],
    path: Path,
    *,
    title: str,
    series: Sequence[str],
    label: str,
) -> None:
    """Draw one line per row, with a mark for each series; the file is complete or absent.

    At most four series of values >= 0; None draws no mark.
    """
    left, pitch = 330, 22
    bottom = _TOP + pitch * len(rows)
    root = _canvas(bottom + 56, title)
    most = max(value for values in rows.values() for value in values if value is not None)
    x_at = _scale((0.0, most), (left, _RIGHT - 8))
    for tick in _ticks(most):
        if tick <= most:
            line(root, (x_at(tick), _TOP - 6), (x_at(tick), bottom), "grid")
            text(root, x_at(tick), bottom + 20, f"{tick:,.3g}", "soft middle")
    text(root, (left + _RIGHT) / 2, bottom + 42, label, "soft middle")
    _legend(root, series)
    for number, (name, values) in enumerate(rows.items()):
        y = _TOP + pitch * (number + 0.5)
        line(root, (left, y), (_RIGHT, y), "grid")
        text(root, left - 10, y + 4, name, "ink end")
        for index, value in enumerate(values):
            if value is not None:
                place = {"cx": f"{x_at(value):.1f}", "cy": f"{y:.1f}", "r": "5"}
                SubElement(root, "circle", {"class": f"fill{index}", **place})
    write_svg(root, path)


def _canvas(height: float, title: str) -> Element:
    light, dark = (
        "".join(
            f".stroke{index} {{ stroke: {pair[scheme]} }} .fill{index} {{ fill: {pair[scheme]} }}\n"
            for index, pair in enumerate(_COLOURS)
        )
        for scheme in (0, 1)
    )
    return canvas((_WIDTH, height), name=title, light=light, dark=dark, heading=title)


def _legend(root: Element, names: Sequence[str]) -> None:
    x = 16.0
    for index, name in enumerate(names):
        place = {"cx": f"{x + 5:.1f}", "cy": "52", "r": "5"}
        SubElement(root, "circle", {"class": f"fill{index}", **place})
        text(root, x + 16, 56, name, "ink")
        x += 16 + 7 * len(name) + 20


def _scale(values: Point, places: Point) -> Callable[[float], float]:
    slope = (places[1] - places[0]) / ((values[1] - values[0]) or 1.0)
    return lambda value: places[0] + (value - values[0]) * slope


def _ticks(most: float) -> list[float]:
    """Return round numbers from zero to the first that is at least `most`.

    >>> _ticks(37)
    [0, 10, 20, 30, 40]
    """
    power = 10.0 ** math.floor(math.log10(most))
    step = next(part * power for part in (0.1, 0.2, 0.25, 0.5, 1, 2) if most / (part * power) <= 6)
    step = int(step) if step == int(step) else step
    return [index * step for index in range(math.ceil(most / step) + 1)]


def _powers(least: float, most: float) -> list[int]:
    """Return at most ten evenly spaced powers that enclose both logarithms.

    >>> _powers(-1.7, 2.5), _powers(-23.5, 19.8)
    ([-2, -1, 0, 1, 2, 3], [-24, -18, -12, -6, 0, 6, 12, 18, 24])
    """
    low, high = math.floor(least), max(math.ceil(most), math.floor(least) + 1)
    step = math.ceil((high - low) / 8)
    low = step * math.floor(low / step)
    return list(range(low, high + (step if (high - low) % step else 1), step))
