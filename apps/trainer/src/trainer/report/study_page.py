"""Write the page of a study: what was found, how every trial ended, then the curves of all.

Stage: study -> *one HTML file*. Not here: what a page is made of (`page.py`).
"""

from html import escape
from xml.etree import ElementTree

from trainer.experiments import Study, best_first, points
from trainer.report.history import RunHistory, read_history
from trainer.report.page import found_list, problems_list, render_document
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
    histories = read_trials(study)
    opening = [found_list(describe_study(study)), problems_list(histories)]
    drawing = draw_study(study)
    if drawing is not None:
        picture = ElementTree.tostring(drawing, encoding="unicode")
        opening.append(f'<h2>How the trials ended</h2><figure class="wide">{picture}</figure>')
    opening.append(_table(study))
    if len(histories) > _MAX_CURVES:
        opening.append(f"<p>Curves: the first {_MAX_CURVES} of {len(histories)} trials.</p>")
    kind = {"sweep": "Sweep", "ablate": "Ablations"}[study.kind]
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


def _table(study: Study) -> str:
    heads = ("trial", "validation loss", "spread", "runs", "status")
    styles = ("name", "number", "number", "number", "name")
    cells = (f'<th class="{s}">{t}</th>' for s, t in zip(styles, heads, strict=True))
    rows = [f"<tr>{''.join(cells)}</tr>"]
    for point in best_first(points(study)):
        mean = "" if point.mean is None else f"{point.mean:.4f}"
        spread = "" if point.spread is None else f"{point.spread:.4f}"
        cells = [point.name, mean, spread, f"{len(point.outcomes)}", point.status]
        row = "".join(
            f'<td class="{style}">{escape(cell) or "&#8211;"}</td>'
            for style, cell in zip(styles, cells, strict=True)
        )
        rows.append(f"<tr>{row}</tr>")
    return f'<h2>All trials</h2><div class="scroll"><table>{"".join(rows)}</table></div>'
