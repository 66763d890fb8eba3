"""Define the contests of the training table: entries, and rows of results."""
