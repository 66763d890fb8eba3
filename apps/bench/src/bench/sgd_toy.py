"""Show the effect of the learning rate on a problem that can be solved by hand.

Stage: rates -> *losses, step by step*, measured and in closed form. The loss is the mean square of
10 x 10 weights. The optimizer is `optim.SGD` with a rate that falls as 1 / sqrt(t + 1) (CS336
assignment 1, section 4.2). Nothing is timed, so the machine does not matter.
"""

import argparse
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.arguments import numbers, positive
from bench.console import new_table, table_console
from bench.contestants.models import DISTRIBUTIONS
from bench.contestants.peers import fetch_extras
from bench.display.plot import write_curves
from bench.durable import write_json

HELP = "Minimise the mean square of 10 x 10 weights by SGD at several learning rates."
FORMAT, VERSION = "bench-sgd-toy", 1

NUM_WEIGHTS = 100
_DEVIATION = 5.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Descent:
    """The losses of one learning rate: before any update, and after each."""

    rate: float
    losses: list[float]
    predicted: list[float]

    @property
    def num_growing_steps(self) -> int:
        """Number of updates, from the first, that do not move the weights closer to zero.

        An update multiplies by 1 - 2 a / sqrt(t + 1), with a = rate / weights, so the weights get
        closer to zero if and only if t + 1 > a^2.
        """
        return math.floor((self.rate / NUM_WEIGHTS) ** 2)

    @property
    def outcome(self) -> str:
        """Describe in words how the loss changed."""
        ratio = self.losses[-1] / self.losses[0]
        words = "falls" if ratio < 1 else "stays" if ratio == 1 else "diverges"  # or is NaN
        return f"{words}: x {ratio:.3g}"

    def to_json(self) -> dict[str, object]:
        """Return all fields; a loss beyond float32 is null."""
        losses = [loss if math.isfinite(loss) else None for loss in self.losses]
        return {"rate": self.rate, "losses": losses, "predicted": self.predicted}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the subject."""
    parser.add_argument(
        "--rates", type=_rates, default=(1.0, 10.0, 100.0, 1000.0), help="(1,10,100,1000)"
    )
    parser.add_argument("--steps", type=positive, default=10, metavar="N", help="updates (10)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="seed of the weights (0)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all losses to FILE")
    parser.add_argument("--svg", type=Path, metavar="FILE", help="draw the losses to FILE")


def run(arguments: argparse.Namespace) -> int:
    """Descend at every rate and report."""
    fetch_extras({"models.ours": DISTRIBUTIONS["models.ours"]})
    descents = [
        descend(rate, num_steps=arguments.steps, seed=arguments.seed) for rate in arguments.rates
    ]
    if arguments.json:
        settings = {"steps": arguments.steps, "seed": arguments.seed, "weights": NUM_WEIGHTS}
        content = {"format": FORMAT, "version": VERSION, **settings}
        content["descents"] = [descent.to_json() for descent in descents]
        write_json(arguments.json, content)
    if arguments.svg:
        write_curves(
            {f"rate {d.rate:g}": list(enumerate(d.losses)) for d in descents},
            arguments.svg,
            title="Mean square of 10 x 10 weights under SGD",
            labels=("updates", "loss"),
        )
    _print(descents)
    return 0


def descend(rate: float, *, num_steps: int, seed: int) -> Descent:
    """Take `num_steps` updates from the same weights at every rate, in float32."""
    import torch

    from optim import SGD

    generator = torch.Generator().manual_seed(seed)
    weights = torch.nn.Parameter(_DEVIATION * torch.randn(10, 10, generator=generator))
    optimizer = SGD([weights], lr=rate, decay=True)
    losses = []
    for step in range(num_steps + 1):
        optimizer.zero_grad()
        loss = weights.square().mean()
        losses.append(loss.item())
        if step < num_steps:
            loss.backward()
            optimizer.step()
    return Descent(rate=rate, losses=losses, predicted=closed_form(losses[0], rate, num_steps))


def closed_form(initial_loss: float, rate: float, num_steps: int) -> list[float]:
    """Return the losses in exact arithmetic, before any update and after each.

    The gradient of the mean square is 2 w / n, so update t multiplies every weight by
    1 - 2 rate / (n sqrt(t + 1)), and the loss by the square of that.

    >>> closed_form(25.0, 50.0, 2)
    [25.0, 0.0, 0.0]
    >>> closed_form(25.0, 100.0, 1)
    [25.0, 25.0]
    """
    losses = [initial_loss]
    for step in range(num_steps):
        factor = 1 - 2 * rate / (NUM_WEIGHTS * math.sqrt(step + 1))
        losses.append(losses[-1] * factor**2)
    return losses


def _print(descents: Sequence[Descent]) -> None:
    rates = (f"rate {descent.rate:g}" for descent in descents)
    table = new_table("loss before any update, and after each", "update", *rates, left=0)
    for step, losses in enumerate(zip(*(d.losses for d in descents), strict=True)):
        table.add_row(str(step), *(f"{loss:.4g}" for loss in losses))
    table.add_section()
    table.add_row("loss", *(descent.outcome for descent in descents))
    table.add_row("growing", *(str(descent.num_growing_steps) for descent in descents))
    console = table_console(120)
    console.print(table)
    console.print("growing: updates, from the first, that do not move the weights closer to zero")


def _rates(text: str) -> tuple[float, ...]:
    rates = numbers(text)
    if len(rates) > 4 or any(not 0 < rate < math.inf for rate in rates):
        raise argparse.ArgumentTypeError(f"{text!r}; name one to four rates above zero")
    return rates
