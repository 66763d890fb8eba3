"""How is each contestant that is a language model trained and sampled at its best?

Stage: *contestants* -> `bench.training.tasks`. A module a contestant; torch is imported by the
process of a sample only. Not here: clocks, and which way is best.
"""

DISTRIBUTIONS = {
    "models.ours": "trainer",
    "models.nanogpt": "torch",
    "models.huggingface": "transformers",
    "models.matmul": "torch",
}
"""What has to be installed for each."""
