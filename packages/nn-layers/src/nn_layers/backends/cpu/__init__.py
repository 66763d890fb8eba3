"""Kernels in C++ for the CPU, and their Python faces: build, attention, loss, decoder."""
