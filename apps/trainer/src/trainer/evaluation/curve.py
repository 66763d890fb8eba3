"""Draw the loss of a run against its steps as a self-contained SVG file.

Stage: metrics -> *loss.svg*. The raw training loss is thin, the smoothed one bold, the validation
loss dotted; colours follow the viewer's light or dark scheme. Not here: several runs (`report/`).
"""

import math
import re
from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement

import numpy as np

from trainer.evaluation.axes import (
    Axis,
    Point,
    dot,
    draw_frame,
    line,
    linear_axis,
    polyline,
    text,
    with_margin,
)
from trainer.monitoring.metrics import MetricsRow
from trainer.storage.durable import write_atomically

_WIDTH, _HEIGHT = 880, 480
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 848, 84, 424
_MAX_RAW_POINTS = 2000  # more would be thinner than a pixel
_SMOOTHING = 1 / 50  # half-width of the moving mean, as a share of the steps
_SMOOTHED_POINTS = 3  # minimum half-width, in points: 1 would smooth nothing
_CHAR_WIDTH = 6.5  # pixels, a generous estimate for the legend's font
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
    """Write the loss curve of a run from its metrics, skipping losses that are not finite.

    The file at `path` is complete or absent; `target_loss`, in nats per token, is a dashed line.
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
        draw_frame(root, x, y, title="optimizer steps")
        loss = text(root, 0, 0, "loss, nats per token", "soft middle")
        loss.set("transform", f"translate(18 {(_TOP + _BOTTOM) / 2:g}) rotate(-90)")
        _draw_series(root, x, y, train, validation, target_loss)
    else:
        text(root, (_LEFT + _RIGHT) / 2, (_TOP + _BOTTOM) / 2, "no loss yet", "soft middle")
    _draw_legend(root, train, validation, target_loss)
    ElementTree.indent(root)
    write_atomically(path, [ElementTree.tostring(root, encoding="utf-8") + b"\n"])


def smooth(points: Sequence[Point]) -> list[Point]:
    """Replace each loss by the value of a straight line fitted to it and its neighbours.

    With evenly spaced steps that is their mean. The window is narrower at the beginning, where the
    curve is steep, and one-sided at the end, where the last loss is noisy.

    Args:
        points: (step, loss), sorted by step.
    """
    if not points:
        return []
    steps, losses = np.array(points, dtype=np.float64).T
    share = max(_SMOOTHING, _SMOOTHED_POINTS / len(steps))
    half = share * (steps[-1] - steps[0])
    reach = np.minimum(half, steps - steps[0])
    low = np.minimum(steps - reach, steps[-1] - 2 * half)  # full width at the end too
    first = np.searchsorted(steps, low, side="left")
    end = np.searchsorted(steps, steps + reach, side="right")

    def mean(values: np.ndarray) -> np.ndarray:
        sums = np.concatenate([[0.0], np.cumsum(values)])
        return (sums[end] - sums[first]) / (end - first)

    means, x = mean(losses), steps - steps[-1]
    spread = mean(x * x) - mean(x) ** 2
    slopes = (mean(x * losses) - mean(x) * means) / np.where(spread > 0, spread, np.inf)
    fitted = means + slopes * (x - mean(x))
    # A spike must not push the end of the fitted line outside the range of its losses.
    lowest = np.minimum.accumulate(losses[::-1])[::-1][first]
    highest = np.maximum.accumulate(losses[::-1])[::-1][first]
    smoothed = np.clip(fitted, lowest, highest)
    return [(step, float(loss)) for (step, _), loss in zip(points, smoothed, strict=True)]


def _points(rows: Sequence[MetricsRow], kind: str) -> list[Point]:
    return sorted(
        (float(row["step"]), float(loss))
        for row in rows
        if row["kind"] == kind and (loss := row.get("loss")) is not None and math.isfinite(loss)
    )


def _canvas(title: str) -> Element:
    root = Element("svg", {"xmlns": "http://www.w3.org/2000/svg", "role": "img"})
    root.set("viewBox", f"0 0 {_WIDTH} {_HEIGHT}")
    root.set("width", str(_WIDTH))
    root.set("height", str(_HEIGHT))
    title = _NOT_XML.sub("\ufffd", title)
    SubElement(root, "title").text = f"loss of {title}"
    SubElement(root, "style").text = _STYLE
    SubElement(root, "rect", {"class": "back", "width": "100%", "height": "100%"})
    text(root, _LEFT, 34, title, "ink title")
    return root


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
        line(root, _LEFT, y.place(target_loss), _RIGHT, y.place(target_loss), "target")
    stride = math.ceil(len(train) / _MAX_RAW_POINTS) or 1
    for style, points in (
        ("raw", train[::stride]),
        ("smooth", smooth(train)[::stride]),
        ("trend", validation),
    ):
        polyline(root, place(points), style)
    for cx, cy in place(validation):
        dot(root, cx, cy, "dot")


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
        line(root, x, y, x + 22, y, f"key {'trend' if mark == 'dot' else mark}")
        if mark == "dot":
            dot(root, x + 11, y, mark)
        text(root, x + 29, y + 4, label, "ink")
        x += 29 + _CHAR_WIDTH * len(label) + 22
