"""Count the floating-point operations of matrix products by one of three conventions.

Stage: shape -> *FLOPs*. A product of (m, k) by (k, n) is 2 m k n. No number mixes conventions:

- counter: what `torch.utils.flop_counter.FlopCounterMode` counts: every score, masked or not.
- model: the work that the model itself requires. Causal attention counts the half that is not
  masked, and nothing counts twice. Model FLOPs utilization (MFU) uses it.
- hardware: the counter's, plus what is recomputed to save memory.

Norms, activations, softmax and the embedding look-up are not matrix products and count 0.
"""

from dataclasses import asdict, dataclass, replace
from typing import Literal

from accounting.shape import ModelShape

Convention = Literal["counter", "model", "hardware"]
"""The convention of a count; see the module."""
AttentionKernel = Literal["math", "fused"]
"""Whether the backward pass keeps the scores ("math") or recomputes them ("fused")."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Flops:
    """FLOPs of one sequence, by component, over all layers."""

    qkv: int
    """Query, key and value projections."""
    scores_and_values: int
    """Queries times keys, and weights times values."""
    output_projection: int
    feed_forward: int
    head: int

    @property
    def attention(self) -> int:
        """Projections, scores and values."""
        return self.qkv + self.scores_and_values + self.output_projection

    @property
    def total(self) -> int:
        """All matrix products."""
        return self.attention + self.feed_forward + self.head

    def __add__(self, other: "Flops") -> "Flops":
        names = asdict(self)
        return Flops(**{name: getattr(self, name) + getattr(other, name) for name in names})


def forward_flops(
    shape: ModelShape, num_tokens: int | None = None, *, convention: Convention = "counter"
) -> Flops:
    """Count the forward pass of one sequence.

    Args:
        shape: the model.
        num_tokens: length of the sequence; None: the whole context.
        convention: "hardware" equals "counter" here: nothing is recomputed yet.

    Raises:
        ValueError: a length below 1 or beyond the context.

    >>> from accounting import PRESETS
    >>> forward_flops(PRESETS["gpt2-xl"]).total
    4513336524800
    """
    tokens = _checked_tokens(shape, num_tokens)
    per_layer = 2 * tokens * shape.num_layers
    scores = shape.scores(tokens, causal=convention == "model")
    return Flops(
        qkv=per_layer * shape.d_model * (shape.d_q + 2 * shape.d_kv),
        scores_and_values=int(4 * scores * shape.d_q * shape.num_layers),
        output_projection=per_layer * shape.d_model * shape.d_q,
        feed_forward=per_layer * shape.feed_forward_matrices * shape.d_model * shape.d_ff,
        head=2 * tokens * shape.d_model * shape.vocab_size,
    )


def backward_flops(
    shape: ModelShape,
    num_tokens: int | None = None,
    *,
    convention: Convention = "counter",
    attention: AttentionKernel = "math",
) -> Flops:
    """Count the backward pass of one sequence: two products for each one of the forward pass.

    One gives the gradient of the input, one that of the weight (or, in attention, of both inputs).
    A fused attention kernel does not keep the scores and recomputes the product of queries and
    keys: five products instead of two. The model convention never counts that.

    Args:
        shape: the model.
        num_tokens: length of the sequence; None: the whole context.
        convention: see the module.
        attention: "math" counts scores and values 2.0 times the forward pass, as torch does on the
            meta device, "fused" 2.5 times, as it does for its fused kernels on CPU and CUDA.

    >>> from accounting import PRESETS
    >>> xl = PRESETS["gpt2-xl"]
    >>> backward_flops(xl).total == 2 * forward_flops(xl).total
    True
    """
    once = forward_flops(shape, num_tokens, convention=convention)
    twice = once + once
    if attention == "fused" and convention != "model":
        recomputed = once.scores_and_values // 2
        return replace(twice, scores_and_values=twice.scores_and_values + recomputed)
    return twice


def recomputed_flops(
    shape: ModelShape, num_tokens: int | None = None, *, checkpointing: bool
) -> Flops:
    """Count what the backward pass of one sequence recomputes; hardware convention.

    With checkpointing, every block keeps only its input and repeats its forward pass.

    `backward_flops` already includes what a fused attention kernel recomputes. The chunked loss
    recomputes nothing: it takes its gradients while it has the logits.
    """
    once = asdict(replace(forward_flops(shape, num_tokens), head=0))
    return Flops(**{name: checkpointing * flops for name, flops in once.items()})


def training_flops(shape: ModelShape, num_tokens: int, *, convention: Convention = "model") -> int:
    """Count forward and backward of `num_tokens` tokens in full windows.

    By the model convention 6 N_matmul + 6 L d T per token: N_matmul are the parameters of the
    matrix products (the head counts, tied or not, the embedding look-up does not), and causal
    attention counts half. By the counter convention the second term doubles.

    Args:
        shape: the model; windows are its whole context.
        num_tokens: tokens trained on.
        convention: "hardware" equals "counter": no recomputation.

    Source: Chowdhery et al. 2022 (PaLM), arXiv:2204.02311, appendix B. Departure: its attention
    term 12 L H Q T is halved, because half of the scores are masked.

    >>> reference = ModelShape(vocab_size=10_000, context_length=256, d_model=512, num_layers=4,
    ...                        num_heads=16, d_ff=1344)
    >>> training_flops(reference, 1)
    108576768
    """
    # A window's FLOPs are a multiple of its tokens, so the division leaves no remainder.
    window = 3 * forward_flops(shape, convention=convention).total
    return window * num_tokens // shape.context_length


def _checked_tokens(shape: ModelShape, num_tokens: int | None) -> int:
    tokens = shape.context_length if num_tokens is None else num_tokens
    if not 1 <= tokens <= shape.context_length:
        raise ValueError(
            f"num_tokens is {tokens}, but must be in [1, {shape.context_length}], the context"
        )
    return tokens
