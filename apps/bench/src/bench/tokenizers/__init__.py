"""Compare tokenizers trained on Python source and on English prose."""
