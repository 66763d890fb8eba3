"""Define the contests of the tokenization table.

Stage: setting -> *entries*, results -> *rows*: one module per contest, with `entries` and `rows`.
Not here: running them.
"""
