"""Say what a range test shows: how much learning rate a model bears, and where a sweep's best lies.

Stage: study -> *findings, table* -> its page, terminal.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from accounting.plural import plural
from trainer.experiments import Study
from trainer.experiments.lr_range import (
    DIVERGED_FACTOR,
    EDGE_FACTOR,
    SAFETY,
    RangeFindings,
    best_rate,
    read_range,
    remembered_sweep,
)
from trainer.report.findings.studies import tell_waiting

_PLACES: dict[str, Callable[[RangeFindings], float | None]] = {
    "steepest": lambda found: found.steepest,
    "lowest": lambda found: found.lowest,
    "edge": lambda found: found.edge,
    "diverged": lambda found: found.diverged,
    "suggested": lambda found: found.suggested,
}


def read_ranges(study: Study) -> dict[str, RangeFindings]:
    """Return what each trial that has ended shows, by name: half a curve would mislead."""
    ended = (trial for trial in study.trials if study.outcome(trial) is not None)
    found = {trial.name: read_range(study, trial) for trial in ended}
    return {name: one for name, one in found.items() if one is not None}


def describe_range(study: Study) -> list[str]:
    """Return what a range test shows, most important first."""
    found = list(read_ranges(study).values())
    waiting = sum(study.outcome(trial) is None for trial in study.trials)
    sentences = [*describe_range_of(found), *_against(study, found)]
    return [*sentences, *tell_waiting(waiting, len(study.trials))]


def describe_range_of(found: Sequence[RangeFindings]) -> list[str]:
    """Return what curves of loss against rate show; none: nothing."""
    return list(_places(found)) if found else []


def range_rows(study: Study) -> list[list[str]]:
    """Return a head, then a row a trial: its rates; an unknown one is an empty text."""
    rows = [["trial", *_PLACES]]
    for name, found in read_ranges(study).items():
        rates = [place(found) for place in _PLACES.values()]
        rows.append([name, *("" if rate is None else f"{rate:.2g}" for rate in rates)])
    return rows


def print_range(study: Study, console: Console) -> None:
    """Show findings and table on a terminal."""
    for sentence in describe_range(study):
        console.print(sentence, markup=False, highlight=False, soft_wrap=True)
    head, *body = range_rows(study)
    table = Table(title=f"learning rates of {study.base.preset}")
    for place, name in enumerate(head):
        table.add_column(name, justify="right" if place else "left", overflow="fold")
    for row in body:
        table.add_row(*row)
    console.print(table)


def best_of_sweep(study: Study) -> tuple[Path, float] | None:
    """Return the sweep that the test is held against and its best rate; None: neither is known."""
    path = remembered_sweep(study)
    rate = None if path is None else best_rate(path, preset=study.base.preset)
    return None if path is None or rate is None else (path, rate)


def _places(found: Sequence[RangeFindings]) -> Iterator[str]:
    edges = [one.edge for one in found if one.edge is not None]
    highest = max(one.rates[-1] for one in found)
    if edges:
        yield (
            f"The edge of stability is at a learning rate of {_rates(edges, of=found)}: from there "
            f"on the smoothed loss stayed above {EDGE_FACTOR:g} times its lowest value."
        )
    else:
        yield f"No edge of stability up to {highest:.2g}: raise the upper end of the range."
    ends = [one.diverged for one in found if one.diverged is not None]
    if ends:
        yield (
            f"Training diverged at {_rates(ends, of=found)}, by a smoothed loss of "
            f"{DIVERGED_FACTOR:g} times its lowest value, or one that is no number: the expected "
            "end of the test."
        )
    yield f"The loss was lowest at {_rates([one.lowest for one in found])}."
    if falls := [one.steepest for one in found if one.has_fallen]:
        yield f"It fell fastest at {_rates(falls, of=found)}."
    yield (
        f"Suggested to sweep around: {_rates([one.suggested for one in found])}, "
        f"{SAFETY:g} times below the lowest loss, a rule of thumb."
    )


def _against(study: Study, found: Sequence[RangeFindings]) -> Iterator[str]:
    edges = [one.edge for one in found if one.edge is not None]
    best = best_of_sweep(study)
    if best is None or not edges:
        return
    path, rate = best
    edge, suggested = _mean(edges), _mean([one.suggested for one in found])
    factor = f"{max(edge / rate, rate / edge):.2g}"
    side = "below" if rate <= edge else "above"
    place = "at the edge" if factor == "1" else f"{factor} times {side} the edge"
    yield (
        f"The best rate of the sweep {path.name}, {rate:.2g}, lies {place}, and is "
        f"{rate / suggested:.2g} times what is suggested."
    )


def _rates(rates: Sequence[float], *, of: Sequence[RangeFindings] = ()) -> str:
    """Write the mean of rates and how far they lie apart; those of fewer runs than `of` say so."""
    mean = _mean(rates)
    parts = []
    if len(rates) > 1:
        parts += [f"geometric mean of {len(rates)}, {min(rates):.2g} to {max(rates):.2g}"]
    if len(rates) < len(of):
        parts += [f"in {len(rates)} of {plural(len(of), 'run')}"]
    return f"{mean:.2g} ({', '.join(parts)})" if parts else f"{mean:.2g}"


def _mean(rates: Sequence[float]) -> float:
    return math.exp(math.fsum(map(math.log, rates)) / len(rates))
