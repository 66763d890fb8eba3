"""Name the shapes whose figures are quoted: GPT-2's sizes in this project's architecture.

SwiGLU with d_ff = 4 d_model and an untied head, as in CS336's exercise; OpenAI's GPT-2 differs.
"""

from accounting.shape import ModelShape

_VOCAB_SIZE = 50257


def _gpt2(
    num_layers: int, d_model: int, *, num_heads: int, context_length: int = 1024
) -> ModelShape:
    return ModelShape(
        vocab_size=_VOCAB_SIZE,
        context_length=context_length,
        d_model=d_model,
        num_layers=num_layers,
        num_heads=num_heads,
        d_ff=4 * d_model,
    )


PRESETS: dict[str, ModelShape] = {
    "gpt2-small": _gpt2(12, 768, num_heads=12),
    "gpt2-medium": _gpt2(24, 1024, num_heads=16),
    "gpt2-large": _gpt2(36, 1280, num_heads=20),
    "gpt2-xl": _gpt2(48, 1600, num_heads=25),
    "gpt2-xl-16k": _gpt2(48, 1600, num_heads=25, context_length=16_384),
}
