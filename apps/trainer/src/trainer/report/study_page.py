"""Render the page of a study: findings, the outcome of every trial, then their curves.

Stage: study -> *one HTML file*. Not here: the parts of a page (`page.py`).
"""

from xml.etree import ElementTree

from accounting.plural import plural
from trainer.experiments import Study, best_first, points
from trainer.report.findings.gradient_norms import HEADS, gradient_cells
from trainer.report.findings.ranges import describe_range, range_rows
from trainer.report.findings.studies import describe_study
from trainer.report.history import RunHistory, read_history
from trainer.report.page import found_list, problems_list, render_document, render_table
from trainer.report.plots.ranges import draw_range
from trainer.report.plots.studies import draw_study
from trainer.report.plots.times import draw_against_time
from trainer.storage.run_directory import RunDirectory

_MAX_CURVES = 24  # more lines would be illegible


def render_study(study: Study, *, refresh_seconds: int | None = None) -> str:
    """Return the page of a study, which may still be running; see `render_page`."""
    histories, is_range = read_trials(study), study.kind == "lr-range"
    found = describe_range(study) if is_range else describe_study(study)
    opening = [found_list(found), problems_list(histories)]
    for _, title, drawing in study_pictures(study, histories):
        picture = ElementTree.tostring(drawing, encoding="unicode")
        opening.append(f'<h2>{title}</h2><figure class="wide">{picture}</figure>')
    rows = study_rows(study, histories)
    opening.append(render_table("All trials", rows, words=("trial", "status")))
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
    """Return the runs of a study that have started."""
    paths = (study.run_path(trial) for trial in study.trials)
    return [read_history(path) for path in paths if RunDirectory(path).config.exists()]


def study_pictures(
    study: Study, histories: list[RunHistory]
) -> list[tuple[str, str, ElementTree.Element]]:
    """Return the drawings that a study has data for: file name, title, `<svg>`."""
    if study.kind == "lr-range":
        drawn = [("range", "Loss against the learning rate", draw_range(study))]
    else:
        in_time = draw_against_time(study, histories)
        drawn = [
            ("trials", "Final losses", draw_study(study)),
            ("batch-sizes", "Batch sizes at their best settings, against training time", in_time),
        ]
    return [(name, title, drawing) for name, title, drawing in drawn if drawing is not None]


def study_rows(study: Study, histories: list[RunHistory]) -> list[list[str]]:
    """Return a head, then one row per point, best first; an unknown value is an empty text."""
    if study.kind == "lr-range":
        return range_rows(study)
    is_ablation = study.kind == "ablate"
    rows = [["trial", "validation loss", "standard deviation", "runs", "status"]]
    rows[0] += HEADS if is_ablation else ()
    by_name = {history.name: history for history in histories}
    for point in best_first(points(study)):
        spread = "" if point.spread is None else f"{point.spread:.4f}"
        row = [point.name, point.shown, spread, f"{len(point.outcomes)}", point.status]
        own = [by_name[trial.name] for trial in point.trials if trial.name in by_name]
        rows.append(row + (gradient_cells(own) if is_ablation else []))
    return rows
