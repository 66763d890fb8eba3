"""Name the shapes whose figures are quoted: GPT-2's sizes in this project's architecture.

SwiGLU and an untied head, as in CS336's exercise; OpenAI's GPT-2 differs. In 2025 the exercise has
d_ff = 4 d_model (`gpt2-*`), in 2026 8/3 d_model to the nearest multiple of 64 (`cs336-2026-*`). Its
experiments train a small model on two texts (`tinystories`, `owt`).

Source: CS336 assignment 1, problems transformer_accounting, learning_rate and main_experiment, of
2025 and of 2026 (v26.0.3).
"""

from dataclasses import fields, replace

from accounting.shape import ModelShape

_VOCAB_SIZE = 50257


def _gpt2(
    num_layers: int, d_model: int, *, num_heads: int, d_ff: int, context_length: int = 1024
) -> ModelShape:
    return ModelShape(
        vocab_size=_VOCAB_SIZE,
        context_length=context_length,
        d_model=d_model,
        num_layers=num_layers,
        num_heads=num_heads,
        d_ff=d_ff,
    )


GPT2_PRESETS: dict[str, ModelShape] = {
    "gpt2-small": _gpt2(12, 768, num_heads=12, d_ff=3072),
    "gpt2-medium": _gpt2(24, 1024, num_heads=16, d_ff=4096),
    "gpt2-large": _gpt2(36, 1280, num_heads=20, d_ff=5120),
    "gpt2-xl": _gpt2(48, 1600, num_heads=25, d_ff=6400),
    "gpt2-xl-16k": _gpt2(48, 1600, num_heads=25, d_ff=6400, context_length=16_384),
}
CS336_2026_PRESETS: dict[str, ModelShape] = {
    "cs336-2026-small": _gpt2(12, 768, num_heads=12, d_ff=2048),
    "cs336-2026-medium": _gpt2(24, 1024, num_heads=16, d_ff=2752),
    "cs336-2026-large": _gpt2(36, 1280, num_heads=20, d_ff=3392),
    "cs336-2026-xl": _gpt2(48, 1600, num_heads=25, d_ff=4288),
    "cs336-2026-xl-16k": _gpt2(48, 1600, num_heads=25, d_ff=4288, context_length=16_384),
}
COURSE_PRESETS: dict[str, ModelShape] = GPT2_PRESETS | CS336_2026_PRESETS
_REFERENCE = ModelShape(
    vocab_size=10_000, context_length=256, d_model=512, num_layers=4, num_heads=16, d_ff=1344
)
PRESETS: dict[str, ModelShape] = COURSE_PRESETS | {
    "tinystories": _REFERENCE,
    "owt": replace(_REFERENCE, vocab_size=32_000),
}


def course_year(name: str) -> int | None:
    """Return the year of the exercise that a preset answers, or None for other presets.

    >>> course_year("gpt2-xl"), course_year("cs336-2026-xl"), course_year("tinystories")
    (2025, 2026, None)
    """
    if name in GPT2_PRESETS:
        return 2025
    return 2026 if name in CS336_2026_PRESETS else None


def describe_model(name: str, shape: ModelShape) -> str:
    """Return a model's name for headings, with its year and the changed sizes.

    >>> [describe_model(name, PRESETS[name]) for name in ("gpt2-xl", "cs336-2026-xl")]
    ['gpt2-xl (CS336 2025)', 'cs336-2026-xl']
    >>> describe_model("gpt2-xl", PRESETS["cs336-2026-xl"])
    'gpt2-xl with d_ff 4288'
    """
    if name not in PRESETS:
        return name
    changes = [
        f"{spec.name} {getattr(shape, spec.name)}"
        for spec in fields(shape)
        if getattr(shape, spec.name) != getattr(PRESETS[name], spec.name)
    ]
    if changes:
        return f"{name} with {', '.join(changes)}"
    year = course_year(name)
    return name if year is None or str(year) in name else f"{name} (CS336 {year})"
