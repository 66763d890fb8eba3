"""Turn the arguments of `sweep` into a study.

Stage: argv -> *axes, and how to search them* -> study. Not here: options that every study has
(`study_arguments.py`).
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

_SWEEP = """Train one run per value, or per point of a grid, and report the best.

  sweep --over optimizer.learning-rate=1e-4..1e-1:log:8
  sweep tinystories-cpu --over training.batch-size=1,8,64 --over optimizer.learning-rate=1e-3,3e-3
  sweep --over model.num-layers=2,4,6 --seeds 3 --training.max-steps 1000
  sweep --over training.batch-size=1,8,64,128,...        continue by the last ratio, up to memory
  sweep --over training.batch-size=1,8,64,128,...,1024   the same, up to 1024
  sweep --over optimizer.learning-rate=1e-4..1e-1:log --engine optuna --trials 20 --give-up
      Optuna proposes values (TPE), learns from finished trials, and prunes by the median
      (--give-up); a list is a choice, and a range needs no COUNT
  sweep --over training.batch-size=1,8,64 --retune optimizer.learning-rate=1e-3,4e-3 --seeds 3
      find the best rate for each batch size with one seed, try one more rate if the best is at an
      edge, then run the other seeds at the best rate

The first argument may be a preset; every option of `train` works here, too, for all trials. Running
the same command again resumes the study, and several processes may share it. A diverging trial is a
result; so is one that does not fit into memory, as predicted by accounting, and it is not started.
If the batch size is swept, all trials train on the same number of tokens."""


def parse_sweep(argv: Sequence[str]) -> StudyRequest:
    """Parse the command line of `sweep`, and start or open its study.

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
        raise ValueError(
            "--trials and --storage are for --engine optuna; leave them out for a grid"
        )
    overs, notes = _closed(own, base)
    fields = [over.field for over in overs]
    if own.retune is not None:
        retune = _retune(own, base, overs)
        study = open_study(
            _path(own, base, [*fields, retune.over.field]),
            kind="sweep",
            base=base,
            trials=retune.trials(),
            retuned=retune.over.field,
        )
        return StudyRequest(study=study, more=retune.trials, notes=notes, **sitting)
    num_seeds = require_seeds(own.seeds)
    trials = sweep(base, overs, num_seeds=num_seeds, is_equal_tokens=not own.steps_as_given)
    study = open_study(_path(own, base, fields), kind="sweep", base=base, trials=trials)
    return StudyRequest(study=study, notes=notes, **sitting)


def _search(own: argparse.Namespace, base: RunConfig, sitting: dict[str, Any]) -> StudyRequest:
    space = parse_space(own.over, base)
    if own.retune is not None or own.seeds != 1:
        raise ValueError("--retune and --seeds are the grid's; leave them out for --engine optuna")
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
    study = open_study(
        _path(own, base, [*(axis.field for axis in space), "optuna"]),
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
    add = parser.add_argument
    add("--over", action="append", default=[], metavar="FIELD=VALUES", help="an axis; repeatable")
    add("--retune", metavar="FIELD=VALUES", help="a field to tune at each point")
    widen = f"most values that --retune adds while the best is at an edge ({MAX_ADDED})"
    add("--widen", type=int, default=MAX_ADDED, metavar="N", help=widen)
    add("--engine", choices=("grid", "optuna"), default="grid", help="(grid)")
    add("--trials", type=int, metavar="N", help="optuna: total number of trials")
    add("--storage", metavar="WHERE", help="optuna: journal in the study, or sqlite:///FILE")
    add("--seeds", type=int, default=1, help="runs per point (1)")
    add("--give-up", action="store_true", help="stop trials that fall behind others")
    add("--steps-as-given", action="store_true", help="equal steps instead of equal tokens")
    return parser


def _closed(own: argparse.Namespace, base: RunConfig) -> tuple[list[Over], tuple[str, ...]]:
    """Return the axes, with open lists (...) closed, and notes on where they end."""
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


def _path(own: argparse.Namespace, base: RunConfig, fields: Sequence[str]) -> Path:
    return own.study or STUDIES / safe_name("-".join([base.preset, *fields]))
