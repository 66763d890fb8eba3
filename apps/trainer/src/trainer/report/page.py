"""Render the page of one or several runs: findings, figures, plots, samples, settings.

Stage: RunHistory -> *one HTML file* that loads nothing. It is complete without its script, which
adds other axes, values under the pointer and switches for runs. Not here: exports (`export.py`).
"""

import json
from collections.abc import Collection, Iterator, Sequence
from html import escape
from importlib.resources import files
from xml.etree import ElementTree

from accounting.plural import plural
from trainer.report.estimates import HEADS, estimate_rows
from trainer.report.findings.runs import describe_run, describe_runs
from trainer.report.history import RunHistory
from trainer.report.plots.series import Plot, build_plots
from trainer.report.plots.svg import NUM_COLOURS, colour_of, draw_plot, x_axes, y_axes
from trainer.report.table import NUMBERS, numbers, ranked_indices, table_rows

_NONE = "&#8211;"
_MAX_PROBLEMS = 20


def render_page(histories: Sequence[RunHistory], *, refresh_seconds: int | None = None) -> str:
    """Return the page of one run, or of several compared.

    Args:
        histories: at least one; the first ones get the most distinct colours.
        refresh_seconds: how often a served page reloads itself; None: never.

    Raises:
        ValueError: there are no runs.
    """
    if not histories:
        raise ValueError("no runs given, but a report needs at least one run directory")
    several = len(histories) > 1
    return render_document(
        f"{plural(len(histories), 'run')} compared" if several else histories[0].name,
        subtitle=_subtitle(histories),
        opening="".join(_opening(histories)),
        histories=histories,
        refresh_seconds=refresh_seconds,
    )


def render_document(
    title: str,
    *,
    subtitle: str,
    opening: str,
    histories: Sequence[RunHistory],
    refresh_seconds: int | None = None,
) -> str:
    """Return a whole page: the `opening`, which is HTML, then curves, samples and settings of runs.

    See `render_page` for `refresh_seconds`.
    """
    flags = ' data-several="1"' if len(histories) > 1 else ""
    flags += f' data-refresh="{refresh_seconds}"' if refresh_seconds else ""
    parts = [
        "<!doctype html>",
        '<html lang="en">',
        '<head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{escape(title)}</title>",
        f"<style>\n{_asset('page.css')}</style></head>",
        f"<body{flags}>",
        f'<header><h1>{escape(title)}</h1><p class="soft">{escape(subtitle)}</p></header>',
        "<main>",
        f"<section data-live>{opening}</section>",
        *(_plots(histories) if histories else ()),
        f"<section data-live>{''.join(_closing(histories)) if histories else ''}</section>",
        "</main>",
        "<footer>Loss: mean cross entropy in nats per token. Smoothed lines: a moving average over "
        "1/25 of the run, narrower at the ends.</footer>",
        f"<script>\n{_asset('page.js')}</script>",
        "</body></html>",
        "",
    ]
    return "\n".join(parts)


def _asset(name: str) -> str:
    return files("trainer.report").joinpath(name).read_text(encoding="utf-8")


def _subtitle(histories: Sequence[RunHistory]) -> str:
    if len(histories) > 1:
        return ", ".join(history.name for history in histories)
    config = histories[0].config
    return (
        f"preset {config.preset}, seed {config.seed}, {plural(config.model.num_layers, 'layer')}, "
        f"width {config.model.d_model}, context {config.model.context_length}, "
        f"{plural(config.tokens_per_step, 'token')} per step"
    )


def _opening(histories: Sequence[RunHistory]) -> Iterator[str]:
    yield found_list(describe_runs(histories) if len(histories) > 1 else describe_run(histories[0]))
    yield problems_list(histories)
    if len(histories) > 1:
        head, *body = table_rows(histories)
        chips = [_chip(index) for index in ranked_indices(histories)]
        yield render_table("Runs", [head, *body], words=set(head) - set(NUMBERS), chips=chips)
        return
    yield _figures(histories[0])
    if rows := estimate_rows(histories[0]):
        yield render_table("Expected and measured", [list(HEADS), *rows], words=HEADS[:1])


def found_list(sentences: Sequence[str]) -> str:
    """Return the findings as HTML; empty if there are none."""
    items = "".join(f"<li>{escape(sentence)}</li>" for sentence in sentences)
    return f'<h2>Findings</h2><ul class="findings">{items}</ul>' if items else ""


def problems_list(histories: Sequence[RunHistory]) -> str:
    """Return the number of unreadable parts and the first of them; empty if there are none."""
    lines = [f"{history.name}: {line}" for history in histories for line in history.problems]
    if not lines:
        return ""
    shown = lines[:_MAX_PROBLEMS]
    if len(lines) > len(shown):
        shown.append(f"and {len(lines) - len(shown)} more")
    items = "".join(f"<li>{escape(line)}</li>" for line in shown)
    head = f"<h2>Could not be read ({len(lines)})</h2>"
    return f'{head}<ul class="findings problems">{items}</ul>'


def _figures(history: RunHistory) -> str:
    if history.last_row is None:
        return "<p>No numbers yet.</p>"
    shown: dict[str, str] = dict(zip(NUMBERS, numbers(history), strict=True))
    if history.summary is not None and history.summary.tokens_per_second:
        shown["tokens per second"] = f"{history.summary.tokens_per_second:,.0f}"
    cells = (
        f"<div><b>{value}</b><span>{name}</span></div>" for name, value in shown.items() if value
    )
    return f'<div class="figures">{"".join(cells)}</div>'


