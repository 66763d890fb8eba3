"""Which contests make up the training table?

Stage: setting -> *entries*, results -> *rows*: a module a contest. Not here: running them.
"""
