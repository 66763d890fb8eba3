"""What an optimizer step leaves behind."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class StepResult:
    """What a step leaves on the device; reading a value waits for the step to end."""

    loss: Tensor
    """() float32; mean nats a token over the whole batch, before the update."""
    grad_norm: Tensor
    """() float32; global norm before clipping."""

    @property
    def is_sound(self) -> Tensor:
        """Whether an update may be made, on the device: () bool."""
        return torch.isfinite(self.loss) & torch.isfinite(self.grad_norm)
