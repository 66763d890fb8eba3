"""Lay out parameters and FLOPs as a table for people, or as JSON for programs.

Stage: accounts -> *tables* -> stdout. Not here: counting.
"""

from collections.abc import Mapping

from accounting.flops import backward_flops, forward_flops, recomputed_flops, training_flops
from accounting.optimizer import ADAMW_COUNT, CLIPPING_FLOPS, optimizer_cost
from accounting.parameters import count_parameters, openai_gpt2_parameters
from accounting.plural import plural
from accounting.presets import course_year, describe_model
from accounting.reports.layout import align
from accounting.shape import ModelShape
from accounting.step import OPTIMIZERS

_BYTES_PER_FLOAT32, _ADAMW_FLOPS = 4, OPTIMIZERS["adamw"].rule.flops
_BLOCK = {
    "qkv": ("qkv projections", "2 t d (h k + 2 g k)"),
    "scores_and_values": ("scores and values", "4 t t h k"),
    "output_projection": ("output projection", "2 t d h k"),
    "feed_forward": ("feed-forward", "6 t d f (SwiGLU) or 4 t d f"),
}
"""Label and formula of each part of a block."""


def describe(name: str, shape: ModelShape) -> dict[str, object]:
    """Return every figure of one model, with FLOPs by the counter convention unless named."""
    parameters, flops = count_parameters(shape), forward_flops(shape)
    num_bytes = _BYTES_PER_FLOAT32 * parameters.total
    return {
        "model": describe_model(name, shape),
        "convention": "counter: attention not halved",
        "parameters": parameters.total,
        "float32_bytes": num_bytes,
        "forward_flops": flops.total,
        "attention_percent": _percent(flops.attention, flops.total),
        "feed_forward_percent": _percent(flops.feed_forward, flops.total),
        "output_percent": _percent(flops.head, flops.total),
        "per_block": {part: getattr(flops, part) // shape.num_layers for part in _BLOCK},
        "head": flops.head,
        **{key: value for key, (_, value) in _training(shape).items()},
    }


def render(shapes: Mapping[str, ModelShape], *, explain: bool = False) -> str:
    """Return the report of several models as text."""
    lines = ["Forward FLOPs of one sequence (counter convention: attention not halved)", ""]
    header = ("model", "tokens", "FLOPs", "attention", "feed-forward", "output")
    rows = [header, *(_share_row(name, shape) for name, shape in shapes.items())]
    lines += align(rows, left=(0,))
    for name, shape in shapes.items():
        lines += ["", *_details(name, shape, explain=explain)]
    lines += [
        "",
        "The feed-forward share grows with the size of the model, because it and the projections",
        "grow with d_model^2 and the head only with d_model; the attention share grows with the",
        "context, because scores and values alone grow with its square.",
    ]
    if any(course_year(name) for name in shapes):
        lines += ["", *_openai_remark()]
    return "\n".join(lines)


def flops_bars(shapes: Mapping[str, ModelShape]) -> dict[str, dict[str, float]]:
    """Return the parts of forward FLOPs by model, for a chart."""
    bars = {}
    for name, shape in shapes.items():
        flops = forward_flops(shape)
        bars[describe_model(name, shape)] = {
            "feed-forward": flops.feed_forward / 1e12,
            "projections": (flops.qkv + flops.output_projection) / 1e12,
            "scores and values": flops.scores_and_values / 1e12,
            "output head": flops.head / 1e12,
        }
    return bars


def _training(shape: ModelShape) -> dict[str, tuple[str, int]]:
    """Return the costs of a training step on one sequence, each with its convention."""
    tokens = shape.context_length
    fused = backward_flops(shape, attention="fused").total
    again = recomputed_flops(shape, checkpointing=True).total
    hardware = forward_flops(shape).total + fused + again
    counter = training_flops(shape, tokens, convention="counter")
    adamw, muon = optimizer_cost(shape, "adamw"), optimizer_cost(shape, "muon")
    own = adamw.elementwise_flops - adamw.clipping_flops
    return {
        "backward_flops_math": ("backward (counter, attention math)", backward_flops(shape).total),
        "backward_flops_fused": ("backward (counter, attention fused)", fused),
        "training_flops_model": ("forward and backward (model)", training_flops(shape, tokens)),
        "training_flops_counter": ("forward and backward (counter, math)", counter),
        "training_flops_hardware": (
            "forward and backward (hardware, fused, checkpointing)",
            hardware,
        ),
        "adamw_own_flops": ("AdamW alone, elementwise, per update", own),
        "adamw_flops": ("AdamW and clipping, elementwise, per update", adamw.elementwise_flops),
        "muon_elementwise_flops": ("Muon, elementwise, per update", muon.elementwise_flops),
        "muon_matrix_flops": ("Muon, Newton-Schulz (counter), per update", muon.matrix_flops),
    }


def _details(name: str, shape: ModelShape, *, explain: bool) -> list[str]:
    parameters, flops = count_parameters(shape), forward_flops(shape)
    num_bytes = _BYTES_PER_FLOAT32 * parameters.total
    blocks = shape.num_layers
    rows = [
        *(
            (f"{label}, per block", f"{getattr(flops, part) // blocks:,}", formula)
            for part, (label, formula) in _BLOCK.items()
        ),
        (f"all {blocks} blocks", f"{flops.total - flops.head:,}", "L times the four"),
        ("head", f"{flops.head:,}", "2 t d v"),
        ("total", f"{flops.total:,}", "blocks and head"),
    ]
    training = [
        (label, f"{value:,}", _WHY.get(key, "")) for key, (label, value) in _training(shape).items()
    ]
    text = [
        f"{describe_model(name, shape)}: {plural(parameters.total, 'parameter')} = "
        f"{plural(num_bytes, 'byte')} in float32 = {num_bytes / 1e9:.2f} GB = "
        f"{num_bytes / 2**30:.2f} GiB"
    ]
    for table in ([("forward FLOPs (counter)", "", ""), *rows], [("training", "", ""), *training]):
        kept = [row if explain else row[:2] for row in table]
        text += [f"  {line}" for line in align(kept)]
    return text


_WHY = {
    "backward_flops_math": "2 * forward: one product for each input",
    "backward_flops_fused": "2 * forward + 2 L t t h k: the kernel recomputes q k^T",
    "training_flops_model": "t (6 N_matmul + 6 L t h k): half of the scores are masked",
    "training_flops_counter": "3 * forward",
    "training_flops_hardware": "forward + backward + all blocks forward once more",
    "adamw_own_flops": f"{_ADAMW_FLOPS} N: {ADAMW_COUNT}",
    "adamw_flops": f"({_ADAMW_FLOPS} + {CLIPPING_FLOPS}) N; a counter of products sees 0",
    "muon_elementwise_flops": "per parameter: 12 for hidden matrices, 17 for the rest",
    "muon_matrix_flops": "5 (4 m m n + 2 m^3) per hidden matrix, m <= n",
}


def _openai_remark() -> list[str]:
    xl = openai_gpt2_parameters(vocab_size=50257, context_length=1024, d_model=1600, num_layers=48)
    return [
        "The course's presets have SwiGLU and an untied head: those of CS336 2025 (gpt2-*) with",
        "d_ff = 4 d_model, those of 2026 (cs336-2026-*) with 8/3 d_model to the nearest multiple",
        "of 64. OpenAI's GPT-2 XL has a GELU layer of two matrices, learned positions, LayerNorm,",
        f"biases and a tied head: {plural(xl, 'parameter')}.",
    ]


def _share_row(name: str, shape: ModelShape) -> tuple[str, ...]:
    flops = forward_flops(shape)
    shares = (flops.attention, flops.feed_forward, flops.head)
    return (
        describe_model(name, shape),
        f"{shape.context_length:,}",
        f"{flops.total:,}",
        *(f"{_percent(part, flops.total):.2f} %" for part in shares),
    )


def _percent(part: int, whole: int) -> float:
    return round(100 * part / whole, 2)
