"""Turn the arguments of `sweep` and `ablate` into a study.

Stage: argv -> *own options; the rest as `train` reads it* -> study. Not here: what is run
(`running.py`).
"""

import argparse
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

from trainer.command_line import parse_train
from trainer.config import RunConfig
from trainer.experiments.ablations import ABLATIONS, ablate
from trainer.experiments.fits import why_too_large
from trainer.experiments.open_lists import close_list
from trainer.experiments.over import Over, parse_over, sweep
from trainer.experiments.running import Sitting
from trainer.experiments.study import STUDIES, Study, open_study, safe_name
from trainer.progress import Reporter

_SWEEP = """Train one run for each value, or each point of a grid, and say which is best.

  sweep --over optimizer.learning-rate=1e-4..1e-1:log:8
  sweep tinystories-cpu --over training.batch-size=1,8,64 --over optimizer.learning-rate=1e-3,3e-3
  sweep --over model.num-layers=2,4,6 --seeds 3 --training.max-steps 1000

  sweep --over training.batch-size=1,8,64,128,...        on by the last ratio, as far as memory goes
  sweep --over training.batch-size=1,8,64,128,...,1024   likewise, but not beyond 1024

The first argument may be a preset; every option of `train` works here too and holds for all trials.
Asked again, it goes on where it stopped; several processes may ask for the same study. A trial that
diverges is a result, and so is one that cannot fit the memory, which is not begun: accounting
predicts its peak. Where the batch size is swept, all trials see as many tokens."""

_ABLATE = """Train a baseline and variants that each change one thing, several seeds of each.

  ablate
  ablate --only no-norm nope silu --seeds 3 --training.max-steps 1000

The first argument may be a preset; every option of `train` works here too and holds for all trials.
Variants:
{variants}"""


@dataclass(frozen=True, kw_only=True, slots=True)
class StudyRequest:
    """What the command line asked for."""

    study: Study
    gives_up: bool = False
    max_hours: float | None = None
    """Of this sitting; None: to the last trial."""
    memory_bytes: int | None = None
    """What a trial may take; None: what its device has."""
    notes: tuple[str, ...] = ()
    """What to say before it begins."""

    def sitting(self, reporter: Reporter) -> Sitting:
        """Begin it: the hours count from now on."""
        hours = self.max_hours
        for note in self.notes:
            reporter.say(note)
        return Sitting(
            reporter=reporter,
            gives_up=self.gives_up,
            fits=lambda study, trial: why_too_large(
                study.config(trial), memory_bytes=self.memory_bytes
            ),
            deadline=None if hours is None else time.monotonic() + 3600 * hours,
        )


def parse_sweep(argv: Sequence[str]) -> StudyRequest:
    """Parse the command line of `sweep`, and begin or open its study.

    Raises:
        ValueError: an unknown field, an empty grid, a value out of range, another study.
        SystemExit: `--help` (0), or as `parse_train`.
    """
    parser = _parser("sweep", _SWEEP)
    parser.add_argument("--over", action="append", default=[], metavar="FIELD=VALUES")
    parser.add_argument("--seeds", type=int, default=1, help="runs of each point (1)")
    parser.add_argument("--give-up", action="store_true", help="end trials that others outdo")
    parser.add_argument("--steps-as-given", action="store_true", help="not as many tokens each")
    own, rest = parser.parse_known_args(list(argv))
    if not own.over:
        raise ValueError("sweep needs --over FIELD=VALUES; see --help")
    base = _base(rest, "sweep")
    sitting = _own_sitting(own)
    overs, notes = _closed(own, base)
    trials = sweep(base, overs, num_seeds=_seeds(own.seeds), is_equal_tokens=not own.steps_as_given)
    name = safe_name("-".join([base.preset, *(over.field for over in overs)]))
    path = own.study or STUDIES / name
    study = open_study(path, kind="sweep", base=base, trials=trials)
    return StudyRequest(study=study, gives_up=own.give_up, notes=notes, **sitting)


def _closed(own: argparse.Namespace, base: RunConfig) -> tuple[list[Over], tuple[str, ...]]:
    """Return the axes, lists with ... gone on with, and where they end."""
    overs, notes = [], []
    fits = partial(why_too_large, memory_bytes=_bytes(own.memory_gb))
    for over in map(parse_over, own.over):
        if over.goes_on:
            over, note = close_list(
                over, base, why_too_large=fits, is_equal_tokens=not own.steps_as_given
            )
            notes.append(note)
        overs.append(over)
    return overs, tuple(notes)


def parse_ablate(argv: Sequence[str]) -> StudyRequest:
    """Parse the command line of `ablate`, and begin or open its study.

    Raises:
        ValueError: an unknown ablation, a variant that cannot be, another study.
        SystemExit: `--help` (0), or as `parse_train`.
    """
    variants = "\n".join(f"  {one.name:20} {one.question}" for one in ABLATIONS)
    parser = _parser("ablate", _ABLATE.format(variants=variants))
    parser.add_argument("--only", nargs="+", default=[], metavar="VARIANT", help="which (all)")
    parser.add_argument("--seeds", type=int, default=3, help="runs of each variant (3)")
    own, rest = parser.parse_known_args(list(argv))
    base = _base(rest, "ablate")
    sitting = _own_sitting(own)
    trials = ablate(base, own.only, num_seeds=_seeds(own.seeds))
    path = own.study or STUDIES / f"{base.preset}-ablations"
    study = open_study(path, kind="ablate", base=base, trials=trials)
    return StudyRequest(study=study, **sitting)


class _Parser(argparse.ArgumentParser):
    """Complains as the other commands do."""

    def error(self, message: str) -> NoReturn:
        raise ValueError(f"{message}; see --help")


def _parser(name: str, description: str) -> argparse.ArgumentParser:
    parser = _Parser(
        prog=name,
        description=description,
        usage=f"{name} [PRESET] [options of {name}] [--section.field VALUE ...]",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--study", type=Path, help="directory of the study (studies/...)")
    parser.add_argument(
        "--max-hours",
        type=float,
        metavar="H",
        help="stop after H hours, saved; asked again, it goes on (no limit)",
    )
    parser.add_argument(
        "--memory-gb",
        type=float,
        metavar="GB",
        help="what a trial may take (what the device has in all)",
    )
    return parser


def _base(rest: Sequence[str], prog: str) -> RunConfig:
    request = parse_train(rest, prog=prog)
    if request.run_dir is not None or request.resume or request.note or request.print_config:
        raise ValueError(
            f"{prog} names its run directories itself and goes on by itself, so it takes neither "
            "--run-dir nor --resume nor --print-config; name a directory by --study"
        )
    return request.config


def _seeds(number: int) -> int:
    if number < 1:
        raise ValueError(f"--seeds is {number}, but must be at least 1")
    return number


def _own_sitting(own: argparse.Namespace) -> dict[str, Any]:
    if own.max_hours is not None and not 0 < own.max_hours < math.inf:
        raise ValueError(f"--max-hours is {own.max_hours}, but must be positive and finite")
    return {"max_hours": own.max_hours, "memory_bytes": _bytes(own.memory_gb)}


def _bytes(gigabytes: float | None) -> int | None:
    if gigabytes is None:
        return None
    if not 0 < gigabytes < math.inf:
        raise ValueError(f"--memory-gb is {gigabytes}, but must be positive and finite")
    return round(1e9 * gigabytes)
