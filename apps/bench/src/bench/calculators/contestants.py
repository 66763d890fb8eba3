"""Ask each calculator for parameters, FLOPs and memory.

Stage: *contestants* -> `bench.calculators.subject`. Each is asked about the same model as its
documentation shows. A figure that it does not give is None. Not here: measurements.
"""

# pyright: reportMissingImports=false
# Peers come with an extra, and may not be there.

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from accounting import (
    ModelShape,
    StepSettings,
    backward_flops,
    count_parameters,
    forward_flops,
    memory,
)
from bench.calculators.measured import RealStep


@dataclass(frozen=True, slots=True)
class Answer:
    """Predictions of a calculator for one step."""

    parameters: int | None = None
    training_flops: int | None = None
    """Forward and backward pass of the whole batch, matrix products only."""
    peak_bytes: int | None = None


def ours(shape: ModelShape, settings: StepSettings) -> Answer:
    """Ask `accounting`, which needs no model."""
    kernel = "fused" if settings.attention == "sdpa" else "math"
    backward = backward_flops(shape, attention=kernel).total
    flops = settings.batch_size * (forward_flops(shape).total + backward)
    return Answer(count_parameters(shape).total, flops, memory(shape, settings).peak)


def accelerate(shape: ModelShape, settings: StepSettings) -> Answer:
    """Ask for what `accelerate estimate-memory` prints for training with Adam."""
    from accelerate.commands.estimate import estimate_training_usage
    from accelerate.utils import calculate_maximum_sizes

    num_bytes, _ = calculate_maximum_sizes(_model(shape, settings))
    dtype = "float32" if settings.dtype == "float32" else "bfloat16"
    return Answer(peak_bytes=estimate_training_usage(num_bytes, dtype)["step"])


def calflops(shape: ModelShape, settings: StepSettings) -> Answer:
    """Ask calflops for the forward pass, and for the backward pass as twice that."""
    import calflops as package

    ids = torch.zeros(settings.batch_size, shape.context_length, dtype=torch.int64)
    flops, _, parameters = package.calculate_flops(
        _model(shape, settings),
        args=[ids],
        include_backPropagation=True,
        print_results=False,
        print_detailed=False,
        output_as_string=False,
    )
    return Answer(parameters=int(parameters), training_flops=int(flops))


CALCULATORS: dict[str, Callable[[ModelShape, StepSettings], Answer]] = {
    "ours": ours,
    "accelerate": accelerate,
    "calflops": calflops,
}


def _model(shape: ModelShape, settings: StepSettings) -> nn.Module:
    return RealStep(shape, settings).model
