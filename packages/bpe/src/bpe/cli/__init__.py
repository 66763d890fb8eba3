"""Run the commands: train-bpe, count, merge."""
