"""Count the activations that CS336 lists, and no others.

Stage: shape -> *bytes* as the exercise asks for them, a lower bound. Everything is float32, with
attention written out. The lists of the two years differ in the feed-forward layer: 2025 has its
first product, SiLU and its second product; 2026 has W1, W3, SiLU, the gated product and W2, as
SwiGLU makes them.

Source: CS336 assignment 1, problem adamw_accounting, of 2025 and of 2026 (v26.0.3).
"""

from dataclasses import dataclass
from typing import Literal, get_args

from accounting.parameters import count_parameters
from accounting.shape import ModelShape

CourseYear = Literal[2025, 2026]
"""The year of the list."""
COURSE_YEARS: tuple[CourseYear, ...] = get_args(CourseYear)
_FLOAT32 = 4


@dataclass(frozen=True, slots=True)
class Term:
    """One item of the list."""

    name: str
    formula: str
    """Numbers per window, over all blocks."""
    count: int


def listed_activations(shape: ModelShape, *, year: CourseYear = 2025) -> list[Term]:
    """Return the numbers per window that each item keeps.

    >>> from accounting import PRESETS
    >>> sum(term.count for term in listed_activations(PRESETS["gpt2-xl"], year=2025))
    3879438336
    >>> sum(term.count for term in listed_activations(PRESETS["cs336-2026-xl"], year=2026))
    4093347840
    """
    t, d, v = shape.context_length, shape.d_model, shape.vocab_size
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
        *_feed_forward(shape, year),
        Term("final RMSNorm", "t d", t * d),
        Term("logits", "t v", t * v),
        Term("cross entropy", "t v", t * v),
    ]


def listed_memory(shape: ModelShape, *, year: CourseYear = 2025) -> tuple[int, int]:
    """Return a and b of a * batch + b bytes: activations per window, and the constant part.

    The constant part is float32 weights, gradients and AdamW's two moments: 4N + 4N + 8N bytes.
    """
    activations = sum(term.count for term in listed_activations(shape, year=year))
    return _FLOAT32 * activations, 4 * _FLOAT32 * count_parameters(shape).total


def _feed_forward(shape: ModelShape, year: CourseYear) -> list[Term]:
    t, blocks = shape.context_length, shape.num_layers
    wide, narrow = blocks * t * shape.d_ff, blocks * t * shape.d_model
    if year == 2025:
        names = ["first feed-forward product", "SiLU"]
        last = "second feed-forward product"
    else:
        is_gated = shape.feed_forward_matrices == 3
        names = ["W1", "W3", "SiLU", "gated product"] if is_gated else ["W1", "SiLU"]
        last = "W2"
    return [*(Term(name, "L t f", wide) for name in names), Term(last, "L t d", narrow)]
