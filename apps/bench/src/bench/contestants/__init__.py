"""Use each contestant at its best.

Stage: *contestants* -> tasks. One module per contestant, with the functions that
`bench.tokenization.tasks` times; it lacks those that it cannot offer or does not need. Not here:
clocks.
"""

DISTRIBUTIONS = {
    "ours": "tokenizer",
    "gigatoken": "gigatoken",
    "tiktoken": "tiktoken",
    "huggingface": "tokenizers",
    "rustbpe": "rustbpe",
}
"""Distributions that each contestant needs."""
