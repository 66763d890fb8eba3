"""Try hostile files on every loader and hostile text on every kernel.

Stage: options -> targets -> a campaign -> *table, log, findings*. Not here: any target (`targets`).
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table

from bench.console import say
from bench.fuzzing.campaign import Tally, append_log, read_log, run_campaign
from bench.fuzzing.targets import TARGETS, choose_targets, why_missing

HELP = "Try hostile files on every loader and hostile text on every kernel."

_SAY_EVERY_SECONDS = 20.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the subject."""
    add = parser.add_argument
    add("--minutes", type=float, help="duration for all targets together (1)")
    add("--batches", type=int, metavar="N", help="batches per target, instead of --minutes")
    add("--only", metavar="NAMES", help=f"of {','.join(TARGETS)}")
    add("--seed", type=int, metavar="N", help="first seed (0, or where --log ends)")
    add("--log", type=Path, metavar="FILE", help="append the counts to FILE; resume where it ends")
    add(
        "--keep",
        type=Path,
        default=Path("fuzz-findings"),
        metavar="DIR",
        help="folder for inputs with findings (fuzz-findings)",
    )


def run(arguments: argparse.Namespace) -> int:
    """Run the campaign and report; 1 if there is a finding."""
    names = choose_targets(arguments.only)
    earlier = read_log(arguments.log) if arguments.log else []
    tallies = {name: _begin(name, arguments, earlier) for name in names}
    is_over = _budget(arguments, tallies)
    with tempfile.TemporaryDirectory() as folder:
        targets = {}
        for name in names:
            (Path(folder) / name).mkdir()
            targets[name] = TARGETS[name].load()(Path(folder) / name)
        run_campaign(targets, tallies, is_over=is_over, keep_in=arguments.keep, say=say)
    done = list(tallies.values())
    if arguments.log:
        append_log(arguments.log, done)
    _print_table(done, earlier)
    for name in TARGETS:
        if reason := why_missing(name):
            say(f"skipping {name}: {reason}")
    return 1 if any(tally.findings for tally in done) else 0


def _begin(name: str, arguments: argparse.Namespace, earlier: list[Tally]) -> Tally:
    ends = [tally.first_seed + tally.num_batches for tally in earlier if tally.target == name]
    seed = arguments.seed if arguments.seed is not None else max(ends, default=0)
    return Tally(target=name, first_seed=seed)


def _budget(arguments: argparse.Namespace, tallies: dict[str, Tally]) -> Callable[[Tally], bool]:
    """Return the test for whether a target has used its share of batches or time."""
    if arguments.batches is not None:
        return lambda tally: tally.num_batches >= arguments.batches
    minutes = 1.0 if arguments.minutes is None else arguments.minutes
    if minutes <= 0:
        raise ValueError(f"--minutes is {minutes}, but must be positive")
    share, said = minutes * 60 / len(tallies), [time.monotonic()]

    def is_over(tally: Tally) -> bool:
        if time.monotonic() - said[0] > _SAY_EVERY_SECONDS:
            said[0] = time.monotonic()
            total = sum(tally.num_inputs for tally in tallies.values())
            findings = sum(len(tally.findings) for tally in tallies.values())
            say(f"{total:,} inputs, {findings} findings")
        return tally.seconds >= share

    return is_over


def _print_table(done: list[Tally], earlier: list[Tally]) -> None:
    table = Table(box=box.SIMPLE)
    table.add_column("target")
    for heading in ("seeds", "inputs", "inputs/s", "findings", "inputs in all"):
        table.add_column(heading, justify="right")
    for tally in done:
        before = sum(other.num_inputs for other in earlier if other.target == tally.target)
        table.add_row(
            tally.target,
            f"{tally.first_seed}-{tally.first_seed + tally.num_batches - 1}",
            f"{tally.num_inputs:,}",
            f"{tally.num_inputs / max(tally.seconds, 1e-9):,.0f}",
            str(len(tally.findings)),
            f"{before + tally.num_inputs:,}",
        )
    Console().print(table)
