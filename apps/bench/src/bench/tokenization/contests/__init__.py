"""Which contests make up the tokenization table?

Stage: setting -> *entries*, results -> *rows*: a module a contest, each with `entries` and `rows`.
Not here: running them.
"""
