"""Memory predicted against memory allocated: every prediction is held to torch's allocator."""

from dataclasses import replace

import pytest

from accounting import ModelShape, StepSettings, memory
from bench.accounting_measured import measure_step

SHAPE = ModelShape(
    vocab_size=300, context_length=48, d_model=48, num_layers=2, num_heads=4, d_ff=128
)
LEFT_OUT = 0.05
"""What a prediction may be off by."""

# Where the peak falls depends on what dominates: logits, blocks, or weights.
CASES: list[tuple[dict[str, object], dict[str, object]]] = [
    ({}, {}),
    ({}, {"dtype": "bfloat16"}),
    ({}, {"attention": "plain"}),
    ({}, {"attention": "plain", "dtype": "bfloat16"}),
    ({}, {"num_tokens": 7, "batch_size": 3}),
    ({}, {"batch_size": 1, "num_micro_batches": 3}),
    ({"norm": "post"}, {}),
    ({"norm": "none"}, {}),
    ({"norm": "none", "position": "none"}, {"attention": "plain"}),
    ({"qk_norm": True}, {}),
    ({"qk_norm": True, "num_kv_heads": 2}, {"dtype": "bfloat16"}),
    ({"num_kv_heads": 1}, {}),
    ({"num_kv_heads": 2}, {"attention": "plain"}),
    ({"rope_layout": "half"}, {}),
    ({"rope_layout": "half", "qk_norm": True}, {"dtype": "bfloat16"}),
    ({"position": "none"}, {}),
    ({"feed_forward": "silu"}, {}),
    ({"feed_forward": "silu", "d_ff": 192, "norm": "post"}, {"dtype": "bfloat16"}),
    ({"tie_embeddings": True}, {}),
    ({"tie_embeddings": True, "vocab_size": 5000}, {}),
    ({"vocab_size": 5000}, {}),
    ({"vocab_size": 5000}, {"dtype": "bfloat16"}),
    ({"vocab_size": 5000}, {"num_micro_batches": 2}),
    ({"vocab_size": 20}, {}),
    ({"vocab_size": 20}, {"attention": "plain"}),
    ({"vocab_size": 20}, {"dtype": "bfloat16"}),
    ({"vocab_size": 20, "num_layers": 5}, {}),
    ({"vocab_size": 20, "num_layers": 5, "norm": "post"}, {}),
    ({"vocab_size": 20, "context_length": 160}, {"attention": "plain"}),
    ({"vocab_size": 20, "context_length": 160}, {"attention": "plain", "dtype": "bfloat16"}),
    ({"vocab_size": 20, "d_ff": 16}, {}),
    ({"vocab_size": 20, "d_ff": 16, "qk_norm": True}, {"attention": "plain"}),
    ({"d_model": 128, "d_ff": 512}, {"batch_size": 1, "num_tokens": 4}),
    ({"vocab_size": 20, "context_length": 160}, {"attention": "matmul"}),
    ({"vocab_size": 20, "context_length": 160}, {"attention": "matmul", "dtype": "bfloat16"}),
    ({"vocab_size": 3000}, {"loss": "fused"}),
    ({"vocab_size": 3000}, {"loss": "fused", "dtype": "bfloat16"}),
    ({"vocab_size": 3000}, {"loss": "chunked"}),
    ({"vocab_size": 3000, "tie_embeddings": True}, {"loss": "chunked", "dtype": "bfloat16"}),
    ({"vocab_size": 20, "num_layers": 5}, {"checkpointing": True}),
    ({"vocab_size": 20, "num_layers": 5}, {"checkpointing": True, "dtype": "bfloat16"}),
    ({"vocab_size": 20, "num_layers": 5}, {"checkpointing": True, "attention": "matmul"}),
]


@pytest.mark.parametrize(("switches", "choices"), CASES, ids=str)
def test_the_peak_is_what_torch_allocates(
    switches: dict[str, object], choices: dict[str, object]
) -> None:
    shape = replace(SHAPE, **switches)
    settings = StepSettings(**{"batch_size": 4} | choices)
    predicted, measured = memory(shape, settings), measure_step(shape, settings)
    assert predicted.activations == pytest.approx(measured.kept, rel=LEFT_OUT)
    assert predicted.peak == pytest.approx(measured.peak, rel=LEFT_OUT)
