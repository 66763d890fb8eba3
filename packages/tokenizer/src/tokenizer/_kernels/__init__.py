"""Compile encoding and decoding: the only place in this package that imports Numba."""
