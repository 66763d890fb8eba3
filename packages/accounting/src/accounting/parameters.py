"""Count parameters, exactly, component by component."""

from dataclasses import dataclass

from accounting.shape import ModelShape


@dataclass(frozen=True, kw_only=True, slots=True)
class Parameters:
    """Trainable numbers by component, over all layers."""

    embedding: int
    attention: int
    """Query, key, value and output projections."""
    feed_forward: int
    norms: int
    """Gains, those of queries and keys included."""
    head: int
    """0 where it is tied to the embedding."""

    @property
    def total(self) -> int:
        """All trainable numbers; a tied matrix counts once."""
        return self.embedding + self.attention + self.feed_forward + self.norms + self.head


def count_parameters(shape: ModelShape) -> Parameters:
    """Count the parameters of `nn_layers.TransformerLM`.

    >>> from accounting import PRESETS
    >>> count_parameters(PRESETS["gpt2-xl"]).total
    2127057600
    """
    matrix = shape.vocab_size * shape.d_model
    attention = 2 * shape.d_model**2 + 2 * shape.d_model * shape.d_kv
    norms = 0 if shape.norm == "none" else 2 * shape.d_model
    norms += 2 * shape.d_head if shape.qk_norm else 0
    final_norm = shape.d_model if shape.norm == "pre" else 0
    feed_forward = shape.feed_forward_matrices * shape.d_model * shape.d_ff
    return Parameters(
        embedding=matrix,
        attention=shape.num_layers * attention,
        feed_forward=shape.num_layers * feed_forward,
        norms=shape.num_layers * norms + final_norm,
        head=0 if shape.tie_embeddings else matrix,
    )


def openai_gpt2_parameters(
    *, vocab_size: int, context_length: int, d_model: int, num_layers: int
) -> int:
    """Count the parameters of OpenAI's own GPT-2, which is another architecture.

    Learned positions, LayerNorms with bias, a two-matrix GELU layer of width 4 d_model, biases
    everywhere, and a head tied to the embedding. Source: Radford et al. 2019; openai/gpt-2.

    >>> openai_gpt2_parameters(vocab_size=50257, context_length=1024, d_model=1600, num_layers=48)
    1557611200
    """
    attention = 4 * d_model**2 + 4 * d_model
    feed_forward = 8 * d_model**2 + 5 * d_model
    norms = 4 * d_model
    embeddings = (vocab_size + context_length) * d_model
    return embeddings + num_layers * (attention + feed_forward + norms) + 2 * d_model
