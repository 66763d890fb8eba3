"""Measure tokens per second and the share of the device's peak that they use.

Stage: beside the loop. MFU is model FLOP/s over the datasheet's dense peak; it is unknown, not
zero, for a device that `accounting` does not list. Not here: the display (`progress.py`).
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal, get_args

import torch

from accounting import peak_flops_per_second
from trainer.plan.devices import device_name


@dataclass(frozen=True, slots=True)
class Speed:
    """Training speed over an interval, without evaluation and saving."""

    tokens_per_second: float
    mfu: float | None
    """Model FLOP/s over peak FLOP/s in [0, 1]; None: the device's peak is unknown."""

    @property
    def mfu_text(self) -> str:
        """The utilization in percent, or `unknown`."""
        return "unknown" if self.mfu is None else f"{self.mfu:.1%}"


Cost = Literal["evaluation", "checkpoint", "logging", "data"]
"""Work of the loop outside the steps."""


class Throughput:
    """Counts tokens against the clock, which stops inside `paused`."""

    def __init__(self, *, flops_per_token: float, device: torch.device, dtype: torch.dtype) -> None:
        self._flops_per_token = flops_per_token
        dtype_name = str(dtype).removeprefix("torch.")
        self._peak = peak_flops_per_second(device_name(device), dtype_name)
        self._tokens = self._total_tokens = 0
        self._total_seconds = 0.0
        self._costs: dict[Cost, float] = dict.fromkeys(get_args(Cost), 0.0)
        self._paused_seconds = 0.0
        self._start = time.monotonic()

    def add(self, tokens: int) -> None:
        """Count the tokens of a step."""
        self._tokens += tokens

    def measure(self) -> Speed:
        """Return the speed since the last call; the device must be synchronized."""
        now = time.monotonic()
        tokens, seconds = self._tokens, now - self._start
        self._total_tokens += tokens
        self._total_seconds += seconds
        self._tokens, self._start = 0, now
        return self._speed(tokens, seconds)

    def average(self) -> Speed:
        """Return the speed over all measured intervals."""
        return self._speed(self._total_tokens, self._total_seconds)

    @contextmanager
    def paused(self, cost: Cost) -> Iterator[None]:
        """Exclude the time inside from training, and record it as a cost."""
        start, before = time.monotonic(), self._costs[cost]
        try:
            with self.booked(cost):
                yield
        finally:
            self._start += time.monotonic() - start
            self._paused_seconds += self._costs[cost] - before

    @contextmanager
    def booked(self, cost: Cost) -> Iterator[None]:
        """Record the time inside as a cost; it still counts as training."""
        start = time.monotonic()
        try:
            yield
        finally:
            self._costs[cost] += time.monotonic() - start

    def cost_shares(self) -> dict[str, float]:
        """Return each cost's share of the wall clock since the start, in [0, 1]."""
        seconds = self._total_seconds + self._paused_seconds
        return {cost: spent / seconds if seconds else 0.0 for cost, spent in self._costs.items()}

    def _speed(self, tokens: int, seconds: float) -> Speed:
        tokens_per_second = tokens / seconds if seconds > 0 else 0.0
        flops_per_second = tokens_per_second * self._flops_per_token
        return Speed(tokens_per_second, flops_per_second / self._peak if self._peak else None)
