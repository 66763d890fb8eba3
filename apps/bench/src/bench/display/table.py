"""Print a run as a table for people.

Stage: report -> *table* on stdout. Not here: what the figures mean (`targets`).
"""

from rich.console import Console
from rich.table import Table

from bench.console import table_console
from bench.measurement.harness import Summary
from bench.measurement.machine import num_cpus
from bench.measurement.report import Report
from bench.measurement.rows import Row
from bpe.messages.plural import plural

_DISTURBED_CPUS = 0.25  # kept busy by other processes
_COLOURS = {"aim": "green", "must": "yellow", "missed": "red", "reported": ""}
_COLUMNS = ("figure", "corpus", "thr", "ours", "peer", "ratio", "must", "aim", "reached", "memory")
_NARROW = {"thr", "ratio", "must", "aim", "memory"}


def print_table(report: Report, console: Console | None = None) -> None:
    """Print the rows, with the data that a reader needs to judge them."""
    console = table_console(180) if console is None else console
    table = Table(title=f"{report.subject}: median (least-most)")
    lines = [_cells(row) for row in report.rows]
    used = [n for n, name in enumerate(_COLUMNS) if not lines or any(line[n] for line in lines)]
    for name in (_COLUMNS[n] for n in used):
        table.add_column(name, justify="right" if name in _NARROW else "left")
    for row, line in zip(report.rows, lines, strict=True):
        table.add_row(*(line[n] for n in used), style=_COLOURS[row.verdict])
    console.print(table)
    for line in _footnotes(report):
        console.print(line, markup=False, highlight=False)


def _cells(row: Row) -> list[str]:
    sign = "" if row.figure.is_at_least else "<= "
    unit = row.figure.unit
    return [
        f"{row.figure.what}; {row.detail}" if row.detail else row.figure.what,
        row.corpus or "",
        str(row.num_threads or ""),
        _shown(row.ours, row),
        f"{row.peer} {_shown(row.theirs, row)}" if row.theirs else row.note,
        f"{row.value:.2f}{'' if unit == 'x' else ' ' + unit}" if row.value is not None else "-",
        f"{sign}{row.figure.must:g}" if row.figure.must is not None and row.is_judged else "",
        f"{sign}{row.figure.aim:g}" if row.figure.aim is not None and row.is_judged else "",
        row.verdict if row.value is not None else "missing",
        f"{row.limit_share:.0%}" if row.limit_share is not None else "",
    ]


def _shown(summary: Summary | None, row: Row) -> str:
    """Format a median with its range: a speed, an amount, or a time in its natural unit."""
    if summary is None:
        return "-"
    values = (summary.median, summary.minimum, summary.maximum)
    if row.text_bytes is not None:
        speeds = [row.text_bytes / seconds / 1e6 for seconds in values]
        return _range([speeds[0], speeds[2], speeds[1]], "MB/s")
    shown_as = row.figure.shown_as
    if shown_as == "tokens/s":
        return _range([1 / values[0], 1 / values[2], 1 / values[1]], "tok/s")
    if shown_as == "share":
        return _range([100 * value for value in values], "%")
    if shown_as == "GB":
        return _range([value / 1e9 for value in values], "GB")
    scale, unit = next(
        (s, u) for s, u in ((1, "s"), (1e3, "ms"), (1e6, "us")) if values[0] * s >= 0.1 or u == "us"
    )
    return _range([value * scale for value in values], unit)


def _range(values: list[float], unit: str) -> str:
    shown = [f"{value:.0f}" if value >= 100 else f"{value:.3g}" for value in values]
    return f"{shown[0]} {unit}" + (f" ({shown[1]}-{shown[2]})" if len(set(shown)) > 1 else "")


def _footnotes(report: Report) -> list[str]:
    machine = report.machine
    lines = [
        f"{machine['cpu']}, {num_cpus()} CPUs, {machine['system']}, Python {machine['python']}, "
        f"{machine['date']}, commit {machine['commit']}",
        ", ".join(f"{name} {version}" for name, version in machine["versions"].items()),
        f"vocabulary: {report.settings['vocabulary']}; rounds: {report.settings['rounds']}"
        + ("; quick: do not rely on the figures" if report.settings["quick"] else ""),
        *report.notes,
    ]
    for corpus in report.corpora:
        short = corpus.size_bytes < 0.95 * corpus.wanted_bytes
        less = f" (of {corpus.wanted_bytes / 1e6:.0f} MB wanted)" if short else ""
        lines.append(
            f"corpus {corpus.name}: {corpus.size_bytes / 1e6:.1f} MB{less}, {corpus.num_documents} "
            f"documents, sha256 {corpus.sha256[:12]}: {corpus.source}"
        )
    if report.bandwidth:
        speeds = ", ".join(f"{v / 1e9:.1f} GB/s on {n} thr" for n, v in report.bandwidth.items())
        lines.append(
            f"memory: share of memcpy speed reached ({speeds}, read and written), if text and "
            "ids were only moved"
        )
    agreement = report.agreement
    if report.problems:
        agreement = f"{len(report.problems)} PROBLEMS: see stderr"
    return [*lines, *_disturbances(report), *_failures(report), agreement]


def _disturbances(report: Report) -> list[str]:
    known = [
        sample.foreign_cpus
        for _, _, results in report.contests
        for result in results.values()
        for sample in result.samples
        if sample.foreign_cpus is not None
    ]
    disturbed = sum(cpus > _DISTURBED_CPUS for cpus in known)
    if not disturbed:
        return []
    return [f"other processes kept CPUs busy during {disturbed} of {plural(len(known), 'sample')}"]


def _failures(report: Report) -> list[str]:
    return sorted(
        {
            f"{contest} on {corpus}: {name}: {result.failure[0]}"
            for contest, corpus, results in report.contests
            for name, result in results.items()
            if result.failure
        }
    )
