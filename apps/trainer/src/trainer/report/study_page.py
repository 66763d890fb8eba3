"""Write the page of a study: what was found, how every trial ended, then the curves of all.

Stage: study -> *one HTML file*. Not here: what a page is made of (`page.py`).
"""

from html import escape
from xml.etree import ElementTree

from accounting.plural import plural
from trainer.experiments import Study, best_first, points
from trainer.report.findings.gradient_norms import HEADS, gradient_cells
from trainer.report.findings.ranges import describe_range, range_rows
from trainer.report.findings.studies import describe_study
from trainer.report.history import RunHistory, read_history
from trainer.report.page import found_list, problems_list, render_document
from trainer.report.plots.ranges import draw_range
from trainer.report.plots.studies import draw_study
from trainer.report.plots.times import draw_against_time
from trainer.storage.run_directory import RunDirectory

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
    for _, title, drawing in study_pictures(study, histories):
        picture = ElementTree.tostring(drawing, encoding="unicode")
        opening.append(f'<h2>{title}</h2><figure class="wide">{picture}</figure>')
    opening.append(_table(study_rows(study, histories)))
    if len(histories) > _MAX_CURVES:
        opening.append(
            f"<p>Curves: the first {_MAX_CURVES} of {plural(len(histories), 'trial')}.</p>"
        )
    kind = {"sweep": "Sweep", "ablate": "Ablations", "lr-range": "Range test"}[study.kind]
    where = "at most" if is_range else "in the baseline"
    return render_document(
        f"{kind}: {study.path.name}",
        subtitle=f"preset {study.base.preset}, {plural(len(study.trials), 'trial')}, "
        f"{plural(study.base.total_tokens, 'training token')} {where}",
        opening="".join(opening),
        histories=histories[:_MAX_CURVES],
        refresh_seconds=refresh_seconds,
    )


def read_trials(study: Study) -> list[RunHistory]:
    """Return the runs of a study that have begun."""
    paths = (study.run_path(trial) for trial in study.trials)
    return [read_history(path) for path in paths if RunDirectory(path).config.exists()]


def study_pictures(
    study: Study, histories: list[RunHistory]
) -> list[tuple[str, str, ElementTree.Element]]:
    """Return the drawings that a study has numbers for: file name, title, `<svg>`."""
    if study.kind == "lr-range":
        drawn = [("range", "Loss against the learning rate", draw_range(study))]
    else:
        in_time = draw_against_time(study, histories)
        drawn = [
            ("trials", "How the trials ended", draw_study(study)),
            ("batch-sizes", "Batch sizes, at their best, against time", in_time),
        ]
    return [(name, title, drawing) for name, title, drawing in drawn if drawing is not None]


def study_rows(study: Study, histories: list[RunHistory]) -> list[list[str]]:
    """Return a head, then a row a point, best first; an unknown value is an empty text."""
    if study.kind == "lr-range":
        return range_rows(study)
    is_ablation = study.kind == "ablate"
    rows = [["trial", "validation loss", "spread", "runs", "status"]]
    rows[0] += HEADS if is_ablation else ()
    by_name = {history.name: history for history in histories}
    for point in best_first(points(study)):
        spread = "" if point.spread is None else f"{point.spread:.4f}"
        row = [point.name, point.shown, spread, f"{len(point.outcomes)}", point.status]
        own = [by_name[trial.name] for trial in point.trials if trial.name in by_name]
        rows.append(row + (gradient_cells(own) if is_ablation else []))
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
