"""200 model configurations, drawn by a fixed seed: every switch, and sizes that divide little."""

import random

NUM_CONFIGURATIONS = 200


def draw_configurations() -> list[dict[str, object]]:
    """Return keyword arguments of `nn_layers.ModelConfig`."""
    rng = random.Random(336)
    return [_draw(rng) for _ in range(NUM_CONFIGURATIONS)]


def _draw(rng: random.Random) -> dict[str, object]:
    num_heads = rng.choice((1, 2, 3, 4, 6))
    d_head = rng.choice((2, 4, 6, 10))
    groups = [n for n in range(1, num_heads + 1) if num_heads % n == 0]
    return {
        "vocab_size": rng.choice((7, 40, 97)),
        "context_length": rng.choice((2, 5, 16, 24)),
        "d_model": num_heads * d_head,
        "num_layers": rng.choice((1, 1, 1, 2)),
        "num_heads": num_heads,
        "d_ff": rng.choice((2, 9, 32, 80)),
        "num_kv_heads": rng.choice([None, *groups]),
        "feed_forward": rng.choice(("swiglu", "silu")),
        "norm": rng.choice(("pre", "post", "none")),
        "position": rng.choice(("rope", "none")),
        "rope_layout": rng.choice(("adjacent", "half")),
        "qk_norm": rng.random() < 0.5,
        "tie_embeddings": rng.random() < 0.5,
    }
