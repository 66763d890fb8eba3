"""Draw pictures as SVG: canvas, text, lines, file.

Stage: inside every picture. Not here: what is drawn.
"""

from pathlib import Path
from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement

from bench.durable import write_atomically

Point = tuple[float, float]

_LIGHT = """
text { font: 12px system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif }
.title { font-size: 16px; font-weight: 600 }
.end { text-anchor: end } .middle { text-anchor: middle }
.back { fill: #ffffff } .ink { fill: #1f2328 } .soft { fill: #656d76 } .grid { stroke: #e4e7eb }
polyline { fill: none; stroke-width: 2.25; stroke-linejoin: round }
.dashed { stroke: #8c959f; stroke-dasharray: 6 4 }
"""
_DARK = """.back { fill: #0d1117 } .ink { fill: #e6edf3 } .soft { fill: #9198a1 }
.grid { stroke: #242a32 }
"""


def canvas(
    size: Point, *, name: str, light: str, dark: str, heading: str, at: Point = (16, 30)
) -> Element:
    """Return an empty picture, whose colours follow the reader's light or dark scheme.

    `name` is for screen readers. `light` holds CSS rules; `dark` changes some in a dark scheme.
    """
    style = f"{_LIGHT}{light}@media (prefers-color-scheme: dark) {{\n{_DARK}{dark}}}\n"
    width, height = (f"{side:g}" for side in size)
    sides = {"width": width, "height": height, "viewBox": f"0 0 {width} {height}"}
    root = Element("svg", {"xmlns": "http://www.w3.org/2000/svg", "role": "img", **sides})
    SubElement(root, "title").text = name
    SubElement(root, "style").text = style
    SubElement(root, "rect", {"class": "back", "width": "100%", "height": "100%"})
    text(root, *at, heading, "ink title")
    return root


def line(root: Element, start: Point, end: Point, style: str, **more: str) -> None:
    """Add a line, with more attributes."""
    ends = {"x1": start[0], "y1": start[1], "x2": end[0], "y2": end[1]}
    places = {name: f"{at:.1f}" for name, at in ends.items()}
    SubElement(root, "line", {"class": style, **more, **places})


def text(root: Element, x: float, y: float, content: str, style: str) -> None:
    """Add a text that begins, or by its style ends, at a place."""
    SubElement(root, "text", {"class": style, "x": f"{x:.1f}", "y": f"{y:.1f}"}).text = content


def write_svg(root: Element, path: Path) -> None:
    """Write a picture, complete or absent."""
    ElementTree.indent(root)
    write_atomically(path, ElementTree.tostring(root, encoding="utf-8") + b"\n")
