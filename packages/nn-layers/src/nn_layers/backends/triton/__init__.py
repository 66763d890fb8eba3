"""Run kernels in Triton on CUDA; triton is imported when first used.

`no_type_check` keeps the shape checks of the tests out of what Triton compiles.
"""
