"""Draw the loss of a run against its steps, as an SVG file that needs nothing to be looked at.

Stage: metrics -> *loss.svg*. Raw training loss thin, smoothed training loss bold, validation loss
as points; colours follow the reader's light or dark scheme. Not here: comparison of several runs.
"""

import math
import re
from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement

import numpy as np

from trainer.evaluation.axes import Axis, linear_axis, with_margin
from trainer.monitoring.metrics import MetricsRow
from trainer.storage.durable import write_atomically

Point = tuple[float, float]

_WIDTH, _HEIGHT = 880, 480
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 848, 84, 424
_MAX_RAW_POINTS = 2000  # more would be thinner than a pixel
_SMOOTHING = 1 / 50  # half-width of the moving mean, as a share of the steps
_SMOOTHED_POINTS = 3  # half-width at least, in points: 1 would leave each point as it is
_CHAR_WIDTH = 6.5  # of the legend's font, pixels, generous
_NOT_XML = re.compile("[^\t\n\r -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")

_STYLE = """
text { font: 12px system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif }
.title { font-size: 16px; font-weight: 600 }
.end { text-anchor: end } .middle { text-anchor: middle }
.back { fill: #ffffff } .ink { fill: #1f2328 } .soft { fill: #656d76 }
.grid { stroke: #e4e7eb; stroke-width: 1 } .axis { stroke: #8c959f; stroke-width: 1 }
polyline, .key { fill: none; stroke-linejoin: round; stroke-linecap: round }
.raw { stroke: #2f6fde; stroke-width: 1; stroke-opacity: .45 }
.smooth { stroke: #2f6fde; stroke-width: 2.25 }
.trend { stroke: #d9480f; stroke-width: 1.25; stroke-opacity: .6 }
.dot { fill: #d9480f; stroke: #ffffff; stroke-width: 1 }
.target { stroke: #2b8a3e; stroke-width: 1.5; stroke-dasharray: 6 4 }
@media (prefers-color-scheme: dark) {
.back { fill: #0d1117 } .ink { fill: #e6edf3 } .soft { fill: #9198a1 }
.grid { stroke: #242a32 } .axis { stroke: #656c76 }
.raw { stroke: #6ea8fe; stroke-opacity: .5 } .smooth { stroke: #6ea8fe }
.trend { stroke: #ff922b } .dot { fill: #ff922b; stroke: #0d1117 }
.target { stroke: #51cf66 }
}
"""


def write_loss_curve(
    rows: Sequence[MetricsRow],
    path: Path,
    *,
    title: str,
    target_loss: float | None = None,
) -> None:
    """Write the loss curve of a run.

    Args:
        rows: of both kinds, in any order; losses that are not finite are left out.
        path: where the SVG goes, complete or absent.
        title: shown above; any text.
        target_loss: drawn as a dashed line; nats a token.
    """
    train = _points(rows, "train")
    validation = _points(rows, "evaluation")
    root = _canvas(title)
    if train or validation:
        losses = [loss for _, loss in (*train, *validation)]
        losses += [] if target_loss is None else [target_loss]
        last_step = max(step for step, _ in (*train, *validation))
        x = linear_axis(0, max(last_step, 1), start=_LEFT, end=_RIGHT, max_ticks=9)
        low, high = with_margin(min(losses), max(losses))
        y = linear_axis(low, high, start=_BOTTOM, end=_TOP, max_ticks=8)
        _draw_frame(root, x, y)
        _draw_series(root, x, y, train, validation, target_loss)
    else:
        _text(root, (_LEFT + _RIGHT) / 2, (_TOP + _BOTTOM) / 2, "no loss yet", "soft middle")
    _draw_legend(root, train, validation, target_loss)
    ElementTree.indent(root)
    write_atomically(path, [ElementTree.tostring(root, encoding="utf-8") + b"\n"])


def smooth(points: Sequence[Point]) -> list[Point]:
    """Fit a straight line to each loss and those of the steps around it: its value there.

    Amid even steps that is their mean. The reach is narrower at the beginning, where a curve is
    steep, and one-sided at the end, where the last loss alone would say little.

    Args:
        points: (step, loss), sorted by step.
    """
    if not points:
        return []
    steps, losses = np.array(points, dtype=np.float64).T
    share = max(_SMOOTHING, _SMOOTHED_POINTS / len(steps))
    half = share * (steps[-1] - steps[0])
    reach = np.minimum(half, steps - steps[0])
    low = np.minimum(steps - reach, steps[-1] - 2 * half)  # as wide at the end as before it
    first = np.searchsorted(steps, low, side="left")
    end = np.searchsorted(steps, steps + reach, side="right")

    def mean(values: np.ndarray) -> np.ndarray:
        sums = np.concatenate([[0.0], np.cumsum(values)])
        return (sums[end] - sums[first]) / (end - first)

    means, x = mean(losses), steps - steps[-1]
    spread = mean(x * x) - mean(x) ** 2
    slopes = (mean(x * losses) - mean(x) * means) / np.where(spread > 0, spread, np.inf)
    fitted = means + slopes * (x - mean(x))
    # A spike must not bend the end of the line out of the losses that it goes through.
    lowest = np.minimum.accumulate(losses[::-1])[::-1][first]
    highest = np.maximum.accumulate(losses[::-1])[::-1][first]
    smoothed = np.clip(fitted, lowest, highest)
    return [(step, float(loss)) for (step, _), loss in zip(points, smoothed, strict=True)]


