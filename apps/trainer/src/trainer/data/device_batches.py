"""Cut the same training windows as `batches.py`, on the device that trains on them.

Stage: token file -> *batches* -> model, inside a step that may be a captured CUDA graph: the step
number is a tensor, nothing waits, and the windows are the same as on the host. A token stream that
does not fit beside the model stays on the host; its windows travel through pinned memory while the
device still computes the previous step. Not here: how a step uses the windows (`training/`).
"""

from typing import Protocol

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from trainer.data.batches import count_starts
from trainer.data.window_starts import window_starts

SHARE_OF_FREE_MEMORY = 0.25
"""Share of free device memory that the token stream may take; a larger one stays on the host."""
PINNED_SLOTS = 4
_COPIED_AT_ONCE = 2**26
_LOW_HALF = 0xFFFFFFFF
_SIGNED = {2: (np.int16, torch.int16), 4: (np.int32, torch.int32), 8: (np.int64, torch.int64)}


class WindowSource(Protocol):
    """Provides the windows of each step, counted from zero."""

    def prepare(self, step: int, num_windows: int) -> None:
        """Do the host's part of `cut` for `step`, without waiting."""

    def prefetch(self, step: int, num_windows: int) -> None:
        """Begin what `prepare` will need, while the device is busy."""

    def cut(self, step: Int[Tensor, ""], indices: range) -> tuple[Tensor, Tensor]:
        """Return inputs and targets, (b, t) int64 on the device; launches kernels only."""
        ...


def choose_windows(
    tokens: np.ndarray,
    *,
    seed: int,
    context_length: int,
    max_windows: int,
    device: torch.device,
    free_bytes: int | None = None,
) -> "DeviceWindows | PinnedWindows":
    """Return windows cut on the device if the stream fits there, else windows copied to it.

    Args:
        tokens: (n,) unsigned integers, usually a memmap.
        seed: see `batches.window_starts`.
        context_length: tokens per window.
        max_windows: most windows in a step.
        device: where the steps run.
        free_bytes: free memory of the device; None: query it.

    Raises:
        ValueError: the stream cannot hold one window and its last target.
    """
    if free_bytes is None:
        is_cuda = device.type == "cuda"
        free_bytes = torch.cuda.mem_get_info(device)[0] if is_cuda else 2**63
    if tokens.nbytes <= SHARE_OF_FREE_MEMORY * free_bytes:
        return DeviceWindows(tokens, seed=seed, context_length=context_length, device=device)
    return PinnedWindows(
        tokens, seed=seed, context_length=context_length, max_windows=max_windows, device=device
    )


class DeviceWindows(WindowSource):
    """Holds all tokens on the device and cuts windows there; see `choose_windows`."""

    def __init__(
        self, tokens: np.ndarray, *, seed: int, context_length: int, device: torch.device
    ) -> None:
        self._num_starts = count_starts(tokens, context_length=context_length)
        self._tokens = _to_device(tokens, device)
        # Torch indexes signed integers only; the mask restores their unsigned values.
        self._mask = 2 ** (8 * tokens.itemsize) - 1 if tokens.itemsize < 8 else -1
        self._seed_hash = mix(torch.tensor(seed, dtype=torch.int64, device=device))
        self._offsets = torch.arange(context_length + 1, dtype=torch.int64, device=device)

    def cut(self, step: Int[Tensor, ""], indices: range) -> tuple[Tensor, Tensor]:
        """Return inputs and targets of the windows `indices` of `step`."""
        starts = self.starts(step, indices)
        windows = self._tokens[starts[:, None] + self._offsets].long() & self._mask
        return windows[:, :-1].contiguous(), windows[:, 1:].contiguous()

    def starts(self, step: Int[Tensor, ""], indices: range) -> Int[Tensor, "b"]:
        """Return the same starts as `batches.window_starts`."""
        first, last, every = indices.start, indices.stop, indices.step
        device = self._seed_hash.device
        numbers = torch.arange(first, last, every, dtype=torch.int64, device=device)
        hashes = mix(mix(self._seed_hash ^ step) ^ numbers)
        return high_product(hashes, self._num_starts)


