"""Write the report and the exports of a run or study.

Stage: run or study directory -> *report.html*, exports.
"""

from pathlib import Path

from trainer.experiments import is_study, load_study
from trainer.report.export import write_exports, write_pictures, write_table
from trainer.report.history import read_history
from trainer.report.page import render_page
from trainer.report.study_page import read_trials, render_study, study_pictures, study_rows
from trainer.storage.run_directory import write_text_atomically


def write_report(
    path: Path,
    *,
    output: Path | None = None,
    export: Path | None = None,
    png: bool = False,
    x_axis: str = "steps",
) -> list[Path]:
    """Write the page of a run or study, and optionally its plots and tables for papers.

    Args:
        path: a run directory or a study.
        output: file of the page; None: `report.html` in `path`.
        export: folder for plots and tables; None: no exports.
        png: see `write_exports`.
        x_axis: see `write_exports`.

    Returns:
        The files written.

    Raises:
        ValueError: `path` is neither, is damaged, or has nothing to export.
    """
    output = output or path / "report.html"
    write_text_atomically(output, render_path(path))
    if export is None:
        return [output]
    if not is_study(path):
        return [output, *write_exports([read_history(path)], export, png=png, x_axis=x_axis)]
    study = load_study(path)
    histories = read_trials(study)
    if not histories:
        raise ValueError(f"no trial of {path} has started; run the study before exporting it")
    rows = study_rows(study, histories)
    return [
        output,
        *write_exports(histories, export, png=png, x_axis=x_axis),
        *write_pictures(study_pictures(study, histories), export, png=png),
        *write_table(rows, export, name="study", columns="l" + "r" * (len(rows[0]) - 1)),
    ]


def render_path(path: Path, *, refresh_seconds: int | None = None) -> str:
    """Return the page of a run or study.

    Raises:
        ValueError: `path` is neither, or is damaged.
    """
    if is_study(path):
        return render_study(load_study(path), refresh_seconds=refresh_seconds)
    return render_page([read_history(path)], refresh_seconds=refresh_seconds)