def render_table(
    title: str, rows: Sequence[list[str]], *, words: Collection[str], chips: Sequence[str] = ()
) -> str:
    """Return a table under a heading; an empty cell is shown as a dash.

    Args:
        title: of the heading.
        rows: the first one is the head.
        words: heads of the columns that are left-aligned; the others hold numbers.
        chips: HTML before the first cell of each row of the body.
    """
    styles = ["name" if name in words else "number" for name in rows[0]]
    lines = []
    for index, row in enumerate(rows):
        tag = "td" if index else "th"
        shown = [escape(cell) or _NONE for cell in row]
        if index and chips:
            shown[0] = chips[index - 1] + shown[0]
        cells = zip(styles, shown, strict=True)
        line = "".join(f'<{tag} class="{style}">{cell}</{tag}>' for style, cell in cells)
        lines.append(f"<tr>{line}</tr>")
    return f'<h2>{title}</h2><div class="scroll"><table>{"".join(lines)}</table></div>'


def _plots(histories: Sequence[RunHistory]) -> Iterator[str]:
    plots = build_plots(histories)
    yield "<h2>Curves</h2>"
    if len(histories) > 1:
        items = (f"<li>{_chip(i)}{escape(one.name)}</li>" for i, one in enumerate(histories))
        yield f'<ul class="legend">{"".join(items)}</ul>'
    yield _controls(histories)
    figures = "".join(_figure(plot) for plot in plots) or "<p>No numbers yet.</p>"
    yield f'<div class="plots" data-live>{figures}</div>'


def _controls(histories: Sequence[RunHistory]) -> str:
    def choices(name: str, labels: dict[str, str]) -> str:
        buttons = "".join(
            f'<label><input type="radio" name="{name}" value="{value}"'
            f"{'' if index else ' checked'}>{label}</label>"
            for index, (value, label) in enumerate(labels.items())
        )
        return f"<fieldset><legend>{name} axis</legend>{buttons}</fieldset>"

    x = {"steps": "steps", "tokens": "tokens", "seconds": "time"}
    y = {"auto": "automatic", "linear": "linear", "log": "logarithmic"}
    parts = [
        choices("x", x) + choices("y", y),
        '<label><input type="checkbox" name="raw">raw values</label>',
    ]
    if len(histories) > 1:
        parts.append("<fieldset><legend>runs</legend>")
        for index, history in enumerate(histories):
            box = f'<input type="checkbox" name="run" value="{index}" checked>'
            parts.append(f"<label>{box}{_chip(index)}{escape(history.name)}</label>")
        parts.append("</fieldset>")
    return f'<form class="controls">{"".join(parts)}</form>'


def _figure(plot: Plot) -> str:
    drawing = ElementTree.tostring(draw_plot(plot), encoding="unicode")
    return (
        f'<figure data-plot="{plot.key}"><figcaption><h3>{escape(plot.title)}</h3>'
        f'<span class="soft">{escape(plot.unit)}</span></figcaption>{drawing}'
        f'<div class="tip" hidden></div><script type="application/json">{_data(plot)}</script>'
        "</figure>"
    )


def _data(plot: Plot) -> str:
    """Return the data for the script; `<` is escaped, so that no text can end the element."""
    document = {
        "scale": "log" if plot.is_log else "linear",
        "target": plot.target,
        "x": {name: [a.low, a.high, a.start, a.end] for name, a in x_axes(plot).items()},
        "y": {name: [a.low, a.high, a.start, a.end] for name, a in y_axes(plot).items()},
        "series": [
            {
                "run": series.run,
                "colour": series.colour % NUM_COLOURS,
                "label": series.label,
                "style": series.style,
                "steps": [sample.step for sample in series.samples],
                "tokens": [sample.tokens for sample in series.samples],
                "seconds": [round(sample.seconds, 2) for sample in series.samples],
                "values": [float(f"{sample.value:.6g}") for sample in series.samples],
            }
            for series in plot.series
        ],
    }
    text = json.dumps(document, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c")


def _closing(histories: Sequence[RunHistory]) -> Iterator[str]:
    if any(history.samples for history in histories):
        yield "<h2>Samples</h2>"
        for index, history in enumerate(histories):
            yield from _samples(history, index, is_named=len(histories) > 1)
    yield "<h2>Settings</h2>"
    for index, history in enumerate(histories):
        name = f"{_chip(index)}{escape(history.name)}" if len(histories) > 1 else "all fields"
        rows = "".join(
            f"<tr><td>{escape(key)}</td><td class='name'>{escape(value)}</td></tr>"
            for key, value in history.settings.items()
        )
        yield (
            f'<details><summary>{name}</summary><div class="scroll"><table>{rows}</table></div>'
            "</details>"
        )


def _samples(history: RunHistory, index: int, *, is_named: bool) -> Iterator[str]:
    name = f"{_chip(index)}{escape(history.name)}, " if is_named else ""
    shown = history.samples[-1:] if is_named else history.samples
    for place, (step, text) in enumerate(reversed(shown)):
        opened = "" if place or is_named else " open"
        yield (
            f"<details{opened}><summary>{name}step {step:,}</summary>"
            f"<pre>{escape(text) or '(no text)'}</pre></details>"
        )


def _chip(index: int) -> str:
    return f'<span class="chip {colour_of(index)}"></span>'
