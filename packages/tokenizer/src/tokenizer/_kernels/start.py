"""Start the kernels, unless they would have to be compiled too early.

Stage: none. Not here: when compiling is worthwhile (`tokenizer.engine`).
"""

from bpe.kernel_parts import announced, are_ready, cut_kernel, first_malformed
from tokenizer._bpe import Vocabulary, warn_of_slow_pattern
from tokenizer._kernels import decoding, encoding, long_pretokens
from tokenizer._kernels.encoder import KernelEncoder
from tokenizer._kernels.short_texts import short_kernel
from tokenizer._kernels.tables import memo, pairs, prefixes, symbols

_KERNELS = (
    first_malformed,
    pairs.place_pairs,
    symbols.derive,
    prefixes.grow_tree,
    encoding.encode_batch,
    encoding.remember_special,
    long_pretokens.encode_by_matching,
    memo.move_short,
    memo.move_long,
    decoding.measure,
    decoding.decode,
)


def start_kernels(vocabulary: Vocabulary, *, must: bool) -> KernelEncoder | None:
    """Return an encoder whose kernels are compiled.

    If they are not, it compiles them only if it `must`; otherwise it returns None.
    """
    cut = cut_kernel(vocabulary.pattern)
    short = short_kernel(vocabulary.pattern)
    kernels = _KERNELS if cut is None else (cut, short, *_KERNELS)
    if not must and not are_ready(*kernels):
        return None
    if cut is None:
        warn_of_slow_pattern(vocabulary.pattern)
    with announced("encoding", *kernels):
        encoder = KernelEncoder(vocabulary)
        encoder.compile()
    return encoder
