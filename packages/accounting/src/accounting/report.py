"""Lay out parameters and FLOPs as a table for people, or as JSON for programs."""

from collections.abc import Mapping

from accounting.flops import forward_flops
from accounting.parameters import count_parameters, openai_gpt2_parameters
from accounting.shape import ModelShape

_BYTES_PER_FLOAT32 = 4


def describe(shape: ModelShape) -> dict[str, object]:
    """Return every figure of one model; FLOPs by the counter convention."""
    parameters, flops = count_parameters(shape), forward_flops(shape)
    num_bytes = _BYTES_PER_FLOAT32 * parameters.total
    return {
        "convention": "counter: attention not halved",
        "parameters": parameters.total,
        "float32_bytes": num_bytes,
        "forward_flops": flops.total,
        "attention_percent": _percent(flops.attention, flops.total),
        "feed_forward_percent": _percent(flops.feed_forward, flops.total),
        "output_percent": _percent(flops.head, flops.total),
        "per_block": {
            "qkv": flops.qkv // shape.num_layers,
            "scores_and_values": flops.scores_and_values // shape.num_layers,
            "output_projection": flops.output_projection // shape.num_layers,
            "feed_forward": flops.feed_forward // shape.num_layers,
        },
        "head": flops.head,
    }


def render(shapes: Mapping[str, ModelShape]) -> str:
    """Return the report of several models as text."""
    lines = ["Forward FLOPs of one sequence (counter convention: attention not halved)", ""]
    header = ("model", "tokens", "FLOPs", "attention", "feed-forward", "output")
    rows = [_share_row(name, shape) for name, shape in shapes.items()]
    lines += _table([header, *rows])
    for name, shape in shapes.items():
        lines += ["", *_details(name, shape)]
    lines += [
        "",
        "The feed-forward share grows with the size of the model, because it and the projections",
        "grow with d_model^2 and the head only with d_model; the attention share grows with the",
        "context, because scores and values alone grow with its square.",
    ]
    if any(name.startswith("gpt2") for name in shapes):
        lines += ["", *_openai_remark()]
    return "\n".join(lines)


def _details(name: str, shape: ModelShape) -> list[str]:
    parameters, flops = count_parameters(shape), forward_flops(shape)
    num_bytes = _BYTES_PER_FLOAT32 * parameters.total
    blocks = shape.num_layers
    rows = [
        ("qkv projections, a block", f"{flops.qkv // blocks:,}"),
        ("scores and values, a block", f"{flops.scores_and_values // blocks:,}"),
        ("output projection, a block", f"{flops.output_projection // blocks:,}"),
        ("feed-forward, a block", f"{flops.feed_forward // blocks:,}"),
        (f"all {blocks} blocks", f"{flops.total - flops.head:,}"),
        ("head", f"{flops.head:,}"),
        ("total", f"{flops.total:,}"),
    ]
    return [
        f"{name}: {parameters.total:,} parameters = {num_bytes:,} bytes in float32 = "
        f"{num_bytes / 1e9:.2f} GB = {num_bytes / 2**30:.2f} GiB",
        *(f"  {line}" for line in _table([("forward FLOPs (counter)", ""), *rows])),
    ]


def _openai_remark() -> list[str]:
    xl = openai_gpt2_parameters(vocab_size=50257, context_length=1024, d_model=1600, num_layers=48)
    return [
        "These presets have SwiGLU with d_ff = 4 d_model and an untied head. OpenAI's GPT-2 XL has",
        "a GELU layer of two matrices, learned positions, LayerNorm, biases and a tied head:",
        f"{xl:,} parameters.",
    ]


def _share_row(name: str, shape: ModelShape) -> tuple[str, ...]:
    flops = forward_flops(shape)
    shares = (flops.attention, flops.feed_forward, flops.head)
    return (
        name,
        f"{shape.context_length:,}",
        f"{flops.total:,}",
        *(f"{_percent(part, flops.total):.2f} %" for part in shares),
    )


def _percent(part: int, whole: int) -> float:
    return round(100 * part / whole, 2)


def _table(rows: list[tuple[str, ...]]) -> list[str]:
    """Align columns: the first to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.ljust(width) if index == 0 else cell.rjust(width)
            for index, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
