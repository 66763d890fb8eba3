"""Define the contests of the training table.

Stage: setting -> *entries*, results -> *rows*: one module per contest. Not here: running them.
"""
