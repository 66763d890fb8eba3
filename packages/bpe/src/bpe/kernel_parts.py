"""What are the kernels of another package built from?

Stage: none. `tokenizer` compiles kernels of its own on the same alphabet, cutter and cache, so
that training and encoding cannot disagree; it takes them from here. Importing this module imports
Numba, so do it where a kernel is about to run, not before.
"""

from bpe._kernels.compiling import announced, are_ready, helper, inlined, kernel
from bpe._kernels.memory import address_of, zeroed, zeros

__all__ = [
    "address_of",
    "announced",
    "are_ready",
    "helper",
    "inlined",
    "kernel",
    "zeroed",
    "zeros",
]
