"""Name the shapes whose figures are quoted: GPT-2's sizes in this project's architecture.

SwiGLU with d_ff = 4 d_model and an untied head, as in CS336's exercise; OpenAI's GPT-2 differs. The
trainer's presets are here as well, under their names; a test holds them to its files.
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


def _cs336(vocab_size: int) -> ModelShape:
    return ModelShape(
        vocab_size=vocab_size,
        context_length=256,
        d_model=512,
        num_layers=4,
        num_heads=16,
        d_ff=1344,
    )


GPT2_PRESETS: dict[str, ModelShape] = {
    "gpt2-small": _gpt2(12, 768, num_heads=12),
    "gpt2-medium": _gpt2(24, 1024, num_heads=16),
    "gpt2-large": _gpt2(36, 1280, num_heads=20),
    "gpt2-xl": _gpt2(48, 1600, num_heads=25),
    "gpt2-xl-16k": _gpt2(48, 1600, num_heads=25, context_length=16_384),
}
TRAINER_PRESETS: dict[str, ModelShape] = {
    "quickstart": ModelShape(
        vocab_size=2048, context_length=128, d_model=192, num_layers=4, num_heads=6, d_ff=512
    ),
    "tinystories": _cs336(10_000),
    "tinystories-cpu": _cs336(10_000),
    "owt": _cs336(32_000),
    "owt-leaderboard": ModelShape(
        vocab_size=32_000,
        context_length=512,
        d_model=768,
        num_layers=12,
        num_heads=12,
        d_ff=2048,
        qk_norm=True,
    ),
}
PRESETS: dict[str, ModelShape] = GPT2_PRESETS | TRAINER_PRESETS
