"""Predict what generating text costs: the cache, the FLOPs, and the speed that bandwidth allows.

Stage: shape -> *bytes and FLOPs of prefill and decode*. A decoded token reads every weight once and
computes little with it, so for small batches memory bandwidth limits the speed.
"""

from dataclasses import dataclass

from accounting.flops import forward_flops
from accounting.plural import plural
from accounting.shape import ModelShape


@dataclass(frozen=True, kw_only=True, slots=True)
class Inference:
    """Generating with a cache of keys and values."""

    cache_bytes: int
    """For all sequences, at the full length."""
    prefill_flops: int
    """The prompts of all sequences; counter convention."""
    decode_flops: int
    """One more token of each sequence, at the full length; counter convention."""
    read_bytes: int
    """For that one token: the weights, and the cache."""
    tokens_per_second: float | None
    """Upper bound over all sequences, if only reading took time; None: bandwidth unknown."""


def inference(
    shape: ModelShape,
    *,
    prompt_tokens: int,
    new_tokens: int = 0,
    batch_size: int = 1,
    weight_bytes: float = 2,
    cache_bytes: float = 2,
    bytes_per_second: float | None = None,
) -> Inference:
    """Predict prefill and decode.

    Args:
        shape: the model.
        prompt_tokens: of each sequence.
        new_tokens: generated after them.
        batch_size: sequences side by side; they share one reading of the weights.
        weight_bytes: bytes per weight; 2: bfloat16, 1: int8.
        cache_bytes: bytes per cached number.
        bytes_per_second: bandwidth of the memory; None: unknown.

    Raises:
        ValueError: more tokens than the context holds, or a size below 1.

    >>> from accounting import PRESETS
    >>> one = inference(PRESETS["gpt2-xl"], prompt_tokens=1024)
    >>> one.cache_bytes == 2 * 48 * 1600 * 1024 * 2
    True
    """
    length = prompt_tokens + new_tokens
    if batch_size < 1 or prompt_tokens < 1 or new_tokens < 0:
        raise ValueError(
            f"batch_size is {batch_size}, prompt_tokens {prompt_tokens} and new_tokens "
            f"{new_tokens}, but sequences and prompts need at least 1"
        )
    prefill = forward_flops(shape, prompt_tokens).total
    cached = kv_cache_bytes(shape, num_tokens=length, itemsize=cache_bytes)
    weights = int(matrix_parameters(shape) * weight_bytes)
    read = weights + batch_size * cached
    speed = None if bytes_per_second is None else batch_size * bytes_per_second / read
    return Inference(
        cache_bytes=batch_size * cached,
        prefill_flops=batch_size * prefill,
        decode_flops=batch_size * decode_flops(shape, num_tokens=length),
        read_bytes=read,
        tokens_per_second=speed,
    )


def kv_cache_bytes(shape: ModelShape, *, num_tokens: int, itemsize: float) -> int:
    """Return the bytes of keys and values of one sequence, at most one window."""
    if num_tokens > shape.context_length:
        raise ValueError(
            f"{plural(num_tokens, 'token')}, but the context holds {shape.context_length}; give "
            "fewer"
        )
    held = min(num_tokens, shape.sliding_window or num_tokens)
    return int(2 * shape.num_layers * shape.d_kv * held * itemsize)


def decode_flops(shape: ModelShape, *, num_tokens: int) -> int:
    """Count one token that sees `num_tokens`, itself included; counter convention."""
    seen = min(num_tokens, shape.sliding_window or num_tokens)
    return 2 * matrix_parameters(shape) + 4 * shape.num_layers * shape.d_q * seen


def matrix_parameters(shape: ModelShape) -> int:
    """Count the matrix parameters that multiply every token: blocks and head, no look-up.

    >>> from accounting import PRESETS, forward_flops
    >>> small = PRESETS["gpt2-small"]
    >>> 2 * matrix_parameters(small) + 4 * 12 * 768 == forward_flops(small, 1).total
    True
    """
    projections = 2 * shape.d_model * (shape.d_q + shape.d_kv)
    feed_forward = shape.feed_forward_matrices * shape.d_model * shape.d_ff
    return shape.num_layers * (projections + feed_forward) + shape.vocab_size * shape.d_model
