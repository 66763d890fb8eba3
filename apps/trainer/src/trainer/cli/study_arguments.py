"""Turn the arguments of `ablate`, and those of every study, into a study.

Stage: argv -> *own options; the rest as `train` reads it* -> study. Not here: running the trials
(`experiments/trials.py`), options of `sweep` and `lr-range` only.
"""

import argparse
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from trainer.cli.run_arguments import join_train_values, parse_train
from trainer.config.run_config import RunConfig
from trainer.experiments.ablations import ABLATIONS, ablate
from trainer.experiments.memory_check import why_too_large
from trainer.experiments.study import STUDIES, Study, open_study
from trainer.experiments.trials import MoreTrials, Sitting, StudyResult, run_study
from trainer.monitoring.progress import Reporter

_ABLATE = """Train a baseline, and variants that each change one thing, with several seeds.

  ablate
  ablate --only no-norm nope silu --seeds 3 --training.max-steps 1000

The first argument may be a preset; every option of `train` works here, too, for all trials.
Variants:
{variants}"""


@dataclass(frozen=True, kw_only=True, slots=True)
class StudyRequest:
    """A parsed command line."""

    study: Study
    gives_up: bool = False
    max_hours: float | None = None
    """Limit of this sitting; None: no limit."""
    memory_bytes: int | None = None
    """Most memory per trial; None: all of the device's."""
    more: MoreTrials | None = None
    """Adds trials after the known ones; None: there are no others."""
    engine: Callable[[Study, Sitting], StudyResult] | None = None
    """Chooses and runs the trials; None: they are known."""
    notes: tuple[str, ...] = ()
    """Reported before the study starts."""

    def run(self, reporter: Reporter) -> StudyResult:
        """Run the remaining trials; the hours count from now."""
        for note in self.notes:
            reporter.say(note)
        hours, memory_bytes = self.max_hours, self.memory_bytes
        sitting = Sitting(
            reporter=reporter,
            gives_up=self.gives_up,
            fits=lambda study, trial: why_too_large(study.config(trial), memory_bytes=memory_bytes),
            deadline=None if hours is None else time.monotonic() + 3600 * hours,
        )
        if self.engine is not None:
            return self.engine(self.study, sitting)
        return run_study(self.study, sitting, more=self.more)


def parse_ablate(argv: Sequence[str]) -> StudyRequest:
    """Parse the command line of `ablate`, and start or open its study.

    Raises:
        ValueError: an unknown ablation, an impossible variant, another study.
        SystemExit: `--help` (0), or as `parse_train`.
    """
    variants = "\n".join(f"  {one.name:20} {one.question}" for one in ABLATIONS)
    parser = study_parser("ablate", _ABLATE.format(variants=variants))
    parser.add_argument("--only", nargs="+", default=[], metavar="VARIANT", help="(all)")
    parser.add_argument("--seeds", type=int, default=3, help="runs per variant (3)")
    own, rest = split_arguments(parser, argv)
    base = base_config(rest, "ablate")
    sitting = sitting_options(own)
    trials = ablate(base, own.only, num_seeds=require_seeds(own.seeds))
    path = own.study or STUDIES / f"{base.preset}-ablations"
    study = open_study(path, kind="ablate", base=base, trials=trials)
    return StudyRequest(study=study, **sitting)


_TEXT_OPTIONS = ("--study", "--against", "--over", "--retune", "--storage")


class _Parser(argparse.ArgumentParser):
    """A parser whose errors are ValueErrors."""

    def error(self, message: str) -> NoReturn:
        raise ValueError(f"{message}; see --help")


def study_parser(name: str, description: str) -> argparse.ArgumentParser:
    """Return a parser of the options that every study has; its errors are ValueErrors."""
    parser = _Parser(
        prog=name,
        description=description,
        usage=f"{name} [PRESET] [options of {name}] [--section.field VALUE ...]",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--study", type=Path, help="directory of the study (studies/...)")
    resumes = "save and stop after H hours; the same command resumes (no limit)"
    parser.add_argument("--max-hours", type=float, metavar="H", help=resumes)
    memory = "most memory per trial (all of the device's)"
    parser.add_argument("--memory-gb", type=float, metavar="GB", help=memory)
    return parser


def split_arguments(
    parser: argparse.ArgumentParser, argv: Sequence[str]
) -> tuple[argparse.Namespace, list[str]]:
    """Return a study's own options, and the remaining words for `train`."""
    return parser.parse_known_args(join_train_values(argv, options=_TEXT_OPTIONS))


def base_config(rest: Sequence[str], prog: str) -> RunConfig:
    """Read the remaining words as `train` does.

    Raises:
        ValueError: as `parse_train`, or an option about a single run.
    """
    request = parse_train(rest, prog=prog)
    if request.run_dir is not None or request.resume or request.notes or request.print_config:
        raise ValueError(
            f"{prog} names its run directories and resumes automatically, so it does not take "
            "--run-dir, --resume or --print-config; name the study's directory with --study"
        )
    return request.config


def require_seeds(number: int) -> int:
    """Return the number of seeds, or raise ValueError if it is not positive."""
    if number < 1:
        raise ValueError(f"--seeds is {number}, but must be at least 1")
    return number


def sitting_options(own: argparse.Namespace) -> dict[str, Any]:
    """Return the common options as arguments of `StudyRequest`.

    Raises:
        ValueError: one is out of range.
    """
    if own.max_hours is not None and not 0 < own.max_hours < math.inf:
        raise ValueError(f"--max-hours is {own.max_hours}, but must be positive and finite")
    return {"max_hours": own.max_hours, "memory_bytes": as_bytes(own.memory_gb)}


def as_bytes(gigabytes: float | None) -> int | None:
    """Return the bytes of `--memory-gb`, or raise ValueError if it is out of range."""
    if gigabytes is None:
        return None
    if not 0 < gigabytes < math.inf:
        raise ValueError(f"--memory-gb is {gigabytes}, but must be positive and finite")
    return round(1e9 * gigabytes)
