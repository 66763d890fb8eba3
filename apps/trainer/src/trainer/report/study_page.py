"""Write the page of a study: what was found, how every trial ended, then the curves of all.

Stage: study -> *one HTML file*. Not here: what a page is made of (`page.py`).
"""

from html import escape
from xml.etree import ElementTree

from trainer.experiments import Study, best_first, points
from trainer.report.history import RunHistory, read_history
from trainer.report.page import found_list, problems_list, render_document
from trainer.report.range_drawing import draw_range
from trainer.report.range_findings import describe_range, range_rows
from trainer.report.study_drawing import draw_study
from trainer.report.study_findings import describe_study
from trainer.run_directory import RunDirectory

_MAX_CURVES = 24  # more lines than this tell nothing


def render_study(study: Study, *, refresh_seconds: int | None = None) -> str:
    """Return the page of a study.

    Args:
        study: may be going on.
        refresh_seconds: how often the page fetches itself anew where it is served; None: never.
    """
    histories, is_range = read_trials(study), study.kind == "lr-range"
    found = describe_range(study) if is_range else describe_study(study)
    opening = [found_list(found), problems_list(histories)]
    drawing = draw_range(study) if is_range else draw_study(study)
    if drawing is not None:
        picture = ElementTree.tostring(drawing, encoding="unicode")
        title = "Loss against the learning rate" if is_range else "How the trials ended"
        opening.append(f'<h2>{title}</h2><figure class="wide">{picture}</figure>')
    opening.append(_table(range_rows(study)) if is_range else _table(_rows(study)))
    if len(histories) > _MAX_CURVES:
        opening.append(f"<p>Curves: the first {_MAX_CURVES} of {len(histories)} trials.</p>")
    kind = {"sweep": "Sweep", "ablate": "Ablations", "lr-range": "Range test"}[study.kind]
    return render_document(
        f"{kind}: {study.path.name}",
        subtitle=f"preset {study.base.preset}, {len(study.trials)} trials, "
        f"{study.base.total_tokens:,} training tokens in the baseline",
        opening="".join(opening),
        histories=histories[:_MAX_CURVES],
        refresh_seconds=refresh_seconds,
    )


def read_trials(study: Study) -> list[RunHistory]:
    """Return the runs of a study that have begun."""
    paths = (study.run_path(trial) for trial in study.trials)
    return [read_history(path) for path in paths if RunDirectory(path).config.exists()]


def _rows(study: Study) -> list[list[str]]:
    rows = [["trial", "validation loss", "spread", "runs", "status"]]
    for point in best_first(points(study)):
        mean = "" if point.mean is None else f"{point.mean:.4f}"
        spread = "" if point.spread is None else f"{point.spread:.4f}"
        rows.append([point.name, mean, spread, f"{len(point.outcomes)}", point.status])
    return rows


def _table(rows: list[list[str]]) -> str:
    """Return a table; numbers are set to the right, the first row is its head."""
    lines = []
    for index, row in enumerate(rows):
        tag = "td" if index else "th"
        cells = "".join(
            f'<{tag} class="{_style(name)}">{escape(cell) or "&#8211;"}</{tag}>'
            for name, cell in zip(rows[0], row, strict=True)
        )
        lines.append(f"<tr>{cells}</tr>")
    return f'<h2>All trials</h2><div class="scroll"><table>{"".join(lines)}</table></div>'


def _style(column: str) -> str:
    return "name" if column in ("trial", "status") else "number"
