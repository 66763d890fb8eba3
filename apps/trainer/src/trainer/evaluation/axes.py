"""Draw linear and logarithmic axes with round tick values, and the lines and points between them.

Stage: used by every SVG drawing. Not here: what is plotted (`curve.py`, `report/plots/`).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from xml.etree.ElementTree import Element, SubElement

Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Axis:
    """Values from `low` to `high` lie from pixel `start` to pixel `end`.

    >>> Axis(low=1, high=100, start=0, end=50, ticks=[10], is_log=True).place(10)
    25.0
    """

    low: float
    high: float
    start: float
    end: float
    ticks: list[float]
    is_log: bool = False

    def place(self, value: float) -> float:
        """Return where a value lies, in pixels."""
        if self.is_log:
            share = math.log(value / self.low) / math.log(self.high / self.low)
        else:
            share = (value - self.low) / (self.high - self.low)
        return self.start + share * (self.end - self.start)

    @property
    def labels(self) -> list[str]:
        """Labels of the ticks."""
        if self.is_log and max(self.ticks, default=0) < 1:
            return [tick_labels([tick])[0] for tick in self.ticks]  # 0.001, 0.01: no trailing zeros
        return tick_labels(self.ticks)


def linear_axis(low: float, high: float, *, start: float, end: float, max_ticks: int) -> Axis:
    """Return an axis from `low` to `high`, which differ."""
    ticks = round_ticks(low, high, max_ticks=max_ticks)
    return Axis(low=low, high=high, start=start, end=end, ticks=ticks)


def log_axis(low: float, high: float, *, start: float, end: float) -> Axis:
    """Return a logarithmic axis from `low` to `high`, which are positive and differ."""
    ticks = round_log_ticks(low, high)
    return Axis(low=low, high=high, start=start, end=end, ticks=ticks, is_log=True)


def with_margin(low: float, high: float, *, is_log: bool = False) -> tuple[float, float]:
    """Widen a range slightly, so that no value lies on the frame.

    >>> with_margin(0.0, 100.0)
    (-4.0, 104.0)
    >>> with_margin(2.0, 2.0)
    (1.5, 2.5)
    """
    if is_log:
        factor = (high / low) ** 0.04 if high > low else 1.1
        return low / factor, high * factor
    margin = 0.04 * (high - low) or 0.5
    return low - margin, high + margin


def round_ticks(low: float, high: float, *, max_ticks: int) -> list[float]:
    """Return the multiples of 1, 2 or 5 times a power of ten in [low, high], at most `max_ticks`.

    >>> round_ticks(0, 430, max_ticks=5)
    [0.0, 100.0, 200.0, 300.0, 400.0]
    """
    exponent = math.floor(math.log10((high - low) / max_ticks))
    for digit in (1, 2, 5, 10, 20, 50):
        unit = digit * 10.0**exponent
        first, last = math.ceil(low / unit - 1e-9), math.floor(high / unit + 1e-9)
        if last - first < max_ticks:
            return [round(n * unit, 12) for n in range(first, last + 1)]
    raise AssertionError((low, high, max_ticks))


def round_log_ticks(low: float, high: float) -> list[float]:
    """Return round values in [low, high], sparser when the range is wide.

    >>> round_log_ticks(1.2, 11)
    [1.5, 2.0, 3.0, 5.0, 7.0, 10.0]
    """
    powers = range(math.floor(math.log10(low)), math.floor(math.log10(high)) + 1)
    for digits in ((1,), (1, 3), (1, 2, 5), (1, 1.5, 2, 3, 5, 7)):
        ticks = [round(digit * 10.0**power, 12) for power in powers for digit in digits]
        ticks = [tick for tick in ticks if low <= tick <= high]
        if len(ticks) >= 4:
            return ticks
    return round_ticks(low, high, max_ticks=7)


_WORDS = ((1e9, "G"), (1e6, "M"))
_MAX_DECIMALS = 4


def tick_labels(ticks: Sequence[float]) -> list[str]:
    """Format all ticks alike: with the decimals they need, abbreviated when very large.

    >>> tick_labels([0, 0.5, 1]), tick_labels([0, 2e6, 4e6]), tick_labels([1e-5, 1e-4])
    (['0.0', '0.5', '1.0'], ['0', '2M', '4M'], ['1e-5', '1e-4'])
    """
    largest = max(map(abs, ticks), default=0)
    for unit, word in _WORDS:
        if largest >= unit and all(tick % (unit / 100) == 0 for tick in ticks):
            return [f"{tick / unit:g}{word}" if tick else "0" for tick in ticks]
    decimals = max((len(f"{tick:.10f}".rstrip("0").split(".")[1]) for tick in ticks), default=0)
    if decimals > _MAX_DECIMALS:
        return [_scientific(tick) for tick in ticks]
    return [f"{tick:,.{decimals}f}" for tick in ticks]


def _scientific(value: float) -> str:
    digits, _, exponent = f"{value:e}".partition("e")
    return f"{float(digits):g}e{int(exponent)}" if value else "0"


def draw_frame(root: Element, x: Axis, y: Axis, *, title: str) -> None:
    """Draw both axes with their ticks; `title` labels the x axis."""
    draw_y_ticks(root, x, y)
    draw_x_ticks(root, x, y, title=title)
    line(root, x.start, y.start, x.end, y.start, "axis")


def draw_x_ticks(parent: Element, x: Axis, y: Axis, *, title: str) -> None:
    """Draw the ticks, labels and title below the frame."""
    for index, (tick, label) in enumerate(zip(x.ticks, x.labels, strict=True)):
        line(parent, x.place(tick), y.start, x.place(tick), y.start + 5, "axis")
        odd = " odd" if index % 2 else ""  # hidden on narrow screens
        text(parent, x.place(tick), y.start + 22, label, f"soft middle{odd}")
    text(parent, (x.start + x.end) / 2, y.start + 46, title, "soft middle")


def draw_y_ticks(parent: Element, x: Axis, y: Axis) -> None:
    """Draw grid lines across the frame, and their labels to its left."""
    for tick, label in zip(y.ticks, y.labels, strict=True):
        line(parent, x.start, y.place(tick), x.end, y.place(tick), "grid")
        text(parent, x.start - 10, y.place(tick) + 4, label, "soft end")


def line(parent: Element, x1: float, y1: float, x2: float, y2: float, style: str) -> None:
    """Add a straight line; coordinates in pixels."""
    ends = {"x1": x1, "y1": y1, "x2": x2, "y2": y2}
    attributes = {key: f"{round(value, 1):g}" for key, value in ends.items()}
    SubElement(parent, "line", {"class": style, **attributes})


def text(parent: Element, x: float, y: float, content: str, style: str) -> Element:
    """Add a text at a point in pixels, and return it."""
    place = {"x": f"{round(x, 1):g}", "y": f"{round(y, 1):g}"}
    element = SubElement(parent, "text", {"class": style, **place})
    element.text = content
    return element


def polyline(parent: Element, points: Sequence[Point], style: str | None = None) -> None:
    """Join points in pixels; a single one draws nothing."""
    if len(points) > 1:
        joined = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        SubElement(parent, "polyline", {**_class(style), "points": joined})


def dot(parent: Element, x: float, y: float, style: str | None = None, *, tip: str = "") -> None:
    """Add a dot at a point in pixels; `tip` is shown when the pointer rests on it."""
    place = {"cx": f"{x:.1f}", "cy": f"{y:.1f}", "r": "4"}
    circle = SubElement(parent, "circle", {**_class(style), **place})
    if tip:
        SubElement(circle, "title").text = tip


def _class(style: str | None) -> dict[str, str]:
    return {"class": style} if style else {}
