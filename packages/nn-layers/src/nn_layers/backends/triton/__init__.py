"""Kernels in Triton for CUDA, and their Python faces; triton is imported when first used.

`no_type_check` keeps the shape checks of the tests out of what Triton compiles.
"""
