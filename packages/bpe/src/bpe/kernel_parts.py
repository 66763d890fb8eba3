"""Offer the building blocks of kernels to other packages.

Stage: none. `tokenizer` compiles its own kernels from the same instructions, cutter and cache, so
training and encoding cannot disagree. Importing this module imports Numba, so import it just
before a kernel runs. Not here: the kernels of this package (`_kernels`).
"""

from bpe._kernels.compiling import announced, are_ready, helper, inlined, kernel
from bpe._kernels.cutting.cutter import (
    Cutter,
    begin_buffer,
    cut_by_cl100k,
    cut_by_gpt2,
    cut_by_o200k,
    cut_by_qwen2,
    cut_kernel,
)
from bpe._kernels.cutting.regex_cutter import cutter_for
from bpe._kernels.cutting.validation import first_malformed
from bpe._kernels.keys import SHORT_BYTES, are_equal, hash_bytes, key_masks, short_home, short_key
from bpe._kernels.machine import (
    GOLDEN,
    PRIME,
    WORD,
    choose,
    keep_scalar,
    leading_zeros,
    load8,
    load32,
    load64,
    load_field,
    min_signed,
    min_unsigned,
    multiply,
    prefetch,
    shift_right,
    store8,
    store32,
    store64,
    store128,
    store_field,
    trailing_zeros,
)
from bpe._kernels.memory import address_of, zeros
from bpe._kernels.vectors import copy16, fill16, narrow16

__all__ = ["announced", "are_ready", "helper", "inlined", "kernel"]
__all__ += ["Cutter", "begin_buffer", "cut_by_cl100k", "cut_by_gpt2", "cut_by_o200k"]
__all__ += ["cut_by_qwen2", "cut_kernel"]
__all__ += ["cutter_for"]
__all__ += ["first_malformed"]
__all__ += ["SHORT_BYTES", "are_equal", "hash_bytes", "key_masks", "short_home", "short_key"]
__all__ += ["GOLDEN", "PRIME", "WORD", "choose", "keep_scalar", "leading_zeros", "load8", "load32"]
__all__ += ["load64", "load_field", "min_signed", "min_unsigned", "multiply", "prefetch"]
__all__ += ["shift_right", "store8", "store32", "store64", "store128", "store_field"]
__all__ += ["trailing_zeros"]
__all__ += ["address_of", "zeros"]
__all__ += ["copy16", "fill16", "narrow16"]
