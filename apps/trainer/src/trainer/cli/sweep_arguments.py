"""Turn the arguments of `sweep` into a study.

Stage: argv -> *axes, and what to seek along them* -> study. Not here: options that every study has
(`command_line.py`).
"""

import argparse
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainer.cli.study_arguments import (
    StudyRequest,
    as_bytes,
    base_config,
    require_seeds,
    sitting_options,
    split_arguments,
    study_parser,
)
from trainer.command_hints import install_extra
from trainer.config.run_config import RunConfig
from trainer.experiments.grid import Over, parse_over, sweep
from trainer.experiments.memory_check import why_too_large
from trainer.experiments.open_ended import close_list
from trainer.experiments.retune import MAX_ADDED, Retune
from trainer.experiments.search_space import describe_space, parse_space
from trainer.experiments.study import STUDIES, open_study, safe_name

if TYPE_CHECKING:
    from trainer.experiments.optuna_engine import Search

_SWEEP = """Train one run for each value, or each point of a grid, and say which is best.

  sweep --over optimizer.learning-rate=1e-4..1e-1:log:8
  sweep tinystories-cpu --over training.batch-size=1,8,64 --over optimizer.learning-rate=1e-3,3e-3
  sweep --over model.num-layers=2,4,6 --seeds 3 --training.max-steps 1000
  sweep --over training.batch-size=1,8,64,128,...        on by the last ratio, as far as memory goes
  sweep --over training.batch-size=1,8,64,128,...,1024   likewise, but not beyond 1024
  sweep --over optimizer.learning-rate=1e-4..1e-1:log --engine optuna --trials 20 --give-up
      Optuna proposes (TPE), learns from what ended, and prunes by the median (--give-up); a list is
      a choice, a range needs no COUNT. Several processes, each with this line, share the study
  sweep --over training.batch-size=1,8,64 --retune optimizer.learning-rate=1e-3,4e-3 --seeds 3
      the best rate anew for each batch size with one seed, one more where the best is at an edge,
      then the other seeds at the best

The first argument may be a preset; every option of `train` works here too and holds for all trials.
Asked again, it goes on where it stopped; several processes may ask for the same study. A trial that
diverges is a result, and so is one that cannot fit the memory, which is not begun: accounting
predicts its peak. Where the batch size is swept, all trials see as many tokens."""


def parse_sweep(argv: Sequence[str]) -> StudyRequest:
    """Parse the command line of `sweep`, and begin or open its study.

    Raises:
        ValueError: an unknown field, an empty grid, a value out of range, another study.
        SystemExit: `--help` (0), or as `parse_train`.
    """
    own, rest = split_arguments(_parser(), argv)
    if not own.over:
        raise ValueError("sweep needs --over FIELD=VALUES; see --help")
    base = base_config(rest, "sweep")
    sitting = sitting_options(own) | {"gives_up": own.give_up}
    if own.engine == "optuna":
        return _search(own, base, sitting)
    if own.trials is not None or own.storage is not None:
        raise ValueError("--trials and --storage are for --engine optuna; the grid has its points")
    overs, notes = _closed(own, base)
    if own.retune is not None:
        retune = _retune(own, base, overs)
        study = open_study(
            _path(own, base, [*overs, retune.over]),
            kind="sweep",
            base=base,
            trials=retune.trials(),
            retuned=retune.over.field,
        )
        return StudyRequest(study=study, more=retune.trials, notes=notes, **sitting)
    num_seeds = require_seeds(own.seeds)
    trials = sweep(base, overs, num_seeds=num_seeds, is_equal_tokens=not own.steps_as_given)
    study = open_study(_path(own, base, overs), kind="sweep", base=base, trials=trials)
    return StudyRequest(study=study, notes=notes, **sitting)


def _search(own: argparse.Namespace, base: RunConfig, sitting: dict[str, Any]) -> StudyRequest:
    space = parse_space(own.over, base)
    if own.retune is not None or own.seeds != 1:
        raise ValueError("--retune and --seeds are the grid's; --engine optuna runs a trial once")
    if own.trials is None or own.trials < 1:
        raise ValueError(f"--engine optuna needs --trials N, at least 1; given {own.trials}")
    storage = own.storage or "journal"
    if storage != "journal" and not storage.startswith("sqlite:///"):
        raise ValueError(f"--storage is {storage!r}, but must be journal or sqlite:///FILE")
    search = _optuna_search()(
        space=space,
        num_trials=own.trials,
        storage=storage,
        is_equal_tokens=not own.steps_as_given,
    )
    name = safe_name("-".join([base.preset, *(axis.field for axis in space), "optuna"]))
    study = open_study(
        own.study or STUDIES / name,
        kind="sweep",
        base=base,
        trials=[],
        engine="optuna",
        search={"space": describe_space(space), "storage": storage},
    )
    return StudyRequest(study=study, engine=search.run, **sitting)


def _optuna_search() -> "type[Search]":
    try:
        from trainer.experiments.optuna_engine import Search
    except ModuleNotFoundError as error:
        if error.name != "optuna":
            raise
        raise ValueError(
            f'--engine optuna needs the extra "optuna": {install_extra("optuna")}, '
            "or leave --engine out and give ranges a COUNT"
        ) from error
    return Search


def _parser() -> argparse.ArgumentParser:
    parser = study_parser("sweep", _SWEEP)
    parser.add_argument("--over", action="append", default=[], metavar="FIELD=VALUES")
    parser.add_argument(
        "--retune", metavar="FIELD=VALUES", help="a field to find the best value of at each point"
    )
    parser.add_argument(
        "--widen",
        type=int,
        default=MAX_ADDED,
        metavar="N",
        help=f"values that --retune may add where the best is at an edge ({MAX_ADDED})",
    )
    parser.add_argument("--engine", choices=("grid", "optuna"), default="grid", help="(grid)")
    parser.add_argument("--trials", type=int, metavar="N", help="optuna: of the study in all")
    parser.add_argument(
        "--storage", metavar="WHERE", help="optuna: journal, in the study, or sqlite:///FILE"
    )
    parser.add_argument("--seeds", type=int, default=1, help="runs of each point (1)")
    parser.add_argument("--give-up", action="store_true", help="end trials that others outdo")
    parser.add_argument("--steps-as-given", action="store_true", help="not as many tokens each")
    return parser


def _closed(own: argparse.Namespace, base: RunConfig) -> tuple[list[Over], tuple[str, ...]]:
    """Return the axes, lists with ... gone on with, and where they end."""
    overs, notes = [], []
    fits = partial(why_too_large, memory_bytes=as_bytes(own.memory_gb))
    for over in map(parse_over, own.over):
        if over.goes_on:
            over, note = close_list(
                over, base, why_too_large=fits, is_equal_tokens=not own.steps_as_given
            )
            notes.append(note)
        overs.append(over)
    return overs, tuple(notes)


def _retune(own: argparse.Namespace, base: RunConfig, overs: Sequence[Over]) -> Retune:
    if own.widen < 0:
        raise ValueError(f"--widen is {own.widen}, but must be >= 0")
    return Retune(
        base=base,
        over=parse_over(own.retune, option="--retune"),
        points=overs,
        num_seeds=require_seeds(own.seeds),
        max_added=own.widen,
        is_equal_tokens=not own.steps_as_given,
    )


def _path(own: argparse.Namespace, base: RunConfig, overs: Sequence[Over]) -> Path:
    name = safe_name("-".join([base.preset, *(over.field for over in overs)]))
    return own.study or STUDIES / name
