"""Cut training windows out of one long token stream.

Stage: token file -> *batches* -> model. The start of window i of step s is an integer hash of
(seed, s, i) and nothing else (`window_starts`), so there is no sampler state to save. The stream
may be a `np.memmap` larger than memory: only the windows are read. Not here: shuffled epochs,
document masking, checks of the ids (done when the token file is opened).
"""

import numpy as np
import torch
from torch import Tensor

from accounting.plural import plural
from trainer.data.window_starts import window_starts


def sample_batch(
    tokens: np.ndarray,
    *,
    seed: int,
    step: int,
    indices: range,
    context_length: int,
    device: torch.device | str,
) -> tuple[Tensor, Tensor]:
    """Read the windows `indices` of one step.

    Args:
        tokens: (n,) unsigned integers; token ids in corpus order, usually a memmap.
        seed: see `window_starts`.
        step: see `window_starts`.
        indices: the windows of one micro-batch.
        context_length: tokens per window.
        device: where the tensors go.

    Returns:
        inputs and targets, (b, t) int64; targets sit one token later.

    Raises:
        ValueError: the stream cannot hold one window and its last target.

    >>> x, y = sample_batch(np.arange(9), seed=0, step=0, indices=range(2), context_length=4,
    ...                     device="cpu")
    >>> tuple(x.shape), bool((y == x + 1).all())
    ((2, 4), True)
    """
    num_starts = count_starts(tokens, context_length=context_length)
    starts = window_starts(seed=seed, step=step, indices=indices, num_starts=num_starts)
    return read_windows(tokens, starts=starts, context_length=context_length, device=device)


def get_batch(
    dataset: np.ndarray,
    batch_size: int,
    context_length: int,
    device: torch.device | str,
    *,
    rng: np.random.Generator | None = None,
) -> tuple[Tensor, Tensor]:
    """Draw new windows at each call, uniformly and with replacement.

    Args:
        dataset: (n,) integers; token ids, in memory or a memmap.
        batch_size: windows to draw.
        context_length: tokens per window.
        device: where the tensors go; an unusable device raises torch's own error.
        rng: the source of randomness; None: fresh entropy at every call.

    Returns:
        inputs and targets, (b, t) int64; targets sit one token later.

    Raises:
        ValueError: the dataset cannot hold one window and its last target, or the batch is empty.

    >>> x, y = get_batch(np.arange(9), 2, 4, "cpu", rng=np.random.default_rng(0))
    >>> tuple(x.shape), bool((y == x + 1).all())
    ((2, 4), True)
    """
    if batch_size < 1:
        raise ValueError(f"batch_size is {batch_size}, but a batch needs at least 1 window")
    num_starts = count_starts(dataset, context_length=context_length)
    starts = (np.random.default_rng() if rng is None else rng).integers(num_starts, size=batch_size)
    return read_windows(dataset, starts=starts, context_length=context_length, device=device)


def read_windows(
    tokens: np.ndarray, *, starts: np.ndarray, context_length: int, device: torch.device | str
) -> tuple[Tensor, Tensor]:
    """Read the windows that begin at `starts`, and their targets one token later.

    Args:
        tokens: (n,) integers; every start + context_length is below n.
        starts: (b,) int64.
        context_length: tokens per window.
        device: where the tensors go; copies to CUDA use pinned memory and do not wait.

    Returns:
        inputs and targets, (b, t) int64, contiguous.
    """
    index = starts[:, None] + np.arange(context_length + 1)  # (b, t+1): one gather, not b slices
    # A memmap viewed as a plain array still reads only the pages that the gather touches.
    windows = torch.from_numpy(np.asarray(tokens)[index].astype(np.int64))
    device = torch.device(device)
    is_pinned = device.type == "cuda" and torch.cuda.is_available()
    if is_pinned:
        windows = windows.pin_memory()
    # Without pinned memory, an asynchronous copy could read memory that was already freed.
    windows = windows.to(device, non_blocking=is_pinned)
    return windows[:, :-1].contiguous(), windows[:, 1:].contiguous()


def count_starts(tokens: np.ndarray, *, context_length: int) -> int:
    """Return the number of positions where a window with its last target fits.

    Raises:
        ValueError: there is none.
    """
    if context_length < 1:
        raise ValueError(f"context_length is {context_length}, but a window needs at least 1 token")
    num_starts = len(tokens) - context_length
    if num_starts < 1:
        raise ValueError(
            f"token stream holds {plural(len(tokens), 'token')}, but "
            f"context_length={context_length} needs at least {context_length + 1}; shorten the "
            "context or encode more text"
        )
    return num_starts
