"""Count parameters exactly, by component or by matrix.

Stage: shape -> *parameters* -> FLOPs, memory, disk. Not here: weights files (`sources`).
"""

from collections.abc import Iterator
from dataclasses import dataclass

from accounting.shape import NORMS, ModelShape


@dataclass(frozen=True, kw_only=True, slots=True)
class Parameters:
    """Trainable numbers by component, over all layers."""

    embedding: int
    """Embeddings of tokens, and of positions if they are learned."""
    attention: int
    """Query, key, value and output projections."""
    feed_forward: int
    norms: int
    """Gains and biases, including those of queries and keys."""
    head: int
    """0 if it is tied to the embedding."""

    @property
    def total(self) -> int:
        """All trainable numbers; a tied matrix counts once."""
        return self.embedding + self.attention + self.feed_forward + self.norms + self.head

    @property
    def non_embedding(self) -> int:
        """All numbers without embedding and head, as in scaling laws."""
        return self.attention + self.feed_forward + self.norms


@dataclass(frozen=True, slots=True)
class Weight:
    """One parameter tensor, under CS336's state-dict name without `.weight`."""

    name: str
    shape: tuple[int, ...]

    @property
    def count(self) -> int:
        """Numbers in it."""
        rows, columns = self.shape[0], self.shape[1] if len(self.shape) > 1 else 1
        return rows * columns


def count_parameters(shape: ModelShape) -> Parameters:
    """Count the parameters of `nn_layers.TransformerLM`, or of a published model.

    >>> from accounting import PRESETS
    >>> count_parameters(PRESETS["gpt2-xl"]).total
    2127057600
    """
    positions = shape.context_length * shape.d_model if shape.position == "learned" else 0
    matrix = shape.vocab_size * shape.d_model
    attention = 2 * shape.d_model * (shape.d_q + shape.d_kv) + _attention_biases(shape)
    feed_forward = shape.feed_forward_matrices * shape.d_model * shape.d_ff
    if shape.feed_forward_bias:
        feed_forward += (shape.feed_forward_matrices - 1) * shape.d_ff + shape.d_model
    one_norm = shape.d_model * (2 if shape.norm_bias else 1)
    norms = NORMS[shape.norm].per_block * one_norm
    norms += 2 * shape.d_head if shape.qk_norm else 0
    return Parameters(
        embedding=matrix + positions,
        attention=shape.num_layers * attention,
        feed_forward=shape.num_layers * feed_forward,
        norms=shape.num_layers * norms + one_norm * NORMS[shape.norm].final,
        head=0 if shape.tie_embeddings else matrix,
    )


def list_weights(shape: ModelShape) -> Iterator[Weight]:
    """Name every parameter tensor of `nn_layers.TransformerLM` with its shape, as it saves them.

    It has neither biases nor learned positions.

    >>> from accounting import PRESETS
    >>> [weight.name for weight in list_weights(PRESETS["gpt2-small"])][:3]
    ['token_embeddings', 'layers.0.ln1', 'layers.0.attn.q_proj']
    """
    d = shape.d_model
    yield Weight("token_embeddings", (shape.vocab_size, d))
    for layer in range(shape.num_layers):
        for name, dims in _block_weights(shape).items():
            yield Weight(f"layers.{layer}.{name}", dims)
    if NORMS[shape.norm].final:
        yield Weight("ln_final", (d,))
    if not shape.tie_embeddings:
        yield Weight("lm_head", (shape.vocab_size, d))


def _block_weights(shape: ModelShape) -> dict[str, tuple[int, ...]]:
    d, f, has_norms = shape.d_model, shape.d_ff, NORMS[shape.norm].per_block > 0
    weights: dict[str, tuple[int, ...] | None] = {
        "ln1": (d,) if has_norms else None,
        "attn.q_proj": (shape.d_q, d),
        "attn.k_proj": (shape.d_kv, d),
        "attn.v_proj": (shape.d_kv, d),
        "attn.output_proj": (d, shape.d_q),
        "attn.q_norm": (shape.d_head,) if shape.qk_norm else None,
        "attn.k_norm": (shape.d_head,) if shape.qk_norm else None,
        "ln2": (d,) if has_norms else None,
        "ffn.w1": (f, d),
        "ffn.w2": (d, f),
        "ffn.w3": (f, d) if shape.feed_forward_matrices == 3 else None,
    }
    return {name: dims for name, dims in weights.items() if dims is not None}


def _attention_biases(shape: ModelShape) -> int:
    if shape.attention_bias == "none":
        return 0
    return shape.d_q + 2 * shape.d_kv + (shape.d_model if shape.attention_bias == "all" else 0)


def openai_gpt2_parameters(
    *, vocab_size: int, context_length: int, d_model: int, num_layers: int
) -> int:
    """Count the parameters of OpenAI's own GPT-2, which has a different architecture.

    It has learned positions, LayerNorms with bias, a two-matrix GELU layer of width 4 d_model,
    biases everywhere, and a head tied to the embedding. Source: Radford et al. 2019; openai/gpt-2.

    >>> openai_gpt2_parameters(vocab_size=50257, context_length=1024, d_model=1600, num_layers=48)
    1557611200
    """
    shape = ModelShape(
        vocab_size=vocab_size,
        context_length=context_length,
        d_model=d_model,
        num_layers=num_layers,
        num_heads=1,
        d_ff=4 * d_model,
        feed_forward="gelu",
        position="learned",
        tie_embeddings=True,
        attention_bias="all",
        feed_forward_bias=True,
        norm_bias=True,
    )
    return count_parameters(shape).total
