"""Turn the arguments of `lr-range` into a study.

Stage: argv -> *own options; the rest as `train` reads it* -> study of one run per seed. Not here:
the study itself (`experiments/lr_range.py`).
"""

from collections.abc import Sequence
from pathlib import Path

from trainer.cli.study_arguments import (
    StudyRequest,
    base_config,
    require_seeds,
    sitting_options,
    split_arguments,
    study_parser,
)
from trainer.experiments.lr_range import best_rate, range_base, range_trials, remember_sweep
from trainer.experiments.study import STUDIES, open_study

_DESCRIPTION = """Raise the learning rate exponentially until training diverges, as it should, and
report the edge of stability, the rate of the lowest loss, and which rates to sweep.

  lr-range
  lr-range tinystories-cpu --low 1e-5 --high 1 --steps 300 --seeds 3
  lr-range --against studies/quickstart-optimizer.learning-rate     compare with a sweep

The first argument may be a preset; every option of `train` works here, too. The same command
resumes an interrupted study. Source: Smith 2017, arXiv:1506.01186, section 3.3."""


def parse_lr_range(argv: Sequence[str]) -> StudyRequest:
    """Parse the command line of `lr-range`, and start or open its study.

    Raises:
        ValueError: an empty range, another study, a sweep of another field.
        SystemExit: `--help` (0), or as `parse_train`.
    """
    parser = study_parser("lr-range", _DESCRIPTION)
    parser.add_argument("--low", type=float, default=1e-5, help="first learning rate (1e-5)")
    parser.add_argument("--high", type=float, default=10.0, help="last learning rate (10)")
    parser.add_argument("--steps", type=int, default=200, help="steps from one to the other (200)")
    parser.add_argument("--seeds", type=int, default=1, help="number of runs (1)")
    parser.add_argument(
        "--against", type=Path, metavar="STUDY", help="sweep of the learning rate to compare with"
    )
    own, rest = split_arguments(parser, argv)
    base = base_config(rest, "lr-range")
    rising = range_base(base, low=own.low, high=own.high, num_steps=own.steps)
    trials = range_trials(base, num_seeds=require_seeds(own.seeds))
    sitting = sitting_options(own)
    if own.against is not None:
        best_rate(own.against, preset=base.preset)  # refused before anything is created
    path = own.study or STUDIES / f"{base.preset}-lr-range"
    study = open_study(path, kind="lr-range", base=rising, trials=trials)
    if own.against is not None:
        remember_sweep(study, own.against)
    return StudyRequest(study=study, **sitting)
