"""The compiled loops: the only place in the package that imports numba."""
