"""Exports: files that papers can use as they are."""

import csv
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import pytest

from trainer.cli.report_arguments import parse_report
from trainer.report import read_history, write_exports
from trainer.report.plots.svg import X_AXES


def test_plots_and_tables_are_written(write_run: Callable[..., Path], tmp_path: Path) -> None:
    histories = [read_history(write_run("a_1")), read_history(write_run("b", seed=1, end=3.5))]
    written = write_exports(histories, tmp_path / "out")
    assert {path.name for path in written} == {path.name for path in (tmp_path / "out").iterdir()}
    rows = list(csv.reader((tmp_path / "out" / "runs.csv").read_text().splitlines()))
    assert [row[:2] for row in rows] == [
        ["run", "validation loss"],
        ["a_1", "3.1000"],
        ["b", "3.6000"],
    ]
    assert (tmp_path / "out" / "runs.md").read_text().splitlines()[2].startswith("| a_1 | 3.1000 |")
    latex = (tmp_path / "out" / "runs.tex").read_text()
    assert r"a\_1 & 3.1000" in latex and latex.endswith("\\end{tabular}\n")


def test_a_plot_stands_alone(write_run: Callable[..., Path], tmp_path: Path) -> None:
    histories = [read_history(write_run("a")), read_history(write_run("b", seed=1))]
    write_exports(histories, tmp_path)
    root = ElementTree.parse(tmp_path / "loss.svg").getroot()
    texts = [element.text for element in root.iter("{http://www.w3.org/2000/svg}text")]
    assert {"a", "b", "Loss, nats per token", "optimizer steps"} <= set(texts)
    assert not [element for element in root.iter() if element.get("visibility") == "hidden"]


@pytest.mark.parametrize("x_axis", X_AXES)
def test_a_plot_is_drawn_against_what_is_asked_for(
    x_axis: str, write_run: Callable[..., Path], tmp_path: Path
) -> None:
    write_exports([read_history(write_run("a"))], tmp_path, x_axis=x_axis)
    root = ElementTree.parse(tmp_path / "loss.svg").getroot()
    texts = [element.text or "" for element in root.iter("{http://www.w3.org/2000/svg}text")]
    assert [text.startswith(X_AXES[x_axis]) for text in texts].count(True) == 1
    others = [title for name, title in X_AXES.items() if name != x_axis]
    assert not any(text.startswith(title) for text in texts for title in others)


def test_png_is_drawn_at_twice_the_size(write_run: Callable[..., Path], tmp_path: Path) -> None:
    pytest.importorskip("resvg_py", reason="needs the extra png")
    write_exports([read_history(write_run("a"))], tmp_path, png=True)
    data = (tmp_path / "loss.png").read_bytes()
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    assert int.from_bytes(data[16:20]) == 1440


@pytest.mark.parametrize("options", [["--png"], ["--x-axis", "tokens"]])
def test_options_of_the_folder_need_one(options: list[str]) -> None:
    with pytest.raises(ValueError, match=f"{options[0]} belongs to --export FOLDER"):
        parse_report(["runs/a", *options])
    assert parse_report(["runs/a", *options, "--export", "out"]).export == Path("out")
