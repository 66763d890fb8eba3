"""Describe the results of a range test: the edge of stability and where the loss was lowest.

Stage: study -> *findings, table* -> its page, terminal. Not here: the drawing (`plots/ranges.py`).
"""

import math
from collections.abc import Iterator, Sequence
from pathlib import Path

from rich.console import Console

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
from trainer.experiments.results import print_rows
from trainer.report.findings.studies import describe_waiting

_PLACES = ("steepest", "lowest", "edge", "diverged", "suggested")


def read_ranges(study: Study) -> dict[str, RangeFindings]:
    """Return the findings of each finished trial, by name: half a curve would mislead."""
    ended = (trial for trial in study.trials if study.outcome(trial) is not None)
    found = {trial.name: read_range(study, trial) for trial in ended}
    return {name: one for name, one in found.items() if one is not None}


def describe_range(study: Study) -> list[str]:
    """Describe a range test, most important findings first."""
    found = list(read_ranges(study).values())
    waiting = sum(study.outcome(trial) is None for trial in study.trials)
    sentences = [*describe_range_of(found), *_against(study, found)]
    return [*sentences, *describe_waiting(waiting, len(study.trials))]


def describe_range_of(found: Sequence[RangeFindings]) -> list[str]:
    """Describe curves of loss against learning rate."""
    return list(_places(found)) if found else []


def range_rows(study: Study) -> list[list[str]]:
    """Return a head, then one row of rates per trial; an unknown rate is an empty text."""
    rows = [["trial", *_PLACES]]
    for name, found in read_ranges(study).items():
        rates = [getattr(found, place) for place in _PLACES]
        rows.append([name, *("" if rate is None else f"{rate:.2g}" for rate in rates)])
    return rows


def print_range(study: Study, console: Console) -> None:
    """Print the findings and the table."""
    for sentence in describe_range(study):
        console.print(sentence, markup=False, highlight=False, soft_wrap=True)
    title = f"learning rates of {study.base.preset}"
    print_rows(range_rows(study), console, title=title, words=("trial",))


def best_of_sweep(study: Study) -> tuple[Path, float] | None:
    """Return the sweep that the test is compared with and its best rate; None: unknown."""
    path = remembered_sweep(study)
    rate = None if path is None else best_rate(path, preset=study.base.preset)
    return None if path is None or rate is None else (path, rate)


def _places(found: Sequence[RangeFindings]) -> Iterator[str]:
    edges = [one.edge for one in found if one.edge is not None]
    highest = max(one.rates[-1] for one in found)
    if edges:
        yield (
            f"The edge of stability is at a learning rate of {_rates(edges, of=found)}: from there "
            f"on, the smoothed loss stayed above {EDGE_FACTOR:g} times its minimum."
        )
    else:
        yield (
            f"No edge of stability was found up to a learning rate of {highest:.2g}: raise the "
            "upper end of the range."
        )
    ends = [one.diverged for one in found if one.diverged is not None]
    if ends:
        yield (
            f"Training diverged at {_rates(ends, of=found)}, as expected of the test: the smoothed "
            f"loss exceeded {DIVERGED_FACTOR:g} times its minimum or was not finite."
        )
    yield f"The smoothed loss was lowest at {_rates([one.lowest for one in found])}."
    if falls := [one.steepest for one in found if one.has_fallen]:
        yield f"It fell fastest at {_rates(falls, of=found)}."
    yield (
        f"Suggested centre of a sweep: {_rates([one.suggested for one in found])}, "
        f"{SAFETY:g} times below the rate of the lowest loss (a rule of thumb)."
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
    place = "at the edge" if factor == "1" else f"a factor of {factor} {side} the edge"
    yield (
        f"The best rate of the sweep {path.name}, {rate:.2g}, is {place} and "
        f"{rate / suggested:.2g} times the suggested rate."
    )


def _rates(rates: Sequence[float], *, of: Sequence[RangeFindings] = ()) -> str:
    """Format the mean of rates, their range, and the number of runs if fewer than `of`."""
    mean = _mean(rates)
    parts = []
    if len(rates) > 1:
        parts += [f"geometric mean of {len(rates)}, {min(rates):.2g} to {max(rates):.2g}"]
    if len(rates) < len(of):
        parts += [f"in {len(rates)} of {plural(len(of), 'run')}"]
    return f"{mean:.2g} ({', '.join(parts)})" if parts else f"{mean:.2g}"


def _mean(rates: Sequence[float]) -> float:
    return math.exp(math.fsum(map(math.log, rates)) / len(rates))
