"""How do the ratios look?

Stage: rows -> *SVG*, a bar a ratio on a logarithmic axis, with marks at `must` and `aim`; colours
follow the reader's light or dark scheme. Not here: rows that are no ratio against a peer.
"""

import math
from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement

from bench.durable import write_atomically
from bench.measurement.rows import Row

_LEFT, _RIGHT, _TOP, _PITCH, _BAR = 400, 860, 64, 24, 14
_WIDTH = 940

_STYLE = """
text { font: 12px system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif }
.title { font-size: 16px; font-weight: 600 }
.end { text-anchor: end } .middle { text-anchor: middle }
.back { fill: #ffffff } .ink { fill: #1f2328 } .soft { fill: #656d76 }
.grid { stroke: #e4e7eb } .one { stroke: #8c959f }
.aim { fill: #2b8a3e } .must { fill: #2f6fde } .missed { fill: #d9480f } .reported { fill: #8c959f }
.mark { stroke: #1f2328; stroke-width: 1.5 }
@media (prefers-color-scheme: dark) {
.back { fill: #0d1117 } .ink { fill: #e6edf3 } .soft { fill: #9198a1 }
.grid { stroke: #242a32 } .one { stroke: #656c76 }
.aim { fill: #51cf66 } .must { fill: #6ea8fe } .missed { fill: #ff922b } .reported { fill: #656c76 }
.mark { stroke: #e6edf3 }
}
"""


def write_chart(rows: Sequence[Row], path: Path) -> None:
    """Draw the ratios against peers, complete or absent."""
    drawn = [row for row in rows if row.figure.unit == "x" and row.figure.is_at_least and row.value]
    height = _TOP + _PITCH * len(drawn) + 40
    root = _canvas(height)
    most = max([2.0, *(row.value for row in drawn), *(row.figure.aim or 1 for row in drawn)])
    least = min([1.0, *(row.value for row in drawn)])
    scale = (_RIGHT - _LEFT) / math.log(most / least)

    def x(value: float) -> float:
        return _LEFT + math.log(value / least) * scale

    for tick in (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500):
        if least <= tick <= most:
            _line(root, x(tick), _TOP - 6, height - 36, "one" if tick == 1 else "grid")
            _text(root, x(tick), height - 18, f"{tick:g}x", "soft middle")
    for index, row in enumerate(drawn):
        _draw_bar(root, row, _TOP + _PITCH * index, x(1), x(row.value))
        for target in (row.figure.must, row.figure.aim):
            if target is not None and row.is_judged:
                y = _TOP + _PITCH * index
                _line(root, x(target), y, y + _BAR, "mark")
    ElementTree.indent(root)
    write_atomically(path, ElementTree.tostring(root, encoding="utf-8") + b"\n")


def _draw_bar(root: Element, row: Row, y: float, one: float, end: float) -> None:
    threads = f"{row.num_threads} thr" if row.num_threads else ""
    words = filter(None, (row.figure.what, row.detail, row.corpus, threads))
    _text(root, _LEFT - 8, y + 11, ", ".join(words), "ink end")
    left, right = min(one, end), max(one, end)
    size = {"x": f"{left:.1f}", "y": f"{y}", "width": f"{right - left:.1f}", "height": f"{_BAR}"}
    SubElement(root, "rect", {"class": row.verdict, **size})
    _text(root, _WIDTH - 16, y + 11, f"{row.value:.3g}x", "ink end")


def _canvas(height: int) -> Element:
    size = {"width": str(_WIDTH), "height": str(height), "viewBox": f"0 0 {_WIDTH} {height}"}
    root = Element("svg", {"xmlns": "http://www.w3.org/2000/svg", "role": "img", **size})
    SubElement(root, "title").text = "times faster than each peer"
    SubElement(root, "style").text = _STYLE
    SubElement(root, "rect", {"class": "back", "width": "100%", "height": "100%"})
    _text(root, 16, 30, "Times faster than each peer; marks: must and aim", "ink title")
    return root


def _line(root: Element, x: float, y1: float, y2: float, style: str) -> None:
    ends = {"x1": f"{x:.1f}", "y1": f"{y1:.1f}", "x2": f"{x:.1f}", "y2": f"{y2:.1f}"}
    SubElement(root, "line", {"class": style, **ends})


def _text(root: Element, x: float, y: float, content: str, style: str) -> None:
    SubElement(root, "text", {"class": style, "x": f"{x:.1f}", "y": f"{y:.1f}"}).text = content
