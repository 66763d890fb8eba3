"""Draw the ratios against peers as bars.

Stage: rows -> *SVG*, one bar per ratio on a logarithmic axis, with marks at `must` and `aim`.
Colours follow the reader's light or dark scheme. Not here: rows without a peer.
"""

import math
from collections.abc import Sequence
from pathlib import Path
from xml.etree.ElementTree import Element, SubElement

from bench.display.svg import canvas, line, text, write_svg
from bench.measurement.rows import Row

_LEFT, _RIGHT, _TOP, _PITCH, _BAR = 400, 860, 64, 24, 14
_WIDTH = 940

_LIGHT = """.one { stroke: #8c959f }
.aim { fill: #2b8a3e } .must { fill: #2f6fde } .missed { fill: #d9480f } .reported { fill: #8c959f }
.mark { stroke: #1f2328; stroke-width: 1.5 }
"""
_DARK = """.one { stroke: #656c76 }
.aim { fill: #51cf66 } .must { fill: #6ea8fe } .missed { fill: #ff922b } .reported { fill: #656c76 }
.mark { stroke: #e6edf3 }
"""


def write_chart(rows: Sequence[Row], path: Path) -> None:
    """Draw the ratios against peers; the file is complete or absent."""
    ratios = (row for row in rows if row.figure.unit == "x" and row.figure.is_at_least)
    drawn = [(row, value) for row in ratios if (value := row.value)]
    height = _TOP + _PITCH * len(drawn) + 40
    root = canvas(
        (_WIDTH, height),
        name="times faster than each peer",
        light=_LIGHT,
        dark=_DARK,
        heading="Times faster than each peer; marks: must and aim",
    )
    most = max([2.0, *(value for _, value in drawn), *(row.figure.aim or 1 for row, _ in drawn)])
    least = min([1.0, *(value for _, value in drawn)])
    scale = (_RIGHT - _LEFT) / math.log(most / least)

    def x(value: float) -> float:
        return _LEFT + math.log(value / least) * scale

    for tick in (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500):
        if least <= tick <= most:
            style = "one" if tick == 1 else "grid"
            line(root, (x(tick), _TOP - 6), (x(tick), height - 36), style)
            text(root, x(tick), height - 18, f"{tick:g}x", "soft middle")
    for index, (row, value) in enumerate(drawn):
        _draw_bar(root, row, _TOP + _PITCH * index, x(1), x(value))
        for target in (row.figure.must, row.figure.aim):
            if target is not None and row.is_judged:
                y = _TOP + _PITCH * index
                line(root, (x(target), y), (x(target), y + _BAR), "mark")
    write_svg(root, path)


def _draw_bar(root: Element, row: Row, y: float, one: float, end: float) -> None:
    threads = f"{row.num_threads} thr" if row.num_threads else ""
    words = filter(None, (row.figure.what, row.detail, row.corpus, threads))
    text(root, _LEFT - 8, y + 11, ", ".join(words), "ink end")
    left, right = min(one, end), max(one, end)
    size = {"x": f"{left:.1f}", "y": f"{y}", "width": f"{right - left:.1f}", "height": f"{_BAR}"}
    SubElement(root, "rect", {"class": row.verdict, **size})
    text(root, _WIDTH - 16, y + 11, f"{row.value:.3g}x", "ink end")
