"""Count the floating-point operations of the matrix products, convention by convention.

A product of (m, k) by (k, n) is 2 m k n FLOPs. Two conventions, never mixed in one number:

- counter: what a counter of executed products sees; every score is counted, masked or not.
- model: causal attention counts the half that is not masked; MFU uses it.

Norms, activations, softmax and the embedding look-up are no matrix products and count 0.
"""

from dataclasses import dataclass

from accounting.shape import ModelShape


@dataclass(frozen=True, kw_only=True, slots=True)
class Flops:
    """Forward FLOPs of one sequence, by component, over all layers; counter convention."""

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


def forward_flops(shape: ModelShape, num_tokens: int | None = None) -> Flops:
    """Count the forward pass of one sequence; counter convention.

    Args:
        shape: the model.
        num_tokens: length of the sequence; None: the whole context.

    Raises:
        ValueError: a length below 1 or beyond the context.

    >>> from accounting import PRESETS
    >>> forward_flops(PRESETS["gpt2-xl"]).total
    4513336524800
    """
    tokens = shape.context_length if num_tokens is None else num_tokens
    if not 1 <= tokens <= shape.context_length:
        raise ValueError(
            f"num_tokens is {tokens}, but must be in [1, {shape.context_length}], the context"
        )
    per_layer = 2 * tokens * shape.num_layers
    return Flops(
        qkv=per_layer * shape.d_model * (shape.d_model + 2 * shape.d_kv),
        scores_and_values=per_layer * 2 * tokens * shape.d_model,
        output_projection=per_layer * shape.d_model**2,
        feed_forward=per_layer * shape.feed_forward_matrices * shape.d_model * shape.d_ff,
        head=2 * tokens * shape.d_model * shape.vocab_size,
    )


def training_flops(shape: ModelShape, num_tokens: int) -> int:
    """Count forward and backward of `num_tokens` tokens in full windows; model convention.

    6 N_matmul + 6 L d T a token: N_matmul are the parameters of the matrix products (the head
    counts, tied or not, the embedding look-up does not), and causal attention counts half.

    Args:
        shape: the model; windows are its whole context.
        num_tokens: tokens trained on.

    Source: Chowdhery et al. 2022 (PaLM), arXiv:2204.02311, appendix B. Departure: its attention
    term 12 L H Q T is halved, because half of the scores are masked.

    >>> reference = ModelShape(vocab_size=10_000, context_length=256, d_model=512, num_layers=4,
    ...                        num_heads=16, d_ff=1344)
    >>> training_flops(reference, 1)
    108576768
    """
    attention = 2 * shape.d_model**2 + 2 * shape.d_model * shape.d_kv
    feed_forward = shape.feed_forward_matrices * shape.d_model * shape.d_ff
    matmul_parameters = (
        shape.num_layers * (attention + feed_forward) + shape.d_model * shape.vocab_size
    )
    causal = 6 * shape.num_layers * shape.d_model * shape.context_length
    return num_tokens * (6 * matmul_parameters + causal)
