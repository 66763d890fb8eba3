"""How is each contestant used at its best?

Stage: *contestants* -> tasks. A module a contestant, of functions that
`bench.tokenization.tasks` times; those that a contestant has no use for are missing. Not here:
clocks.
"""

DISTRIBUTIONS = {
    "ours": "tokenizer",
    "gigatoken": "gigatoken",
    "tiktoken": "tiktoken",
    "huggingface": "tokenizers",
    "rustbpe": "rustbpe",
}
"""What has to be installed for each."""
