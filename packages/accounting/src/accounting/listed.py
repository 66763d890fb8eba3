"""Count the activations that CS336 lists, and no others: a floor, and what its exercise asks for.

Source: CS336 assignment 1, problem adamw_accounting. Its list: in each block both RMSNorms, the
query, key and value projections, scores, softmax, weighted sum and output projection, the first
product of the feed-forward layer, SiLU and the second; then the final norm, the logits and the
cross entropy. Everything is float32 and attention written out.
"""

from dataclasses import dataclass

from accounting.parameters import count_parameters
from accounting.shape import ModelShape

_FLOAT32 = 4


@dataclass(frozen=True, slots=True)
class Term:
    """One item of the list."""

    name: str
    formula: str
    """Numbers a window, over all blocks."""
    count: int


def listed_activations(shape: ModelShape) -> list[Term]:
    """Return the numbers that each item keeps, a window.

    >>> from accounting import PRESETS
    >>> sum(term.count for term in listed_activations(PRESETS["gpt2-xl"]))
    3879438336
    """
    t, d, f, v = shape.context_length, shape.d_model, shape.d_ff, shape.vocab_size
    blocks, scores = shape.num_layers, shape.num_heads * t * t
    return [
        Term("RMSNorms", "L 2 t d", blocks * 2 * t * d),
        Term(
            "queries, keys, values", "L t (h k + 2 g k)", blocks * t * (shape.d_q + 2 * shape.d_kv)
        ),
        Term("scores", "L h t t", blocks * scores),
        Term("softmax", "L h t t", blocks * scores),
        Term("weighted sum", "L t h k", blocks * t * shape.d_q),
        Term("output projection", "L t d", blocks * t * d),
        Term("first feed-forward product", "L t f", blocks * t * f),
        Term("SiLU", "L t f", blocks * t * f),
        Term("second feed-forward product", "L t d", blocks * t * d),
        Term("final RMSNorm", "t d", t * d),
        Term("logits", "t v", t * v),
        Term("cross entropy", "t v", t * v),
    ]


def listed_memory(shape: ModelShape) -> tuple[int, int]:
    """Return a and b of a * batch + b bytes: activations a window, and what does not grow.

    The latter is float32 weights and gradients and AdamW's two moments, 4N + 4N + 8N bytes.
    """
    activations = sum(term.count for term in listed_activations(shape))
    return _FLOAT32 * activations, 4 * _FLOAT32 * count_parameters(shape).total
