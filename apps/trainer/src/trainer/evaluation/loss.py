"""Measure how well a model predicts held-out text.

Stage: model, validation tokens -> *nats per token, bits per byte*. `evaluate_windows` samples
windows during training; `score_stream` scores every token for the final figure. Not here: simple
predictors of the same text (`baselines.py`).
"""

import math
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from accounting.plural import agree, plural
from nn_layers.precision import widest_float
from trainer.data.batches import read_windows
from trainer.plan.devices import autocast

Progress = Callable[[int, int], None]
"""Called with the number of tokens scored so far and in total."""


@dataclass(frozen=True, slots=True)
class StreamScore:
    """The loss of a model on a stream of tokens."""

    total_nats: float
    """Summed loss, end-of-text included."""
    num_tokens: int
    """Scored tokens, end-of-text included."""
    num_bytes: int
    """UTF-8 bytes of the scored text; end-of-text has none."""

    @property
    def nats_per_token(self) -> float:
        """Mean loss; depends on the tokenizer."""
        return self.total_nats / self.num_tokens

    @property
    def perplexity(self) -> float:
        """Exponential of the mean loss; inf beyond float64."""
        return math.exp(self.nats_per_token) if self.nats_per_token < 709 else math.inf

    @property
    def bits_per_byte(self) -> float:
        """Mean loss per byte of text; comparable across tokenizers."""
        if self.num_bytes == 0:
            raise ValueError(
                f"the {plural(self.num_tokens, 'scored token')} "
                f"{agree(self.num_tokens, 'holds', 'hold')} no text, so bits per byte are "
                "undefined; score a stream that contains text"
            )
        return self.total_nats / math.log(2) / self.num_bytes


def evaluate_windows(
    model: nn.Module,
    tokens: np.ndarray,
    *,
    num_windows: int,
    context_length: int,
    batch_size: int,
    device: torch.device,
    dtype: torch.dtype = torch.float32,
    around_first: AbstractContextManager[None] | None = None,
) -> float:
    """Return the mean loss on windows that are the same at every call, in nats per token.

    The windows are spread evenly over the stream, and do not overlap if it is long enough.

    Args:
        model: (b, t) ids -> (b, t, v) logits; its training mode is restored.
        tokens: (n,) token ids, usually a memmap.
        num_windows: windows in total.
        context_length: tokens per window.
        batch_size: windows per forward pass; affects memory, not the result.
        device: the model's device.
        dtype: compute type; below float32 the forward pass runs under autocast.
        around_first: entered for the first batch only, to measure it.

    Raises:
        ValueError: the stream cannot hold one window and its last target, or a count is below 1.
    """
    starts = fixed_starts(len(tokens), num_windows=num_windows, context_length=context_length)
    _require_batch(batch_size)
    total_nats = 0.0
    watched = around_first or nullcontext()
    with _scoring(model, device=device, dtype=dtype):
        for first in range(0, num_windows, batch_size):
            with watched if first == 0 else nullcontext():
                inputs, targets = read_windows(
                    tokens,
                    starts=starts[first : first + batch_size],
                    context_length=context_length,
                    device=device,
                )
                total_nats += _summed_nats(model(inputs), targets)
    return total_nats / (num_windows * context_length)


def score_stream(
    model: nn.Module,
    tokens: np.ndarray,
    *,
    context_length: int,
    batch_size: int,
    token_lengths: np.ndarray,
    end_of_text_id: int,
    device: torch.device,
    dtype: torch.dtype = torch.float32,
    progress: Progress | None = None,
    around_first: AbstractContextManager[None] | None = None,
) -> StreamScore:
    """Score every token of a stream exactly once, in windows that do not overlap.

    The first token is predicted from end-of-text, the first token of every other window from its
    predecessor. No token sees more than its window.

    The arguments are those of `evaluate_windows`, and:
        token_lengths: (v,) UTF-8 bytes of each id; end-of-text counts as zero.
        end_of_text_id: precedes the first token.
        progress: called after each batch.

    Raises:
        ValueError: the stream is empty, or batch_size is below 1.
    """
    if len(tokens) == 0:
        raise ValueError("there are no tokens to score; provide at least 1")
    _require_batch(batch_size)
    lengths = np.array(token_lengths, dtype=np.int64)
    lengths[end_of_text_id] = 0
    total_nats, num_bytes, done = 0.0, 0, 0
    watched = around_first or nullcontext()
    with _scoring(model, device=device, dtype=dtype):
        for first, rows, columns in _tiles(len(tokens), context_length, batch_size):
            done = first + rows * columns
            # Inputs start one token before the targets; end-of-text precedes the first.
            span = np.asarray(tokens[max(first - 1, 0) : done]).astype(np.int64)
            if first == 0:
                span = np.concatenate(([end_of_text_id], span))
            num_bytes += int(lengths[span[1:]].sum())
            ids = torch.from_numpy(span).to(device)
            with watched if first == 0 else nullcontext():
                inputs, targets = (part.view(rows, columns) for part in (ids[:-1], ids[1:]))
                total_nats += _summed_nats(model(inputs), targets)
            if progress is not None:
                progress(done, len(tokens))
    return StreamScore(total_nats, done, num_bytes)


def fixed_starts(num_tokens: int, *, num_windows: int, context_length: int) -> np.ndarray:
    """Return the starts of windows spread evenly over a stream: (num_windows,) int64, ascending.

    The first window starts at 0; the last ends one token, its last target, before the stream does.

    Raises:
        ValueError: the stream is too short for a window, or num_windows is below 1.

    >>> fixed_starts(13, num_windows=3, context_length=4).tolist()
    [0, 4, 8]
    """
    last = num_tokens - context_length - 1
    if last < 0:
        raise ValueError(
            f"token stream holds {plural(num_tokens, 'token')}, but "
            f"context_length={context_length} needs at least {context_length + 1}; shorten the "
            "context or encode more text"
        )
    if num_windows < 1:
        raise ValueError(f"num_windows is {num_windows}, but must be at least 1")
    return np.arange(num_windows, dtype=np.int64) * last // max(num_windows - 1, 1)


@contextmanager
def _scoring(model: nn.Module, *, device: torch.device, dtype: torch.dtype) -> Iterator[None]:
    """Put the model into evaluation mode, without gradients and under autocast, for a while."""
    was_training = model.training
    model.eval()
    try:
        with torch.inference_mode(), autocast(device, dtype):
            yield
    finally:
        model.train(was_training)


def _summed_nats(logits: Tensor, targets: Tensor) -> float:
    """Return -sum log p(target): each term in at least float32, summed in the widest type."""
    widest = widest_float(logits.device)
    total = torch.zeros((), dtype=widest, device=logits.device)
    for row, target in zip(logits, targets, strict=True):  # upcasting row by row saves memory
        wide = row if row.dtype == torch.float64 else row.float()
        chosen = wide.gather(-1, target[:, None]).squeeze(-1)
        total += (wide.logsumexp(-1) - chosen).to(widest).sum()
    return float(total)


def _tiles(num_tokens: int, width: int, height: int) -> Iterator[tuple[int, int, int]]:
    """Split a stream into (first token, rows, columns): full batches, a smaller one, the rest."""
    first = 0
    while num_tokens - first >= width:
        rows = min(height, (num_tokens - first) // width)
        yield first, rows, width
        first += rows * width
    if first < num_tokens:
        yield first, 1, num_tokens - first


def _require_batch(batch_size: int) -> None:
    if batch_size < 1:
        raise ValueError(f"batch_size is {batch_size}, but must be at least 1")
