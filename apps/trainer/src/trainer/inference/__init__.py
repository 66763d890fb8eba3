"""Load a trained run and continue prompts with it."""
