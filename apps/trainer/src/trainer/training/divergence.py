"""Notice losses and gradients that are not finite, or leap, and find where that began.

Stage: beside the training loop. A step whose loss or gradient is not finite makes no update
(`step.py`). Such steps are counted on the device, so nothing waits for it between log lines.
"""

import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from statistics import fmean, pstdev

import torch
from torch import Tensor, nn

from accounting.plural import plural
from trainer.checkpoint.loop_state import LoopState
from trainer.config.run_config import RunConfig
from trainer.data.preparation import PreparedData
from trainer.storage.run_directory import RunDirectory
from trainer.training.learner import Learner
from trainer.training.model_loss import build_loss
from trainer.training.step import StepResult, host_windows, micro_batches

SPIKE_LOGGED = 20
"""Losses that must be logged before one can be a spike; at most twice as many are kept."""
SPIKE_DEVIATIONS = 6.0
"""How far above their mean a spike is, in their standard deviations ..."""
SPIKE_NATS = 0.1
"""... and in nats at least."""


class DivergedError(ValueError):
    """The loss or the gradient is no longer a finite number."""


class Health:
    """Watches a sitting for skipped updates and for losses that leap, and reports both.

    Skipped steps are counted in `state`.
    """

    def __init__(
        self,
        run: RunDirectory,
        config: RunConfig,
        data: PreparedData,
        learner: Learner,
        state: LoopState,
        *,
        say: Callable[[str], None],
    ) -> None:
        self._run, self._config, self._data = run, config, data
        self._learner, self._state, self._say = learner, state, say
        self._skipped_before = state.skipped
        # On the device, which is waited for only when a line is logged.
        self._in_row = torch.zeros((), dtype=torch.int64, device=learner.device)
        self._in_all = torch.zeros((), dtype=torch.int64, device=learner.device)
        self._spikes = LossSpikes()

    def check(self, result: StepResult, *, now: bool, is_last: bool) -> bool:
        """Count a step, and read it if `now`; return whether it made an update.

        Raises:
            DivergedError: too many in a row made none, or the run's last step did not.
        """
        is_skipped = ~result.is_sound
        self._in_row = torch.where(is_skipped, self._in_row + 1, 0)
        self._in_all = self._in_all + is_skipped
        if not now and self._learner.device.type != "cpu":
            return True  # unknown, and not worth waiting for
        in_row, in_all = int(self._in_row), int(self._in_all)
        state, most = self._state, self._config.training.max_skipped_steps
        before, state.skipped = state.skipped, self._skipped_before + in_all
        if in_row > most or (in_row and is_last):
            raise DivergedError(self._describe(result, in_row))
        if state.skipped > before:
            self._say(
                f"step {state.step:,}: loss {float(result.loss)}, gradient norm "
                f"{float(result.grad_norm)}: {plural(state.skipped - before, 'step')} made "
                f"no update, {in_row} in a row so far; the run stops after more than {most}"
            )
        return in_row == 0

    def log(self, loss: float) -> None:
        """Report a logged loss that leaps above those before."""
        height = self._spikes.height(loss)
        if height is not None:
            self._say(
                f"step {self._state.step:,}: loss {loss:.3f} is a spike, {height:.3f} "
                "above the mean of those logged before"
            )

    def _describe(self, result: StepResult, in_row: int) -> str:
        return (
            f"training diverged: at step {self._state.step} the loss is {float(result.loss)} and "
            f"the gradient norm {float(result.grad_norm)}, {plural(in_row, 'step')} in a row; the "
            f"first tensor that is not finite is {self._find_not_finite()}; the checkpoints in "
            f"{self._run.path} are from before; start again with {self._advise()}"
        )

    def _find_not_finite(self) -> str:
        config, device, step = self._config, self._learner.device, self._state.step
        windows = host_windows(self._data.train.tokens, config=config, device=device)
        # Without compilation: hooks don't see what is fused.
        plan = replace(self._learner.plan, compile=False)
        return find_not_finite(
            self._learner.model,
            (windows(step, indices) for indices in micro_batches(config, step)),
            build_loss(self._learner.model, plan=plan, device=device),
        )

    def _advise(self) -> str:
        advice = ["a lower optimizer.learning-rate", "a longer schedule.warmup-steps"]
        if self._config.optimizer.max_grad_norm is None:
            advice.append("optimizer.max-grad-norm 1.0")
        if self._learner.plan.dtype != torch.float32:
            advice.append("dtype float32")
        return f"{', '.join(advice[:-1])} or {advice[-1]}"


class LossSpikes:
    """Keeps the last logged losses, and finds one that leaps above them."""

    def __init__(self) -> None:
        self._losses: deque[float] = deque(maxlen=2 * SPIKE_LOGGED)

    def height(self, loss: float) -> float | None:
        """Add a loss; return by how many nats it leaps above the earlier ones, or None."""
        if not math.isfinite(loss):
            return None
        known = list(self._losses)
        self._losses.append(loss)
        if len(known) < SPIKE_LOGGED:
            return None
        height = loss - fmean(known)
        return height if height > max(SPIKE_DEVIATIONS * pstdev(known), SPIKE_NATS) else None


def find_not_finite(
    model: nn.Module,
    batches: Iterable[tuple[Tensor, Tensor]],
    loss_of: Callable[[Tensor, Tensor], Tensor],
) -> str:
    """Compute a step again and name the first tensor that is not finite.

    Weights come first, then the outputs of modules as they are computed, then gradients in the
    order of backward. The model's gradients are overwritten.

    Args:
        model: with its weights from before the step.
        batches: inputs and targets of the step's micro-batches.
        loss_of: of inputs and targets; runs `model`'s modules.
    """
    for name, parameter in model.named_parameters():
        if not parameter.isfinite().all():
            return f"the weight {name}"
    for inputs, targets in batches:
        model.zero_grad(set_to_none=True)
        with _first_output(model) as found:
            loss = loss_of(inputs, targets)
        if found:
            return f"the output of {found[0]}"
        if not loss.isfinite():
            return "the loss itself"
        loss.backward()
        for name, parameter in reversed(list(model.named_parameters())):
            if parameter.grad is not None and not parameter.grad.isfinite().all():
                return f"the gradient of {name}"
    return "none, when the step was computed again"


@contextmanager
def _first_output(model: nn.Module) -> Iterator[list[str]]:
    """Collect the names of modules whose output is not finite, in the order they run."""
    found: list[str] = []

    def look(name: str, _module: object, _inputs: object, output: object) -> None:
        if isinstance(output, Tensor) and not output.isfinite().all():
            found.append(name)

    handles = [
        module.register_forward_hook(partial(look, name))
        for name, module in model.named_modules()
        if name and not list(module.children())
    ]
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()
