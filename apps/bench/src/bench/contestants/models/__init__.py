"""Train and sample each contestant that is a language model at its best.

Stage: *contestants* -> `bench.training.tasks`. One module per contestant; only the process of a
sample imports torch. Not here: clocks, and which way is best.
"""

DISTRIBUTIONS: dict[str, str] = {
    "models.ours": "trainer",
    "models.nanogpt": "torch",
    "models.huggingface": "transformers",
    "models.matmul": "torch",
}
"""Distributions that each contestant needs."""
