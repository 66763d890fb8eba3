"""Turn the arguments of `sweep` and `ablate` into a study.

Stage: argv -> *own options; the rest as `train` reads it* -> study. Not here: what is run
(`running.py`).
"""

import argparse
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from trainer.command_line import parse_train
from trainer.config import RunConfig
from trainer.experiments.ablations import ABLATIONS, ablate
from trainer.experiments.over import parse_over, sweep
from trainer.experiments.running import Sitting
from trainer.experiments.study import STUDIES, Study, open_study, safe_name
from trainer.progress import Reporter

_SWEEP = """Train one run for each value, or each point of a grid, and say which is best.

  sweep --over optimizer.learning-rate=1e-4..1e-1:log:8
  sweep tinystories-cpu --over training.batch-size=1,8,64 --over optimizer.learning-rate=1e-3,3e-3
  sweep --over model.num-layers=2,4,6 --seeds 3 --training.max-steps 1000

The first argument may be a preset; every option of `train` works here too and holds for all trials.
Asked again, it goes on where it stopped; several processes may ask for the same study. A trial that
diverges is a result. Where the batch size is swept, all trials see as many tokens."""

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

    def sitting(self, reporter: Reporter) -> Sitting:
        """Begin it: the hours count from now on."""
        hours = self.max_hours
        return Sitting(
            reporter=reporter,
            gives_up=self.gives_up,
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
    overs = [parse_over(text) for text in own.over]
    trials = sweep(base, overs, num_seeds=_seeds(own.seeds), is_equal_tokens=not own.steps_as_given)
    name = safe_name("-".join([base.preset, *(over.field for over in overs)]))
    path = own.study or STUDIES / name
    hours = _hours(own.max_hours)
    study = open_study(path, kind="sweep", base=base, trials=trials)
    return StudyRequest(study=study, gives_up=own.give_up, max_hours=hours)


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
    trials = ablate(base, own.only, num_seeds=_seeds(own.seeds))
    path = own.study or STUDIES / f"{base.preset}-ablations"
    hours = _hours(own.max_hours)
    study = open_study(path, kind="ablate", base=base, trials=trials)
    return StudyRequest(study=study, max_hours=hours)


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


def _hours(hours: float | None) -> float | None:
    if hours is not None and not 0 < hours < math.inf:
        raise ValueError(f"--max-hours is {hours}, but must be positive and finite")
    return hours
