"""Export plots and tables for papers: SVG, PNG, and the formats of `TABLES`.

Stage: RunHistory -> *a folder of files*. PNG needs the extra `png`. Not here: the page (`page.py`).
"""

import csv
import io
from collections.abc import Callable, Sequence
from importlib.resources import files
from pathlib import Path
from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement

from trainer.command_hints import install_extra
from trainer.report.history import RunHistory
from trainer.report.plots.series import build_plots
from trainer.report.plots.svg import WIDTH, draw_plot
from trainer.report.table import NUMBERS, table_rows
from trainer.storage.durable import write_atomically
from trainer.storage.run_directory import write_text_atomically

_TITLE = 24  # pixels above the drawing
_PNG_WIDTH = 2 * WIDTH  # pixels; sharp at a column's width in print


def write_exports(
    histories: Sequence[RunHistory], folder: Path, *, png: bool = False, x_axis: str = "steps"
) -> list[Path]:
    """Write every plot as SVG (and PNG) and the table of runs in every format.

    Args:
        histories: at least one run.
        folder: created if missing; files of the same names are replaced.
        png: whether to write PNG too.
        x_axis: of the plots: steps, tokens or seconds.

    Returns:
        The files written.

    Raises:
        ValueError: PNG was requested, but its package is not installed.
    """
    names = [history.name for history in histories]
    key = names if len(names) > 1 else ()
    drawn = [
        (plot.key, f"{plot.title}, {plot.unit}", draw_plot(plot, x_axis=x_axis, names=key))
        for plot in build_plots(histories)
    ]
    rows = table_rows(histories)
    columns = "l" + "r" * len(NUMBERS) + "l" * (len(rows[0]) - 1 - len(NUMBERS))
    return [
        *write_pictures(drawn, folder, png=png),
        *write_table(rows, folder, name="runs", columns=columns),
    ]


def write_pictures(
    drawn: Sequence[tuple[str, str, Element]], folder: Path, *, png: bool = False
) -> list[Path]:
    """Write drawings, each given as file name, title and `<svg>`; see `write_exports`."""
    render = _png_renderer() if png else None
    written = []
    for name, title, root in drawn:
        svg = standalone_svg(root, title=title)
        written.append(folder / f"{name}.svg")
        write_text_atomically(written[-1], svg)
        if render is not None:
            written.append(folder / f"{name}.png")
            write_atomically(written[-1], [render(svg)])
    return written


def write_table(rows: list[list[str]], folder: Path, *, name: str, columns: str) -> list[Path]:
    """Write a table in every format; `columns` is LaTeX's column specification."""
    written = []
    for suffix, render in TABLES.items():
        written.append(folder / f"{name}.{suffix}")
        write_text_atomically(written[-1], render(rows, columns))
    return written


def standalone_svg(root: Element, *, title: str) -> str:
    """Return a drawing as a complete file, in light colours, with its own style and title."""
    root.set("xmlns", "http://www.w3.org/2000/svg")
    height = int(float(root.get("viewBox", "").split()[-1])) + _TITLE
    root.set("viewBox", f"0 {-_TITLE} {WIDTH} {height}")
    root.set("width", str(WIDTH))
    root.set("height", str(height))
    for hidden in [group for group in root.iter("g") if group.get("visibility") == "hidden"]:
        for parent in root.iter():
            if hidden in list(parent):
                parent.remove(hidden)
    style = SubElement(root, "style")
    style.text = files("trainer.report").joinpath("paper.css").read_text(encoding="utf-8")
    SubElement(root, "text", {"x": "10", "y": "-6"}).text = title
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode") + "\n"


def _png_renderer() -> Callable[[str], bytes]:
    try:
        from resvg_py import svg_to_bytes
    except ImportError as error:
        raise ValueError(
            f'PNG needs the extra "png", which is not installed; run {install_extra("png")}, or '
            "omit --png"
        ) from error
    return lambda svg: bytes(svg_to_bytes(svg_string=svg, width=_PNG_WIDTH, background="white"))


def _csv(rows: list[list[str]], _: str) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()


def _markdown(rows: list[list[str]], _: str) -> str:
    def line(cells: list[str]) -> str:
        return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |\n"

    head, *body = rows
    return line(head) + line(["---"] * len(head)) + "".join(map(line, body))


_LATEX = {"&": r"\&", "%": r"\%", "_": r"\_", "#": r"\#", "$": r"\$", "{": r"\{", "}": r"\}"}
_LATEX |= {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}


def _latex(rows: list[list[str]], columns: str) -> str:
    def line(cells: list[str]) -> str:
        return " & ".join("".join(_LATEX.get(c, c) for c in cell) for cell in cells) + r" \\" + "\n"

    head, *body = rows
    return (
        f"\\begin{{tabular}}{{{columns}}}\n\\toprule\n{line(head)}\\midrule\n"
        f"{''.join(map(line, body))}\\bottomrule\n\\end{{tabular}}\n"
    )


TABLES: dict[str, Callable[[list[list[str]], str], str]] = {
    "csv": _csv,
    "md": _markdown,
    "tex": _latex,
}
"""How a table, head first, becomes text, by the suffix of its file."""
