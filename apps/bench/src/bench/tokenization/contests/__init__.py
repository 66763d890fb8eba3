"""Define the contests of the tokenization table: entries, and rows of results."""
