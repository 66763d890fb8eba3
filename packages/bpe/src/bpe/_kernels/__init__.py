"""Compile the hot loops: the only place in the package that imports numba."""
