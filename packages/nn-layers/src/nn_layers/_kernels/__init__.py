"""Triton kernels: the only place in the package that imports triton; imported when first used.

`no_type_check` keeps the shape checks of the tests out of what Triton compiles.
"""
