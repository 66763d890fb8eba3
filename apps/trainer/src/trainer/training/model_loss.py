"""Build the function from windows to mean loss, in the plan's type and by its backends.

Stage: model, plan -> *loss function* -> step. Every stepper takes it from here.
"""

from collections.abc import Callable
from functools import wraps

import torch
from torch import Tensor
from torch._functorch import config as functorch_config

from nn_layers import TransformerLM
from nn_layers.backends.choice import loss_backends
from trainer.plan.compute import ComputePlan
from trainer.plan.devices import autocast

LossOf = Callable[[Tensor, Tensor], Tensor]
"""(inputs, targets) -> () mean loss, with the graph that backward needs."""

KEPT_FOR_BACKWARD = 0.75
"""Of what torch.compile would keep for the backward pass. The CPU recomputes the rest: elementwise
sums and products, which take less time there than to be written and read."""


def build_loss(
    model: TransformerLM, *, plan: ComputePlan, device: torch.device, is_captured: bool = False
) -> LossOf:
    """Return the loss of a batch as a function.

    If steps are captured as a graph, head and loss are compiled with the model, or not at all.
    """
    backend = loss_backends()[plan.loss]
    is_one_graph = is_captured and backend.is_traceable
    hidden_states = model.hidden_states
    if plan.compile and not is_one_graph:
        hidden_states = _compiled(hidden_states)
        if device.type == "cpu":
            hidden_states = _keeping_less(hidden_states)

    def loss_of(inputs: Tensor, targets: Tensor) -> Tensor:
        with autocast(device, plan.dtype):
            hidden = hidden_states(inputs)
            is_compiled = plan.compile and not is_captured
            return backend.score(hidden, model.head_weight, targets, is_compiled=is_compiled)

    return _compiled(loss_of) if plan.compile and is_one_graph else loss_of


def _compiled(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    return torch.compile(function, fullgraph=True, dynamic=False)


def _keeping_less(compiled: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Return a compiled function that keeps `KEPT_FOR_BACKWARD` of what it would."""

    @wraps(compiled)
    def call(inputs: Tensor) -> Tensor:
        with functorch_config.patch(activation_memory_budget=KEPT_FOR_BACKWARD):
            return compiled(inputs)

    return call
