"""Print the comparison as tables.

Stage: results, times -> *tables* on stdout. Not here: the choice of trainings.
"""

import statistics
from collections.abc import Sequence

from rich.console import Console

from bench.console import new_table, table_console
from bench.learning.results import Results
from bench.learning.times import StepTimes
from bench.learning.trials import Contender, Experiment

_COLUMNS = ("contender", "rate", "tokens", "steps", "final loss", "seeds", "seconds", "verdict")


def print_learning(
    contenders: Sequence[Contender],
    results: Results,
    times: StepTimes,
    experiment: Experiment,
    console: Console | None = None,
) -> None:
    """Print each contender's loss by number of tokens, and the rates that were tried."""
    console = table_console(140) if console is None else console
    title = "final validation loss, nats per token: mean over seeds (minimum-maximum)"
    table = new_table(title, *_COLUMNS, left=len(_COLUMNS))
    for contender in contenders:
        for share in contender.shares if results.rates(contender) else ():
            table.add_row(*_cells(contender, share, contenders[0], results, times, experiment))
    console.print(table)
    columns = ("contender", "share of the tokens", "rate: loss")
    tried = new_table("rates tried, one seed: final loss", *columns, left=3)
    for contender in contenders:
        losses = sorted(results.rates(contender).items())
        shown = ", ".join(f"{rate:g}: {loss:.4f}" for rate, loss in losses)
        tried.add_row(contender.name, f"{contender.tuned_at:g}", shown)
    console.print(tried)


def _cells(
    contender: Contender,
    share: float,
    baseline: Contender,
    results: Results,
    times: StepTimes,
    experiment: Experiment,
) -> list[str]:
    found = results.at_share(contender, share)
    name, rate = contender.name, f"{results.best_rate(contender):g}"
    if not found:
        return [name, rate, f"{share:g}x", *("-",) * 5]
    losses = [result["loss"] for result in found]
    mean = statistics.mean(losses)
    seconds = times.of_training(contender, share, experiment)
    least = results.mean_loss(baseline, baseline.shares[0])
    verdict = "baseline"
    if contender is not baseline:
        verdict = "-" if least is None else "reached" if mean <= least else f"+{mean - least:.4f}"
    return [
        name,
        rate,
        f"{found[0]['tokens']:,} ({share:g}x)",
        f"{found[0]['steps']:,}",
        f"{mean:.4f} ({min(losses):.4f}-{max(losses):.4f})",
        str(len(losses)),
        "-" if seconds is None else f"{seconds:.0f}",
        verdict,
    ]
