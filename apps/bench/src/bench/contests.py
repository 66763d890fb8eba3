"""Run the contests of a subject as its options ask, and publish the report.

Stage: options, entries -> *results* -> table, JSON, chart. Not here: which contests there are.
"""

import argparse
import random
from collections.abc import Collection, Sequence
from functools import partial
from pathlib import Path

from rich.console import Console

from bench.arguments import add_shared_options, names_of, positive
from bench.console import print_problems, say
from bench.contestants.peers import why_missing
from bench.display.chart import write_chart
from bench.display.table import print_table
from bench.measurement.harness import Entry, Result, run_contest, run_when_idle
from bench.measurement.report import Report, write_report

_SEED = 336


def add_contest_options(
    parser: argparse.ArgumentParser, contests: Collection[str], *, quick: str, cache: str
) -> None:
    """Declare the options of subjects that hold contests."""
    add_shared_options(parser, json="samples", cache=cache)
    add = parser.add_argument
    add("--svg", type=Path, metavar="FILE", help="draw the ratios to FILE")
    add("--rounds", type=positive, metavar="N", help="samples per contestant (5; quick: 1)")
    add("--only", type=names_of(contests, "contest"), help=f"of {','.join(contests)}")
    add("--quick", action="store_true", help=quick)


def num_rounds(arguments: argparse.Namespace) -> int:
    """Return how many samples each entry of a contest gives."""
    return arguments.rounds or (1 if arguments.quick else 5)


def run_and_keep(
    report: Report,
    arguments: argparse.Namespace,
    contest: str,
    *,
    place: str,
    entries: Sequence[Entry],
    rounds: int | None = None,
) -> dict[str, Result]:
    """Run a contest and keep its samples; a failure of ours is a problem.

    `place` is its corpus or device; `rounds` are samples per entry, by default those of the
    options.
    """
    results = run_contest(
        entries,
        num_rounds=rounds or num_rounds(arguments),
        rng=random.Random(_SEED),
        run=partial(run_when_idle, arguments.patience),
        missing=why_missing,
        progress=lambda line: say(f"{place} {contest}: {line}"),
    )
    report.contests.append((contest, place, results))
    failed = (r for r in results.values() if r.failure and "ours" in r.entry.order.contestant)
    report.problems.extend(f"{place} {contest}: {r.entry.name}: {r.failure[0]}" for r in failed)
    return results


def publish(report: Report, arguments: argparse.Namespace, console: Console | None = None) -> int:
    """Write and print the report; return 1 if there is a problem."""
    if arguments.json:
        write_report(report, arguments.json)
    if arguments.svg:
        write_chart(report.rows, arguments.svg)
    print_table(report, console)
    return print_problems(report.problems)
