"""Count the tokens that each training method needs to reach AdamW's final loss.

Stage: options -> *trainings, one after another* -> results -> table, chart. The baseline is AdamW
at its best learning rate, with a complete cosine and three seeds. A contender gets at most as many
rates and fewer tokens, with a complete schedule of its own. Finished trainings are kept: the same
command resumes where it was stopped. Not here: the speed of a step (`bench.training`).
"""

import argparse
import sys
from pathlib import Path

from bench.arguments import cache_folder, names_of, positive
from bench.contestants.models import DISTRIBUTIONS
from bench.contestants.peers import fetch_extras
from bench.learning.chart import write_learning_chart
from bench.learning.report import print_learning
from bench.learning.results import Results
from bench.learning.times import StepTimes
from bench.learning.trials import CONTENDERS, Contender, Experiment, Trial, run_trial

HELP = "Train with Muon and a batch ramp on fewer tokens, to AdamW's final loss."

_SEEDS = (0, 1, 2)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the subject."""
    add = parser.add_argument
    add("--folder", type=_folder, default="", help="folder for text and results")
    add("--only", type=names_of(CONTENDERS, "contender"), help=f"of {','.join(CONTENDERS)}")
    add("--limit", type=int, metavar="N", help="stop after N trainings")
    add(
        "--tokens",
        type=positive,
        default=1_638_400,
        metavar="N",
        help="tokens of the baseline (1638400)",
    )
    add("--layers", type=positive, default=3, metavar="N", help="layers of the model (3)")
    add("--times", action="store_true", help="measure the steps; needs an idle machine")
    add("--svg", type=Path, metavar="FILE", help="draw the curves to FILE")


def run(arguments: argparse.Namespace) -> int:
    """Run the missing trainings, measure if asked, and report everything."""
    fetch_extras(DISTRIBUTIONS)
    contenders = [CONTENDERS[name] for name in arguments.only or CONTENDERS]
    experiment = Experiment(
        folder=arguments.folder, tokens=arguments.tokens, num_layers=arguments.layers
    )
    results = Results(arguments.folder / "results.jsonl", experiment.settings())
    left = sys.maxsize if arguments.limit is None else arguments.limit
    for contender in contenders:
        while left > 0 and (trial := next_trial(contender, results)) is not None:
            results.add(trial, run_trial(trial, contender, experiment))
            left -= 1
    times = StepTimes(arguments.folder / "times.json")
    if arguments.times:
        times.measure(contenders, experiment)
    if arguments.svg is not None:
        write_learning_chart(list(CONTENDERS.values()), results, arguments.svg)
    print_learning(list(CONTENDERS.values()), results, times, experiment)
    return 0


def _folder(text: str) -> Path:
    return Path(text) if text else cache_folder("") / "learning"


def next_trial(contender: Contender, results: Results) -> Trial | None:
    """Return the next training: all rates with one seed, then the best with all seeds."""
    for rate in contender.rates:
        trial = Trial(contender.name, rate, contender.tuned_at, seed=0)
        if trial not in results:
            return trial
    best = results.best_rate(contender)
    trials = (Trial(contender.name, best, s, seed) for s in contender.shares for seed in _SEEDS)
    return next((trial for trial in trials if trial not in results), None)