def _points(rows: Sequence[MetricsRow], kind: str) -> list[Point]:
    losses = [(row["step"], row.get("loss")) for row in rows if row["kind"] == kind]
    return sorted(
        (float(step), float(loss))
        for step, loss in losses
        if loss is not None and math.isfinite(loss)
    )


def _canvas(title: str) -> Element:
    root = Element(
        "svg",
        {
            "xmlns": "http://www.w3.org/2000/svg",
            "viewBox": f"0 0 {_WIDTH} {_HEIGHT}",
            "width": str(_WIDTH),
            "height": str(_HEIGHT),
            "role": "img",
        },
    )
    title = _NOT_XML.sub("\ufffd", title)
    SubElement(root, "title").text = f"loss of {title}"
    SubElement(root, "style").text = _STYLE
    SubElement(root, "rect", {"class": "back", "width": "100%", "height": "100%"})
    _text(root, _LEFT, 34, title, "ink title")
    return root


def _draw_frame(root: Element, x: Axis, y: Axis) -> None:
    for tick, label in zip(y.ticks, y.labels, strict=True):
        _line(root, _LEFT, y.place(tick), _RIGHT, y.place(tick), "grid")
        _text(root, _LEFT - 10, y.place(tick) + 4, label, "soft end")
    for tick, label in zip(x.ticks, x.labels, strict=True):
        _line(root, x.place(tick), _BOTTOM, x.place(tick), _BOTTOM + 5, "axis")
        _text(root, x.place(tick), _BOTTOM + 21, label, "soft middle")
    _line(root, _LEFT, _BOTTOM, _RIGHT, _BOTTOM, "axis")
    _text(root, (_LEFT + _RIGHT) / 2, _BOTTOM + 43, "optimizer steps", "soft middle")
    loss = _text(root, 0, 0, "loss, nats a token", "soft middle")
    loss.set("transform", f"translate(18 {(_TOP + _BOTTOM) / 2:g}) rotate(-90)")


def _draw_series(
    root: Element,
    x: Axis,
    y: Axis,
    train: Sequence[Point],
    validation: Sequence[Point],
    target_loss: float | None,
) -> None:
    def place(points: Sequence[Point]) -> list[Point]:
        return [(x.place(step), y.place(loss)) for step, loss in points]

    if target_loss is not None:
        _line(root, _LEFT, y.place(target_loss), _RIGHT, y.place(target_loss), "target")
    stride = math.ceil(len(train) / _MAX_RAW_POINTS) or 1
    _polyline(root, place(train[::stride]), "raw")
    _polyline(root, place(smooth(train)[::stride]), "smooth")
    _polyline(root, place(validation), "trend")
    for cx, cy in place(validation):
        SubElement(root, "circle", {"class": "dot", "cx": f"{cx:.2f}", "cy": f"{cy:.2f}", "r": "4"})


def _draw_legend(
    root: Element,
    train: Sequence[Point],
    validation: Sequence[Point],
    target_loss: float | None,
) -> None:
    entries = []
    if train:
        entries += [("raw", "training"), ("smooth", "training, smoothed")]
    if validation:
        entries.append(("dot", f"validation, last {validation[-1][1]:.4f}"))
    if target_loss is not None:
        entries.append(("target", f"target {target_loss:g}"))
    x, y = float(_LEFT), 58
    for mark, label in entries:
        if mark == "dot":
            _line(root, x, y, x + 22, y, "key trend")
            SubElement(root, "circle", {"class": mark, "cx": f"{x + 11:g}", "cy": f"{y}", "r": "4"})
        else:
            _line(root, x, y, x + 22, y, f"key {mark}")
        _text(root, x + 29, y + 4, label, "ink")
        x += 29 + _CHAR_WIDTH * len(label) + 22


def _polyline(root: Element, points: Sequence[Point], style: str) -> None:
    if len(points) > 1:
        text = " ".join(f"{x:.2f},{y:.2f}" for x, y in points)
        SubElement(root, "polyline", {"class": style, "points": text})


def _line(root: Element, x1: float, y1: float, x2: float, y2: float, style: str) -> None:
    ends = {"x1": x1, "y1": y1, "x2": x2, "y2": y2}
    places = {name: f"{value:.2f}" for name, value in ends.items()}
    SubElement(root, "line", {"class": style, **places})


def _text(root: Element, x: float, y: float, content: str, style: str) -> Element:
    element = SubElement(root, "text", {"class": style, "x": f"{x:.2f}", "y": f"{y:.2f}"})
    element.text = content
    return element