class PinnedWindows(WindowSource):
    """Holds the tokens on the host, copies windows by pinned memory; see `choose_windows`."""

    def __init__(
        self,
        tokens: np.ndarray,
        *,
        seed: int,
        context_length: int,
        max_windows: int,
        device: torch.device,
    ) -> None:
        self._num_starts = count_starts(tokens, context_length=context_length)
        self._tokens, self._seed = tokens, seed
        self._is_cuda = device.type == "cuda"
        shape = (max_windows, context_length + 1)
        self._windows = torch.zeros(shape, dtype=torch.int64, device=device)
        self._slots = [
            torch.zeros(shape, dtype=torch.int64, device="cpu", pin_memory=self._is_cuda)
            for _ in range(PINNED_SLOTS)
        ]
        self._copied: list[torch.cuda.Event | None] = [None] * PINNED_SLOTS
        self._ready: tuple[int, int] | None = None
        self._offsets = np.arange(context_length + 1)

    def prefetch(self, step: int, num_windows: int) -> None:
        """Read the windows of `step` into pinned memory, once an earlier copy from it is done."""
        slot = step % PINNED_SLOTS
        event = self._copied[slot]
        if event is not None:
            event.synchronize()
        starts = window_starts(
            seed=self._seed, step=step, indices=range(num_windows), num_starts=self._num_starts
        )
        windows = np.asarray(self._tokens)[starts[:, None] + self._offsets]
        self._slots[slot][:num_windows].copy_(torch.from_numpy(windows.astype(np.int64)))
        self._ready = (step, num_windows)

    def prepare(self, step: int, num_windows: int) -> None:
        """Start copying the windows of `step` to the device."""
        if self._ready != (step, num_windows):
            self.prefetch(step, num_windows)
        slot = step % PINNED_SLOTS
        self._windows[:num_windows].copy_(self._slots[slot][:num_windows], non_blocking=True)
        if self._is_cuda:
            self._copied[slot] = event = torch.cuda.Event()
            event.record()

    def cut(self, step: Int[Tensor, ""], indices: range) -> tuple[Tensor, Tensor]:
        """Return inputs and targets of the windows `indices` of the last prepared step."""
        windows = self._windows[indices.start : indices.stop : indices.step]
        return windows[:, :-1].contiguous(), windows[:, 1:].contiguous()


def mix(state: Int[Tensor, "..."]) -> Int[Tensor, "..."]:
    """Advance SplitMix64 states by one and return the outputs, as `batches` does.

    Unsigned 64-bit integers are held in signed ones: sums and products wrap around to the same
    bits, and `_shift` shifts in zeros.
    """
    mixed = state + _signed(0x9E3779B97F4A7C15)
    mixed = (mixed ^ _shift(mixed, 30)) * _signed(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ _shift(mixed, 27)) * _signed(0x94D049BB133111EB)
    return mixed ^ _shift(mixed, 31)


def high_product(a: Int[Tensor, "..."], b: int) -> Int[Tensor, "..."]:
    """Return the upper 64 of the 128 bits of a * b, both unsigned; b below 2^63."""
    a_high, a_low, b_high, b_low = _shift(a, 32), a & _LOW_HALF, b >> 32, b & _LOW_HALF
    middle = a_high * b_low + _shift(a_low * b_low, 32)
    carry = a_low * b_high + (middle & _LOW_HALF)
    return a_high * b_high + _shift(middle, 32) + _shift(carry, 32)


def _shift(bits: Tensor, places: int) -> Tensor:
    """Shift right and fill with zeros, where torch's shift of signed integers copies the sign."""
    return (bits >> places) & (2 ** (64 - places) - 1)


def _signed(bits: int) -> int:
    return bits - 2**64 if bits >= 2**63 else bits


def _to_device(tokens: np.ndarray, device: torch.device) -> Tensor:
    """Copy tokens in parts: a memmap need not fit into the host's memory."""
    signed, dtype = _SIGNED[tokens.itemsize]
    moved = torch.empty(len(tokens), dtype=dtype, device=device)
    for first in range(0, len(tokens), _COPIED_AT_ONCE):
        part = np.array(tokens[first : first + _COPIED_AT_ONCE]).view(signed)
        moved[first : first + len(part)].copy_(torch.from_numpy(part))
    return moved
